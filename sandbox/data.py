"""Sample exports of any size in the shape of Dynamic's files, reproducible by seed."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import itertools
import json
import random
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

USER_COLUMNS = [
    "id",
    "createdAt",
    "updatedAt",
    "projectEnvironmentId",
    "email",
    "firstName",
    "lastName",
    "alias",
    "username",
    "lowerUsername",
    "phoneNumber",
    "tShirtSize",
    "firstVisit",
    "lastVisit",
    "onboardingCompletedAt",
    "metadata",
]
CREDENTIAL_COLUMNS = [
    "address",
    "bio",
    "chain",
    "email",
    "fid",
    "format",
    "id",
    "lastSelectedAt",
    "lowerAddress",
    "oauthAccountId",
    "oauthDisplayName",
    "oauthProvider",
    "oauthUsername",
    "phoneCountryCode",
    "phoneNumber",
    "publicIdentifier",
    "refId",
    "signerRefId",
    "signInEnabled",
    "walletAdditionalAddresses",
    "walletName",
    "walletProvider",
]
HEADERS = {
    "users": [
        *(f"user_{name}" for name in USER_COLUMNS),
        *(f"verified_credential_{name}" for name in CREDENTIAL_COLUMNS),
    ],
    "visits": ["address", "chain", "createdAt", "id", "projectEnvironmentId", "provider", "walletName"],
}

CREDENTIALS_OF_USERS: list[tuple[str, ...]] = [
    ("email", "metamask"),
    ("phantom",),
    ("email", "turnkey", "turnkeysol", "zerodev"),
    (),
    ("google", "turnkey", "turnkeysol"),
    ("metamask", "rainbow", "phantom", "xverse"),
    ("phoneNumber", "turnkey"),
    ("discord", "blocto"),
    ("passkey", "email", "coinbase"),
    ("twitter", "email", "phantom"),
]
"""The credentials of a user, by the user's number modulo ten: two and a half rows per user on average."""
WALLETS = {
    "metamask": ("EVM", "browserExtension"),
    "rainbow": ("EVM", "walletConnect"),
    "coinbase": ("EVM", "browserExtension"),
    "turnkey": ("EVM", "embeddedWallet"),
    "zerodev": ("EVM", "smartContractWallet"),
    "turnkeysol": ("SOL", "embeddedWallet"),
    "phantom": ("SOL", "browserExtension"),
    "xverse": ("BTC", "browserExtension"),
    "blocto": ("FLOW", "qrCode"),
}
"""Chain and provider of each wallet."""
VISITS_PER_USER = 4
FIRST_NAMES = [
    ("Ada", "ada"),
    ("Björn", "bjorn"),
    ("Chloé", "chloe"),
    ("Dmitri", "dmitri"),
    ("Eun-ji", "eunji"),
    ("Fatima", "fatima"),
    ("Grace", "grace"),
    ("Hiro", "hiro"),
    ("Inés", "ines"),
    ("Jürgen", "juergen"),
]
"""First names, and their spelling in an e-mail address."""
LAST_NAMES = ["O'Neill", "Müller", "de la Cruz", "Sørensen", "王", "Smith, Jr.", "Novák", "Okafor"]
ALIASES = ["", "", "growth, infra", 'the "A" team', "first line\nsecond line"]
BASE58 = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"
TO_BASE58, TO_BECH32 = (bytes(letters[n % len(letters)] for n in range(256)) for letters in (BASE58, BECH32))
MIXED_CASE = str.maketrans("ace", "ACE")
"""Makes an EVM address look like one with a checksum."""


@dataclass(frozen=True)
class Wallet:
    """A user's wallet."""

    chain: str
    name: str
    provider: str
    address: str


