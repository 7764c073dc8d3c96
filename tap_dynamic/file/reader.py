"""From a local file to rows, strictly: CSV as in RFC 4180, UTF-8."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import sys
import zlib
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, cast

from tap_dynamic.errors import TapError, plural
from tap_dynamic.file.sample import (
    GZIP_MAGIC,
    HEAD_SIZE,
    MAX_FIELD,
    Sample,
    find_delimiter,
    read_sample,
    reject_reason,
    strip_start,
)

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Rows = list[list[str]]

ROWS_PER_CHUNK = 250
"""Rows that are processed at once: what fits into a processor's cache. With 1,000, a row takes a third longer."""
CELLS_PER_CHUNK = 25_000
MAX_ROW = 32 << 20
"""Bytes of a row."""
LARGE_CHUNK = 1 << 20
"""Bytes of a chunk above which its rows are read one by one, and their fields counted before they are parsed."""
MAX_COLUMNS = 65_536
DAMAGED_GZIP = (OSError, EOFError, zlib.error)


class CsvFile:
    """A local file: its header, its sample, and its rows as often as they are wanted.

    Args:
        file: The file, gzip or not; the caller closes it.
        label: The file, for messages.
        sample: Its head.
    """

    def __init__(self, file: IO[bytes], label: str, sample: Sample) -> None:
        self.file, self.label, self.sample = file, label, sample
        self.header = sample.header
        self.dropped_nuls = 0
        self.size = file.seek(0, io.SEEK_END)

    @classmethod
    def open(cls, file: IO[bytes], label: str) -> CsvFile:
        """Verify a file and read its head.

        Raises:
            TapError: If it is damaged, empty or not CSV.
        """
        source = _Source(file)
        try:
            if source.is_gzip:  # no row is used before the checksum was verified
                while source.file.read(HEAD_SIZE):
                    pass
            source = _Source(file)
            start = bytes(source.file.read(HEAD_SIZE))
            is_whole = not source.file.read(1)
        except DAMAGED_GZIP:
            msg = f"{label}: damaged gzip data. Make a new export."
            raise TapError(msg) from None
        header = None
        if not reject_reason(start):
            delimiter = find_delimiter(strip_start(start).decode("utf-8", "replace"))
            rows, error = _Reader(file, label, delimiter).read(1, 0)
            if error:  # it says more than a sample does
                raise error
            header = rows[0] if rows else None
        return cls(file, label, read_sample(start, is_whole=is_whole, label=label, header=header))

    @property
    def is_empty(self) -> bool:
        """Whether the file has a header and no rows."""
        return self.sample.is_whole and not self.sample.rows

    @property
    def share_read(self) -> float:
        """The part of the file that the current pass has read, from 0 to 1."""
        return self.file.tell() / self.size

    def chunks(self, count: int = ROWS_PER_CHUNK) -> Iterator[tuple[int, Rows]]:
        """Read all rows from the first.

        Args:
            count: Number of rows at once, at most.

        Yields:
            The number of a row (the first data row is 1), and the cells of it and of those that follow.

        Raises:
            TapError: At the first malformed row, after all that come before.
        """
        width, number, error = len(self.header), 1, None
        count = max(1, min(count, CELLS_PER_CHUNK // width))
        reader = _Reader(self.file, self.label, self.sample.delimiter, width)
        reader.read(1, 0)
        while not error:
            rows, error = reader.read(count, number)
            if set(map(len, rows)) - {width}:
                index = next(i for i, row in enumerate(rows) if len(row) != width)
                rows, error = rows[:index], _width_error(self.label, number + index, len(rows[index]), width)
            if not rows:
                break
            yield number, rows
            number += len(rows)
        self.dropped_nuls = reader.source.dropped_nuls
        if error:
            raise error


def _width_error(label: str, number: int, fields: int, width: int) -> TapError:
    return row_error(label, number, f"{plural(fields, 'field')}, where the header has {width:,}")


def row_error(label: str, number: int, problem: str) -> TapError:
    """Make the error of a row: 1 is the first data row, 0 the header. The problem holds no cell."""
    return TapError(f"{label}, {f'row {number}' if number else 'the header'}: {problem}.")


class _LargeChunkError(Exception):
    """The rows of a chunk are large: they must be read one by one."""


class _RowTooLongError(Exception):
    """A row is larger than `MAX_ROW`."""


class _TooManyFieldsError(Exception):
    """A row has more fields than the header."""


class _Source(io.BufferedIOBase):
    """A file's bytes from its start, unpacked, without NUL characters; notes invalid UTF-8."""

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        self.is_gzip = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        self.file: Any = gzip.GzipFile(fileobj=file, mode="rb") if self.is_gzip else file
        self.position = self.start = self.dropped_nuls = 0
        self.is_careful = False
        self.is_utf8 = True
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @override
    def readable(self) -> bool:
        return True

    @override
    def read1(self, size: int = -1, /) -> bytes:
        # A block, whatever is asked for: TextIOWrapper asks for 8 KiB, which costs a tenth of all time.
        while data := bytes(self.file.read(HEAD_SIZE)):
            if count := data.count(0):
                self.dropped_nuls += count
                data = data.replace(b"\0", b"")
            if not self.position:
                data = strip_start(data)
            self._verify(data, is_last=False)
            self.position += len(data)
            # Counted from the start of the chunk, or of the row where rows are read one by one.
            size = self.position - self.start - HEAD_SIZE
            if self.is_careful and size > MAX_ROW:
                raise _RowTooLongError
            if not self.is_careful and size > LARGE_CHUNK:
                raise _LargeChunkError
            if data:
                return data
        self._verify(b"", is_last=True)
        return b""

    def _verify(self, data: bytes, *, is_last: bool) -> None:
        if self.is_utf8:
            try:
                self._decoder.decode(data, is_last)
            except UnicodeDecodeError:
                self.is_utf8 = False


class _Reader:
    """One pass over the rows of a file, header included.

    Args:
        file: The file.
        label: The file, for messages.
        delimiter: What separates its fields.
        width: The number of fields of a row, once it is known.
    """

    def __init__(self, file: IO[bytes], label: str, delimiter: str, width: int = MAX_COLUMNS) -> None:
        self.file, self.label, self.delimiter, self.width = file, label, delimiter, width
        self.source = _Source(file)
        self.rows = self._parse(self._text())
        self.rows_read = 0
        self.fields = self.quotes = 0
        self.is_counting = False

    def _text(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(cast("Any", self.source), "utf-8", errors="surrogateescape", newline="")

    def _parse(self, lines: Iterable[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self.delimiter, strict=True)

    def _restart_carefully(self, rows_read: int) -> None:
        """Start over, and read rows one by one from where this pass is: millions of fields fill the memory."""
        self.source = _Source(self.file)
        self.source.is_careful = True
        self.rows = self._parse(self._count_fields(self._text()))
        for _ in range(rows_read):
            self._next_row()
        self.is_counting = True

    def _count_fields(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            parts = line.split('"')
            # What is outside quotes, given the quotes of the row's lines before.
            self.fields += sum(part.count(self.delimiter) for part in parts[self.quotes & 1 :: 2])
            self.quotes += len(parts) - 1
            # Generous, because a quote within an unquoted field is taken for an opening one here.
            if self.is_counting and self.fields > max(self.width, MAX_COLUMNS):
                raise _TooManyFieldsError
            parts[:] = [line]
            del line  # a line of 16 MiB takes 64 with one emoji: not to be held twice
            yield parts.pop()

    def _next_row(self) -> list[str] | None:
        self.fields = self.quotes = 0
        while (row := next(self.rows, None)) is not None:
            self.source.start = self.source.position
            if row:
                return row
        return None

    def read(self, count: int, number: int) -> tuple[Rows, TapError | None]:
        """Read up to `count` non-blank rows, and the error that ended reading, if any.

        Args:
            count: Number of rows.
            number: Number of the first one.
        """
        rows: Rows = []
        problem = None
        try:
            try:
                self._read_into(rows, count)
            except _LargeChunkError:
                rows[:] = [row for row in rows if row]
                self._restart_carefully(self.rows_read + len(rows))
                self._read_into(rows, count)
        except csv.Error as error:
            problem = {
                "unexpected end of data": "an unclosed quote",
                f"field larger than field limit ({MAX_FIELD})": "a field over 16 MiB, most likely an unclosed quote",
            }.get(str(error), "malformed quotes")
        except _TooManyFieldsError:
            problem = f"more than {self.width:,} fields"
        except _RowTooLongError:
            problem = f"a row over {MAX_ROW >> 20} MiB, most likely an unclosed quote"
        except DAMAGED_GZIP:
            problem = "damaged gzip data"
        if not all(rows):
            rows[:] = [row for row in rows if row]
        self.rows_read += len(rows)
        if not self.source.is_utf8:
            for index, row in enumerate(rows):
                if not _is_text(row):
                    return rows[:index], row_error(self.label, number + index, "bytes that are not UTF-8")
        return rows, row_error(self.label, number + len(rows), problem) if problem else None

    def _read_into(self, rows: Rows, count: int) -> None:
        source = self.source
        source.start = start = source.position
        if source.is_careful:
            while len(rows) < count and source.position - start <= LARGE_CHUNK and (row := self._next_row()):
                rows.append(row)
            return
        while len(rows) < count:
            before = len(rows)
            rows.extend(islice(self.rows, count - before))
            if len(rows) == before:
                break
            if not all(rows):
                rows[:] = [row for row in rows if row]


def _is_text(row: list[str]) -> bool:
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return False
    return True
