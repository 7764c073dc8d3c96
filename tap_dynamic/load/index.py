"""Digests of keys and rows on disk, in constant memory: uniqueness of keys, difference of two files."""

from __future__ import annotations

import contextlib
import struct
import sys
from abc import ABC, abstractmethod
from array import array
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from tap_dynamic.tempfiles import disk_error, new_temporary_file

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

DIGEST_SIZE = 16
"""Bytes of a digest: 128 bits make a collision impossible in practice."""
NUMBER_SIZE = 8
PARTITIONS = 256
"""A partition fits into memory: 40,000 entries of ten million rows."""
BUFFERED_ROWS = 1 << 15
"""Entries that are held in memory before they are written."""


def digests(texts: Iterable[str]) -> list[bytes]:
    """Digest each text."""
    return [blake2b(text, digest_size=DIGEST_SIZE).digest() for text in map(str.encode, texts)]


def key_digests(columns: Sequence[Sequence[str]]) -> list[bytes]:
    """Digest the key of each row.

    Args:
        columns: The texts of each key column, none of which holds a NUL character.
    """
    return digests(columns[0] if len(columns) == 1 else map("\0".join, zip(*columns)))


def row_hashes(texts: Iterable[str]) -> list[bytes]:
    """Hash the content of each row: 64 bits are enough to compare one row with one other, and take half the time."""
    return [hash(text).to_bytes(8, "big", signed=True) for text in texts]


class PartitionedFile(ABC):
    """Entries in a temporary file without a name, in `PARTITIONS` parts that each fit into memory.

    Args:
        label: The file that is read, for messages.
    """

    def __init__(self, label: str) -> None:
        self.label, self.file = label, new_temporary_file(label)
        self.buffers: list[list[Any]] = [[] for _ in range(PARTITIONS)]
        self.segments = [array("Q") for _ in range(PARTITIONS)]
        self.buffered = self.size = self.rows = 0

    def __enter__(self) -> Self:
        """Return the object, which closes its file at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file: it is gone."""
        with contextlib.suppress(OSError):  # a full disk was reported before
            self.file.close()

    @abstractmethod
    def pack(self, entries: list[Any]) -> bytes:
        """Write some entries as bytes."""

    def count(self, rows: int) -> None:
        """Count entries that were put into the buffers, and write the buffers when they are full."""
        self.rows += rows
        self.buffered += rows
        if self.buffered >= BUFFERED_ROWS:
            self._flush()

    def _flush(self) -> None:
        try:
            for buffer, segments in zip(self.buffers, self.segments):
                if buffer:
                    data = self.pack(buffer)
                    self.file.write(data)
                    self.file.flush()
                    segments.extend((self.size, len(data)))
                    self.size += len(data)
                    buffer.clear()
        except OSError as error:
            raise disk_error(self.label, error) from None
        self.buffered = 0

    def partitions(self) -> Iterator[Iterator[bytes]]:
        """Yield the packed entries of each partition, in the order in which they came."""
        self._flush()
        for segments in self.segments:
            yield self._read(segments)
        self.file.seek(self.size)

    def _read(self, segments: Sequence[int]) -> Iterator[bytes]:
        for start, size in zip(segments[::2], segments[1::2]):
            self.file.seek(start)
            yield self.file.read(size)


class KeyHashes(PartitionedFile):
    """Hashes of the keys of a file's rows, 64 bits each: a cheap test whether the keys are unique."""

    @override
    def pack(self, entries: list[int]) -> bytes:
        return array("q", entries).tobytes()

    def add(self, columns: Sequence[Sequence[str]]) -> None:
        """Add the keys of some rows, the texts of each key column."""
        buffers = self.buffers
        for key in map(hash, columns[0] if len(columns) == 1 else zip(*columns)):
            buffers[key & (PARTITIONS - 1)].append(key)
        self.count(len(columns[0]))

    def are_unique(self) -> bool:
        """Whether the hashes, and so the keys, are unique. Equal hashes nearly always mean equal keys."""
        unique = 0
        for blocks in self.partitions():
            known = set[int]()
            for block in blocks:
                known.update(array("q", block))
            unique += len(known)
        return unique == self.rows


