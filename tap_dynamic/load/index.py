"""Keys and rows of files in a temporary database, in constant memory: duplicate keys, and what differs."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, repeat
from typing import TYPE_CHECKING

from tap_dynamic.errors import TapError
from tap_dynamic.table.columns import duplicate_key_problem, key_refusal
from tap_dynamic.tempfiles import disk_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from typing_extensions import Self

KEY_SIZE = 16
"""Bytes of a key's digest: with 128 bits, two keys never share one in practice."""
CACHE = 8192
"""KiB of the database in memory; the rest is in a temporary file."""
TABLES = """
create table entries (file integer, key blob, number integer, content integer);
create table differences (file integer, number integer, is_added integer);
"""
DUPLICATE = """
with repeated as (
    select key, min(number) as first from entries where file = :file group by key having count(*) > 1
)
select first, number from entries join repeated using (key)
where file = :file and number > first order by number limit 1
"""
DIFFERENCES = """
insert into differences
select max(place) >> 40, max(place) & ((1 << 40) - 1), count(*) = 1
from (select key, content, file << 40 | number as place from entries)
group by key
having count(*) <= :newest or min(content) <> max(content)
"""
"""Of each key that is not in all files, or whose rows differ: the row of the newest file that has it."""
GONE = """
select count(*) filter (where last = :earlier), count(*)
from (select max(file) as last from entries where file in (:earlier, :newest) group by key having min(file) = :earlier)
"""
COUNTS = """
select
    count(*) filter (where file = :newest and is_added),
    count(*) filter (where file = :newest and not is_added),
    count(*) filter (where file < :newest)
from differences
"""


@dataclass(frozen=True)
class Counts:
    """How many keys differ between a file and earlier ones."""

    added: int = 0
    changed: int = 0
    """Keys whose rows differ, or that some earlier file lacks."""
    deleted: int = 0
    unchanged: int = 0
    """Keys with equal rows in all files."""

    @property
    def before(self) -> int:
        """Number of keys of the earlier files."""
        return self.changed + self.deleted + self.unchanged


@lru_cache(maxsize=16)
def insert_statement(file: int, count: int) -> str:
    """Write the statement that inserts a number of rows of a file: one for many takes a third of the time."""
    return f"insert into entries values {', '.join([f'({file}, ?, ?, ?)'] * count)}"  # noqa: S608 (numbers)


class RowIndex:
    """Digests of keys and rows of some files, numbered from 0: earlier ones first, that of the label last."""

    def __init__(self, label: str) -> None:
        self.label = label
        with self._reporting():
            # A database without a name is temporary; it spills to TMPDIR.
            self._database = sqlite3.connect("", isolation_level=None)
            self._database.execute(f"pragma cache_size = -{CACHE}")
            self._database.execute("pragma journal_mode = off")
            self._database.executescript(TABLES)
            self._database.execute("begin")

    def __enter__(self) -> Self:
        """Return the index, which closes its database at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the database: it is gone."""
        with contextlib.suppress(sqlite3.Error):  # a full disk was reported before
            self._database.close()

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise disk_error(self.label, OSError(0, str(error))) from None

    def add(self, file: int, numbers: Iterable[int], keys: Iterable[bytes], rows: Iterable[int | None] | None) -> None:
        """Add rows of a file: their numbers, digests of their keys, hashes of their contents unless just keys count."""
        with self._reporting():
            values = list(chain.from_iterable(zip(keys, numbers, rows or repeat(None))))
            if values:
                self._database.execute(insert_statement(file, len(values) // 3), values)

    def remove(self, file: int) -> None:
        """Remove the rows of a file."""
        with self._reporting():
            self._database.execute("delete from entries where file = ?", (file,))

    def find_duplicate(self, file: int) -> tuple[int, int] | None:
        """Return the numbers of the first two rows of a file with equal keys; None if each key is unique."""
        with self._reporting():
            found = self._database.execute(DUPLICATE, {"file": file}).fetchone()
        return (int(found[0]), int(found[1])) if found else None

    def require_unique(self, file: int, key: Sequence[str]) -> None:
        """Raise a `TapError` if two rows of a file, the one that is loaded, have the same key."""
        if rows := self.find_duplicate(file):
            msg = f"{self.label}: {key_refusal(key, duplicate_key_problem(key, *rows))}"
            raise TapError(msg)

    def compare(self, newest: int) -> Counts:
        """Find what differs between a file and all earlier ones, with lower numbers; the keys of each are unique."""
        with self._reporting():
            self._database.execute(DIFFERENCES, {"newest": newest})
            added, changed, deleted = self._database.execute(COUNTS, {"newest": newest}).fetchone()
            (rows,) = self._database.execute("select count(*) from entries where file = ?", (newest,)).fetchone()
        return Counts(added, changed, deleted, rows - added - changed)

    def count_gone(self, earlier: int, newest: int) -> tuple[int, int]:
        """Return how many keys of an earlier file the newest lacks, and how many it has."""
        with self._reporting():
            gone, keys = self._database.execute(GONE, {"earlier": earlier, "newest": newest}).fetchone()
        return gone, keys

    def differing_rows(self, file: int) -> Iterator[int]:
        """Yield the numbers of the rows of a file that `compare` found, in order.

        Those of the newest file are new or differ; those of an earlier one have keys that are gone.
        """
        query = "select number from differences where file = ? order by number"
        with self._reporting():
            for (number,) in self._database.execute(query, (file,)):
                yield number


def key_digests(columns: Sequence[Sequence[str]]) -> list[bytes]:
    """Digest the key of each row, from the texts of each key column, which have no NUL characters."""
    texts = columns[0] if len(columns) == 1 else map("\0".join, zip(*columns))
    return [blake2b(text, digest_size=KEY_SIZE).digest() for text in map(str.encode, texts)]


def row_hashes(texts: Iterable[str]) -> list[int]:
    """Hash the content of each row: 64 bits are enough to compare one row with a few others."""
    return list(map(hash, texts))
