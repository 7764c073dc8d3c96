"""Realistic sample exports of any size, reproducible by seed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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
WALLETS = [
    ("EVM", "metamask", "0x"),
    ("EVM", "coinbase", "0x"),
    ("EVM", "rainbow", "0x"),
    ("SOL", "phantom", ""),
    ("BTC", "xverse", "bc1q"),
    ("FLOW", "blocto", "0x"),
]
"""Chain, wallet and the prefix of its addresses."""
TEAMS = ["", "growth", "core, infra", 'the "A" team']
HEADERS = {
    "users": [
        "id",
        "email",
        "firstName",
        "lastName",
        "username",
        "country",
        "team",
        "newUser",
        "firstVisit",
        "lastVisit",
        "metadata",
        "lists",
        "verifiedCredentials",
        "wallet",
        "chain",
        "createdAt",
        "updatedAt",
        "projectEnvironmentId",
        "loyalty points",
    ],
    "visits": ["id", "address", "chain", "walletName", "provider", "createdAt", "projectEnvironmentId"],
}


@dataclass(frozen=True)
class Wallet:
    """A user's wallet."""

    chain: str
    name: str
    address: str


def wallet_of(user: int, seed: int = 0) -> Wallet:
    """Return the wallet of a user, given by row number."""
    digest = hashlib.sha256(f"{seed}-{user}".encode()).digest()
    chain, name, prefix = WALLETS[digest[0] % len(WALLETS)]
    return Wallet(chain, name, prefix + digest[1:21].hex())


def rows(model: str, count: int, seed: int = 0) -> Iterator[list[str]]:
    """Yield the rows of a sample export, with cells in the order of `HEADERS`."""
    rng = random.Random(f"{model}-{seed}")  # noqa: S311 (sample data)
    environment = str(uuid.UUID(int=random.Random(seed).getrandbits(128), version=4))  # noqa: S311
    for number in range(count):
        key = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        clock = f"{number % 24:02d}:{number % 60:02d}:07.{number % 1000:03d}"
        created = f"2026-{number % 4 + 1:02d}-{number % 28 + 1:02d}T{clock}Z"
        seen = f"2026-09-{number % 30 + 1:02d}T{clock}Z"
        if model == "visits":
            wallet = wallet_of(number % max(1, count // VISITS_PER_USER), seed)
            yield [key, wallet.address, wallet.chain, wallet.name, "browserExtension", seen, environment]
            continue
        wallet = wallet_of(number, seed)
        (first, mailbox), last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
        name = f"{mailbox}{number}"
        metadata = {"plan": rng.choice(["free", "pro"]), "note": "likes, commas" if number % 3 else 'says "hi"'}
        credentials = [{"address": wallet.address, "chain": wallet.chain, "walletName": wallet.name}]
        yield [
            key,
            f"{name}@example.com" if number % 7 else "",
            first,
            last,
            f"{name}\nsecond line" if number % 11 == 0 else name,
            rng.choice(["US", "DE", "KR", ""]),
            rng.choice(TEAMS),
            "true" if number % 5 == 0 else "false",
            created,
            seen if number % 4 else "",
            json.dumps(metadata) if number % 6 else "",
            json.dumps(["news"] if number % 2 else []),
            json.dumps(credentials),
            wallet.address,
            wallet.chain,
            created,
            seen,
            environment,
            f"{number % 100:03d}" if number % 9 else "",
        ]


def csv_file(model: str, count: int, seed: int = 0) -> bytes:
    """Return a sample export as a CSV file: UTF-8, CRLF, with a header."""
    return to_csv([HEADERS[model], *rows(model, count, seed)])


def to_csv(table: list[list[str]]) -> bytes:
    """Encode a header and rows as CSV with Python's defaults, in UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(table)
    return text.getvalue().encode()
