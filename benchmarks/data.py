"""Users files in the shape of Dynamic's: 38 columns, and a row for each verified credential of a user."""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING

from sandbox.data import HEADERS, rows, to_csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER = HEADERS["users"]
USER, CREDENTIAL, EMAIL, NAME, ACCOUNT = (
    HEADER.index(name)
    for name in (
        "user_id", "verified_credential_id", "user_email", "user_firstName", "verified_credential_oauthAccountId",
    )
)  # fmt: skip
LOGIN = [HEADER.index(name) for name in ("user_updatedAt", "user_lastVisit", "verified_credential_lastSelectedAt")]
"""What a login changes."""


def users(count: int, *, changed: float = 0, linked: bool = False) -> bytes:
    """Return an export of users as a CSV file.

    Args:
        count: Its rows.
        changed: Return the export of the next night instead, in which about that many percent of the rows differ: most
            of them by logins, a tenth by wallets that were unlinked, a twentieth by new users.
        linked: Leave out users without a credential.
    """
    table = (row for row in rows("users", sys.maxsize) if row[CREDENTIAL] or not linked)
    added = round(count * changed / 100 / 20)
    return to_csv(chain([HEADER], _next_night(islice(table, count), changed), islice(table, added)))


def parse(data: bytes) -> list[list[str]]:
    """Return the rows of a file, without its header."""
    return list(csv.reader(io.StringIO(data.decode(), newline="")))[1:]


def digest(data: bytes) -> str:
    """Compute the digest of `candidates/show_table.py` from a file."""
    table = sorted(parse(data), key=itemgetter(USER, CREDENTIAL))
    lines = [f"{row[EMAIL]}|{row[NAME]}" for row in table]
    return hashlib.md5("\n".join(lines).encode(), usedforsecurity=False).hexdigest()


def count_differences(before: bytes, after: bytes) -> int:
    """Count the rows that were added, changed or deleted."""
    old, new = ({(row[USER], row[CREDENTIAL]): row for row in parse(data)} for data in (before, after))
    return sum(old.get(key) != new.get(key) for key in old.keys() | new.keys())


def _next_night(table: Iterable[list[str]], percent: float) -> Iterator[list[str]]:
    for number, (_, group) in enumerate(groupby(table, key=itemgetter(USER))):
        place, of_user = number % 1000 / 10, list(group)
        if place < 0.9 * percent:
            for row in of_user:
                for column in LOGIN:
                    row[column] = row[column].replace("2026-09-", "2026-10-")
        elif place < percent:
            of_user = of_user[:-1] or of_user
        yield from of_user
