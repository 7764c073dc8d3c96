"""From a local file to rows, strictly: CSV as in RFC 4180, UTF-8."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from itertools import chain, repeat
from typing import IO, TYPE_CHECKING, Any, cast

from typing_extensions import override

from tap_dynamic.errors import FileUnusable, plural
from tap_dynamic.file.memory import (
    CHUNK_SIZE,
    JSON_TOO_LONG,
    MAX_COLUMNS,
    MAX_ROW,
    ROW_TOO_LONG,
    TOO_MANY_FIELDS,
    MalformedError,
    MemoryGuard,
    is_long_in_json,
)
from tap_dynamic.file.sample import (
    GZIP_MAGIC,
    HEAD_SIZE,
    MAX_FIELD,
    Sample,
    from_header,
    read_sample,
    reject_reason,
    without_start,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    Rows = list[list[str]]

ROWS_PER_CHUNK = 250
"""Rows that are processed at once: what fits into a processor's cache. With 1,000, a row takes a third longer."""
CELLS_PER_CHUNK = 25_000
DAMAGED_GZIP = (OSError, EOFError, zlib.error)
QUOTE_PROBLEMS = {
    "unexpected end of data": "an unclosed quote",
    f"field larger than field limit ({MAX_FIELD})": "a field over 16 MiB, most likely an unclosed quote",
}
"""What errors of `csv` mean."""


class CsvFile:
    """A local file, gzip or not: its header, its sample, and its rows as often as they are wanted."""

    def __init__(self, file: IO[bytes], label: str, sample: Sample) -> None:
        self.file, self.label, self.sample = file, label, sample
        self.header = sample.header
        self.dropped_nuls = 0
        self.size = file.seek(0, io.SEEK_END)

    @classmethod
    def open(cls, file: IO[bytes], label: str) -> CsvFile:
        """Verify a file and read its head.

        Raises:
            FileUnusable: If it is damaged, empty or not CSV.
        """
        source = _Source(file)
        blocks = iter(lambda: bytes(source.file.read(HEAD_SIZE)), b"")
        try:
            start, is_whole = next(blocks, b""), not next(blocks, b"")
            while source.is_gzip and next(blocks, b""):  # no row is used before the checksum was verified
                pass
        except DAMAGED_GZIP:
            msg = f"{label}: damaged gzip data. Make a new export."
            raise FileUnusable(msg) from None
        header = None
        if not reject_reason(start):
            try:
                header = next(_read_chunks(_Source(file), from_header(start)[0]), [None])[0]
            except MalformedError as error:  # it says more than a sample does
                raise row_error(label, 0, str(error)) from None
            if len(header or ()) > MAX_COLUMNS:
                raise row_error(label, 0, TOO_MANY_FIELDS)
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
        """Read all rows from the first, `count` or fewer at once.

        Yields:
            The number of a row (the first data row is 1), and the cells of it and of those that follow.

        Raises:
            FileUnusable: At the first malformed row, after all that come before.
        """
        width = len(self.header)
        source = _Source(self.file)
        chunks = _read_chunks(source, self.sample.delimiter, max(1, min(count, CELLS_PER_CHUNK // width)), width)
        number = 1
        next(chunks)  # the header
        try:
            for rows in chunks:
                yield number, rows
                number += len(rows)
        except MalformedError as error:
            raise row_error(self.label, number, str(error)) from None
        self.dropped_nuls = source.dropped_nuls


def row_error(label: str, number: int, problem: str) -> FileUnusable:
    """Make the error of a row: 1 is the first data row, 0 the header. The problem holds no cell."""
    return FileUnusable(f"{label}, {f'row {number}' if number else 'the header'}: {problem}.")


class _Source(io.BufferedIOBase):
    """A file's bytes from its header on, unpacked, without NUL characters."""

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        self.is_gzip = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        self.file: Any = gzip.GzipFile(fileobj=file, mode="rb") if self.is_gzip else file
        self.is_start = True
        self.dropped_nuls = self.line_memory = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def read1(self, size: int = -1, /) -> bytes:
        # A block, whatever is asked for: TextIOWrapper asks for 8 KiB, which costs a tenth of all time.
        while data := bytes(self.file.read(HEAD_SIZE)):
            if count := data.count(0):
                self.dropped_nuls += count
                data = data.replace(b"\0", b"")  # no loader takes them
            if self.is_start:
                data = without_start(data)
                self.is_start = not data
            if b"\n" in data or b"\r" in data:
                self.line_memory = 0
            else:  # TextIOWrapper keeps all blocks of a line
                self.line_memory += sys.getsizeof(data.decode("utf-8", "replace"))
            if self.line_memory > MAX_ROW:
                raise MalformedError(ROW_TOO_LONG)
            if data:
                return data
        return b""


def _read_chunks(source: _Source, delimiter: str, count: int = 1, width: int | None = None) -> Iterator[Rows]:
    """Yield the header alone, then rows of `width` fields, `count` or about `CHUNK_SIZE` at most.

    Raises:
        MalformedError: At the first malformed row, after all that come before.
    """
    lines = io.TextIOWrapper(cast("Any", source), "utf-8", errors="surrogateescape", newline="")
    guard = MemoryGuard(delimiter)
    # Not in a reference cycle, where the parser's buffer of 64 MiB would stay until Python finds it.
    parsed = csv.reader(map(guard.verified, lines), delimiter=delimiter, strict=True)
    problem = None
    for limit in chain([1], repeat(count)):
        rows: Rows = []
        guard.start_chunk()
        try:
            for row in parsed:
                guard.row_start = guard.size
                if row:
                    rows.append(row)
                    if len(rows) == limit or guard.size > CHUNK_SIZE:
                        break
                else:  # blank lines end no chunk, however many follow each other
                    guard.lines.clear()
        except (csv.Error, MalformedError, UnicodeEncodeError, *DAMAGED_GZIP) as error:
            problem = _problem_of(error)
        if guard.size > CHUNK_SIZE and rows and is_long_in_json(rows[-1]):
            problem = JSON_TOO_LONG
            rows.pop()
        if width and set(map(len, rows)) - {width}:
            index, fields = next((i, len(row)) for i, row in enumerate(rows) if len(row) != width)
            rows = rows[:index]
            problem = f"{plural(fields, 'field')}, where the header has {width:,}"
        if rows:
            yield rows
        if problem:
            raise MalformedError(problem)
        if not rows:
            return


def _problem_of(error: Exception) -> str:
    if isinstance(error, csv.Error):
        return QUOTE_PROBLEMS.get(str(error), "malformed quotes")
    if isinstance(error, UnicodeEncodeError):
        return "bytes that are not UTF-8"
    return str(error) if isinstance(error, MalformedError) else "damaged gzip data"