class RowIndex(PartitionedFile):
    """The digests of the keys of a file's rows (and hashes of the rows), with their numbers."""

    entry_size = 0

    @override
    def pack(self, entries: list[bytes]) -> bytes:
        self.entry_size = len(entries[0])
        return b"".join(entries)

    def add(self, number: int, keys: Sequence[bytes], rows: Sequence[bytes] | None = None) -> None:
        """Add rows.

        Args:
            number: The number of the first one.
            keys: The digests of their keys.
            rows: The hashes of the rows; all calls give them, or none does.
        """
        buffers = self.buffers
        if rows:
            for row, (key, content) in enumerate(zip(keys, rows), number):
                buffers[key[0]].append(key + row.to_bytes(NUMBER_SIZE, "big") + content)
        else:
            for row, key in enumerate(keys, number):
                buffers[key[0]].append(key + row.to_bytes(NUMBER_SIZE, "big"))
        self.count(len(keys))

    def entries(self) -> Iterator[Iterator[tuple[bytes, bytes, bytes]]]:
        """Yield the entries of each partition, in the order of the rows; equal keys share one.

        Each entry has the digest of the key, the row number, and the hash of the row, if there is one.
        """
        for blocks in self.partitions():
            form = struct.Struct(f"{DIGEST_SIZE}s{NUMBER_SIZE}s{max(0, self.entry_size - DIGEST_SIZE - NUMBER_SIZE)}s")
            yield chain.from_iterable(map(form.iter_unpack, blocks))

    def first_duplicate(self) -> tuple[int, int] | None:
        """Return the numbers of the first two rows with equal keys, or None if each key is unique."""
        if sum(len(set(map(itemgetter(0), entries))) for entries in self.entries()) == self.rows:
            return None
        first: tuple[int, int] | None = None
        for entries in self.entries():
            known: dict[bytes, int] = {}
            for key, row, _ in entries:
                number = int.from_bytes(row, "big")
                earlier = known.setdefault(key, number)
                if earlier != number:
                    first = min((first or (earlier, number)), (earlier, number), key=lambda pair: pair[1])
                    break
        return first


class RowSet:
    """A set of row numbers, a bit each.

    Args:
        size: The largest number.
    """

    def __init__(self, size: int) -> None:
        self.bits = bytearray((size >> 3) + 1)

    def add(self, number: int) -> None:
        """Add a number."""
        self.bits[number >> 3] |= 1 << (number & 7)

    def among(self, numbers: range) -> list[int]:
        """Return those of some numbers that are in the set."""
        if not any(self.bits[numbers.start >> 3 : (numbers.stop >> 3) + 1]):
            return []
        return [number for number in numbers if self.bits[number >> 3] >> (number & 7) & 1]

    @property
    def end(self) -> int:
        """A number that all in the set are below; 0 if it is empty."""
        return len(self.bits.rstrip(b"\0")) << 3

    def intersect(self, other: RowSet) -> None:
        """Keep the numbers that are in another set of the same size too."""
        self.bits = bytearray(a & b for a, b in zip(self.bits, other.bits))

    def __len__(self) -> int:
        """Count the numbers."""
        return sum(byte.bit_count() for byte in self.bits)


@dataclass
class Difference:
    """What differs between two files with unique keys.

    Args:
        emitted: Rows of the new file whose key is new or whose content differs.
        gone: Rows of the old file whose key is gone.
        added: Number of new keys.
        changed: Number of rows whose content differs.
        unchanged: Number of equal rows.
    """

    emitted: RowSet
    gone: RowSet
    added: int = 0
    changed: int = 0
    unchanged: int = field(default=0)


def compare(new: RowIndex, old: RowIndex) -> Difference | None:
    """Compare two files, a partition at a time.

    Args:
        new: A file with unique keys.
        old: Another one.

    Returns:
        What differs; None if the keys of the old file are not unique.
    """
    difference = Difference(RowSet(new.rows), RowSet(old.rows))
    old_rows = 0
    for new_entries, old_entries in zip(new.entries(), old.entries()):
        rest = {key: (row, content) for key, row, content in old_entries}
        old_rows += len(rest)
        for key, row, content in new_entries:
            before = rest.pop(key, None)
            if before is None:
                difference.added += 1
            elif before[1] == content:
                difference.unchanged += 1
                continue
            else:
                difference.changed += 1
            difference.emitted.add(int.from_bytes(row, "big"))
        for row, _ in rest.values():
            difference.gone.add(int.from_bytes(row, "big"))
    return difference if old_rows == old.rows else None
