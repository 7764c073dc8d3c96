"""Believable exports of any size, the same for the same seed."""

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
    """Make the rows of an export.

    Args:
        model: `users` or `visits`.
        count: Number of rows.
        seed: Other seeds give other rows.

    Yields:
        The cells of a row, in the order of `HEADERS`.
    """
    dice = random.Random(f"{model}-{seed}")  # noqa: S311 (sample data)
    environment = str(uuid.UUID(int=dice.getrandbits(128), version=4))
    for number in range(count):
        key = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        chain, wallet = dice.choice(CHAINS), dice.choice(WALLETS)
        address = f"0x{dice.getrandbits(160):040x}"
        clock = f"{number % 24:02d}:{number % 60:02d}:07.{number % 1000:03d}"
        day = f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d}T{clock}Z"
        if model == "visits":
            yield [key, address, chain, wallet, "browserExtension", day, environment]
            continue
        first, last = dice.choice(FIRST), dice.choice(LAST)
        name = f"{first.lower()}{number}"
        metadata = {"plan": dice.choice(["free", "pro"]), "note": "likes, commas" if number % 3 else 'says "hi"'}
        credentials = [{"address": address, "chain": chain, "walletName": wallet}]
        yield [
            key,
            f"{name}@example.com" if number % 7 else "",
            first,
            last,
            f"{name}\nsecond line" if number % 11 == 0 else name,
            dice.choice(["US", "DE", "KR", ""]),
            dice.choice(TEAMS),
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
    """Write an export as a CSV file.

    Args:
        model: `users` or `visits`.
        count: Number of rows.
        seed: Other seeds give other rows.

    Returns:
        The file: UTF-8, CRLF, a header.
    """
    return to_csv([HEADERS[model], *rows(model, count, seed)])


def to_csv(table: list[list[str]]) -> bytes:
    """Write rows as Python's `csv` does.

    Args:
        table: The header and the rows.

    Returns:
        The file: UTF-8, CRLF.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows(table)
    return text.getvalue().encode()
