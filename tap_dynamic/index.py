"""Digests of keys on disk, in constant memory: is a key unique in a file of any size?"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from tap_dynamic.tempfiles import disk_error, new_temporary_file

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


def digests(columns: Sequence[Sequence[object]]) -> list[bytes]:
    """Digest the values of each row.

    Args:
        columns: One sequence of values a column, none of which holds a NUL character.

    Returns:
        A digest a row.
    """
    texts: Iterable[str] = map(str, columns[0])
    if len(columns) > 1:
        texts = map("\0".join, zip(*(map(str, column) for column in columns)))
    return [blake2b(text, digest_size=DIGEST_SIZE).digest() for text in map(str.encode, texts)]


class KeyIndex:
    """The digests of the keys of a file's rows, with the numbers of the rows, partitioned in a temporary file.

    Args:
        label: The file, for messages.
    """

    def __init__(self, label: str) -> None:
        self.label, self.file = label, new_temporary_file(label)
        self.buffers: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        self.segments: list[list[tuple[int, int]]] = [[] for _ in range(PARTITIONS)]
        self.buffered = self.size = 0

    def __enter__(self) -> Self:
        """Return the index, which closes its file at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, which has no name: it is gone."""
        self.file.close()

    def add(self, keys: Sequence[bytes], number: int) -> None:
        """Add rows.

        Args:
            keys: The digests of their keys.
            number: The number of the first one.
        """
        buffers = self.buffers
        for row, key in enumerate(keys, number):
            buffers[key[0]].append(key + row.to_bytes(NUMBER_SIZE, "big"))
        self.buffered += len(keys)
        if self.buffered >= BUFFERED_ROWS:
            self._flush()

    def _flush(self) -> None:
        try:
            for buffer, segments in zip(self.buffers, self.segments):
                if buffer:
                    data = b"".join(buffer)
                    self.file.write(data)
                    segments.append((self.size, len(data)))
                    self.size += len(data)
                    buffer.clear()
        except OSError as error:
            raise disk_error(self.label, error) from None
        self.buffered = 0

    def partitions(self) -> Iterator[list[bytes]]:
        """Yield the entries of each partition: a digest and a row number of 8 bytes; equal keys share one."""
        self._flush()
        entry = DIGEST_SIZE + NUMBER_SIZE
        for segments in self.segments:
            entries: list[bytes] = []
            for start, size in segments:
                self.file.seek(start)
                data = self.file.read(size)
                entries += (data[at : at + entry] for at in range(0, size, entry))
            yield entries
        self.file.seek(self.size)

    def first_duplicate(self) -> tuple[int, int] | None:
        """Return the numbers of the first two rows with equal keys, or None if each key is unique."""
        first: tuple[int, int] | None = None
        for entries in self.partitions():
            if len({entry[:DIGEST_SIZE] for entry in entries}) == len(entries):
                continue
            known: dict[bytes, int] = {}
            for entry in entries:
                key, number = entry[:DIGEST_SIZE], int.from_bytes(entry[DIGEST_SIZE:], "big")
                earlier = known.setdefault(key, number)
                if earlier != number and (first is None or number < first[1]):
                    first = earlier, number
        return first