def rows(model: str, count: int, seed: int = 0) -> Iterator[list[str]]:
    """Yield the first rows of a sample export, with cells in the order of `HEADERS`.

    The last user's rows may be incomplete; `user_rows` yields those of whole users.
    """
    if model == "users":
        return itertools.islice(_rows_of(itertools.count(), seed), count)
    return itertools.islice(_visits(max(1, count // VISITS_PER_USER), seed), count)


def user_rows(users: int, seed: int = 0) -> Iterator[list[str]]:
    """Yield all rows of that many users: one per verified credential, or one without."""
    return _rows_of(range(users), seed)


def wallets_of(user: int, seed: int = 0) -> list[Wallet]:
    """Return the wallets of a user, given by number."""
    digest = _digest(user, seed)
    return [
        _wallet(name, digest, position)
        for position, name in enumerate(CREDENTIALS_OF_USERS[user % len(CREDENTIALS_OF_USERS)], 1)
        if name in WALLETS
    ]


def csv_file(model: str, count: int, seed: int = 0) -> bytes:
    """Return a sample export of that many rows as a CSV file: UTF-8, CRLF, with a header."""
    return to_csv(itertools.chain([HEADERS[model]], rows(model, count, seed)))


def to_csv(table: Iterable[list[str]]) -> bytes:
    """Encode a header and rows as CSV with Python's defaults, in UTF-8."""
    data = io.BytesIO()
    text = io.TextIOWrapper(data, "utf-8", newline="")
    csv.writer(text).writerows(table)
    text.flush()
    return data.getvalue()


def _rows_of(users: Iterable[int], seed: int) -> Iterator[list[str]]:
    """Yield all rows of users, given by number."""
    for user in users:
        digest = _digest(user, seed)
        (first, mailbox), last = FIRST_NAMES[digest[16] % 10], LAST_NAMES[digest[17] % 8]
        kinds = CREDENTIALS_OF_USERS[user % len(CREDENTIALS_OF_USERS)]
        mailbox = f"{mailbox}{user}"
        email = f"{mailbox}@example.com" if {"email", "google", "discord"} & set(kinds) else ""
        username = f"{first}{user}" if digest[18] % 3 else ""
        metadata = {"loyaltyPoints": user % 100 * 10, "plan": "pro" if digest[19] % 4 == 0 else "free"}
        if digest[20] % 5 == 0:
            metadata["note"] = 'likes commas, says "hi"'
        clock = f"{user % 24:02d}:{user % 60:02d}:07.{user % 1000:03d}Z"
        created = f"2026-{user % 4 + 1:02d}-{user % 28 + 1:02d}T{clock}"
        seen = f"2026-09-{user % 30 + 1:02d}T{clock}"
        cells = [
            _uuid(digest),
            created,
            seen,
            _environment(seed),
            email,
            first,
            last if digest[21] % 6 else "",
            ALIASES[digest[22] % len(ALIASES)],
            username,
            username.lower(),
            _phone_number(user) if "phoneNumber" in kinds else "",
            "",
            created,
            seen if kinds else "",
            created if digest[23] % 4 else "",
            json.dumps(metadata) if digest[24] % 6 else "",
        ]
        if not kinds:
            yield [*cells, *[""] * len(CREDENTIAL_COLUMNS)]
        for position, kind in enumerate(kinds, 1):
            if kind in WALLETS:
                credential = _wallet_cells(_wallet(kind, digest, position), digest, position)
                credential["lastSelectedAt"] = seen if digest[25] % 3 else ""
            else:
                credential = _other_cells(kind, user, mailbox, f"{first} {last}")
            credential["id"] = _uuid(digest, position)
            yield [*cells, *[credential.get(name, "") for name in CREDENTIAL_COLUMNS]]


def _wallet_cells(wallet: Wallet, digest: bytes, position: int) -> dict[str, str]:
    """Return the cells of a wallet's credential that are not empty."""
    ordinals = {"type": "ordinals", "address": f"bc1p{wallet.address[4:]}"}
    return {
        "format": "blockchain",
        "address": wallet.address,
        "lowerAddress": wallet.address.lower(),
        "publicIdentifier": wallet.address,
        "chain": wallet.chain,
        "walletName": wallet.name,
        "walletProvider": wallet.provider,
        "walletAdditionalAddresses": json.dumps([ordinals] if wallet.chain == "BTC" else []),
        "signInEnabled": "false" if wallet.provider == "embeddedWallet" else "true",
        # The embedded EVM wallet signs for the smart contract wallet, two places further on.
        "signerRefId": _uuid(digest, position - 2) if wallet.provider == "smartContractWallet" else "",
    }


def _other_cells(kind: str, user: int, mailbox: str, name: str) -> dict[str, str]:
    """Return the cells of a credential other than a wallet that are not empty."""
    email = f"{mailbox}@example.com"
    if kind == "email":
        return {"format": "email", "email": email, "publicIdentifier": email, "signInEnabled": "true"}
    if kind == "phoneNumber":
        number = {"phoneCountryCode": "+1", "phoneNumber": _phone_number(user)}
        return {"format": kind, **number, "publicIdentifier": _phone_number(user), "signInEnabled": "true"}
    if kind == "passkey":
        return {"format": kind, "publicIdentifier": f"passkey-{user}", "signInEnabled": "true"}
    return {
        "format": "oauth",
        "oauthProvider": kind,
        "oauthAccountId": f"{10**17 + user}",
        "oauthDisplayName": name,
        "oauthUsername": email if kind == "google" else mailbox,
        "email": email if kind == "google" else "",
        "publicIdentifier": email if kind == "google" else mailbox,
        "signInEnabled": "true",
    }


def _visits(users: int, seed: int) -> Iterator[list[str]]:
    """Yield visits of the users' wallets without end."""
    wallets = (wallet for user in itertools.cycle(range(users)) for wallet in wallets_of(user, seed))
    for number, wallet in enumerate(wallets):
        key = _uuid(hashlib.blake2b(f"visit-{seed}-{number}".encode(), digest_size=16).digest())
        clock = f"{number % 24:02d}:{number % 60:02d}:07.{number % 1000:03d}"
        seen = f"2026-09-{number % 30 + 1:02d}T{clock}Z"
        yield [wallet.address, wallet.chain, seen, key, _environment(seed), wallet.provider, wallet.name]


def _wallet(name: str, digest: bytes, position: int) -> Wallet:
    """Return a wallet, which is a user's credential at a position."""
    chain, provider = WALLETS[name]
    material = digest[64 * position : 64 * position + 43]  # what is left of the 64 bytes is the credential's id
    if chain == "SOL":
        address = material.translate(TO_BASE58).decode()
    elif chain == "BTC":
        address = "bc1q" + material[:38].translate(TO_BECH32).decode()
    elif chain == "FLOW":
        address = "0x" + material[:8].hex()
    else:
        address = "0x" + material[:20].hex().translate(MIXED_CASE)
    return Wallet(chain, name, provider, address)


def _digest(user: int, seed: int) -> bytes:
    """Return the bytes that decide about a user: 64 for the user, then 64 for each credential."""
    return hashlib.shake_128(f"{seed}-{user}".encode()).digest(64 * 5)


def _uuid(digest: bytes, position: int = 0) -> str:
    """Return the UUID of a user, or of the credential at a position."""
    start = 64 * position + 48 if position else 0
    text = digest[start : start + 16].hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


@functools.cache
def _environment(seed: int) -> str:
    return str(uuid.UUID(int=random.Random(seed).getrandbits(128), version=4))  # noqa: S311 (sample data)


def _phone_number(user: int) -> str:
    """Return a number of the range that is reserved for fiction."""
    return f"202555{user % 10_000:04d}"
