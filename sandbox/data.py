"""Realistic sample exports of any size, reproducible by seed."""

from __future__ import annotations

import csv
import io
import json
import random
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST = ["Ada", "Björn", "Chloé", "Dmitri", "Eun-ji", "Fatima", "Grace", "Hiro", "Inés", "Jürgen"]
LAST = ["O'Neill", "Müller", "de la Cruz", "Sørensen", "王", "Smith, Jr.", "Novák", "Okafor"]
CHAINS = ["EVM", "SOL", "BTC", "FLOW", "ALGO"]
WALLETS = ["metamask", "coinbase", "phantom", "rainbow", "ledger"]
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


def rows(model: str, count: int, seed: int = 0) -> Iterator[list[str]]:
    """Yield the rows of a sample export, with cells in the order of `HEADERS`."""
    rng = random.Random(f"{model}-{seed}")  # noqa: S311 (sample data)
    environment = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    for number in range(count):
        key = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        chain, wallet = rng.choice(CHAINS), rng.choice(WALLETS)
        address = f"0x{rng.getrandbits(160):040x}"
        clock = f"{number % 24:02d}:{number % 60:02d}:07.{number % 1000:03d}"
        day = f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d}T{clock}Z"
        if model == "visits":
            yield [key, address, chain, wallet, "browserExtension", day, environment]
            continue
        first, last = rng.choice(FIRST), rng.choice(LAST)
        name = f"{first.lower()}{number}"
        metadata = {"plan": rng.choice(["free", "pro"]), "note": "likes, commas" if number % 3 else 'says "hi"'}
        credentials = [{"address": address, "chain": chain, "walletName": wallet}]
        yield [
            key,
            f"{name}@example.com" if number % 7 else "",
            first,
            last,
            f"{name}\nsecond line" if number % 11 == 0 else name,
            rng.choice(["US", "DE", "KR", ""]),
            rng.choice(TEAMS),
            "true" if number % 5 == 0 else "false",
            day,
            day if number % 4 else "",
            json.dumps(metadata) if number % 6 else "",
            json.dumps(["news"] if number % 2 else []),
            json.dumps(credentials),
            address,
            chain,
            day,
            day,
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
