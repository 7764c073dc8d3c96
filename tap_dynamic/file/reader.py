"""From a local file to rows, strictly: CSV as in RFC 4180, UTF-8."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import re
import sys
import zlib
from itertools import chain, islice, repeat
from typing import IO, TYPE_CHECKING, Any, cast

from typing_extensions import override

from tap_dynamic.errors import FileUnusable, plural
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
CHUNK_SIZE = 1 << 20
"""Characters after which a chunk ends at its next row."""
MAX_ROW = 32 << 20
"""Bytes of memory of a row's text: Python takes up to four for each character, as many as its widest one needs."""
TEXT_HEADER = sys.getsizeof("\u00e9\u00e9") - 3
"""Bytes of memory of a text that is not ASCII, besides its characters and one more that ends it."""
MAX_COLUMNS = 65_536
DAMAGED_GZIP = (OSError, EOFError, zlib.error)
QUOTE_PROBLEMS = {
    "unexpected end of data": "an unclosed quote",
    f"field larger than field limit ({MAX_FIELD})": "a field over 16 MiB, most likely an unclosed quote",
}
"""What errors of `csv` mean."""
ROW_TOO_LONG = f"a row over {MAX_ROW >> 20} MiB, most likely an unclosed quote"
TOO_MANY_FIELDS = f"more than {MAX_COLUMNS:,} fields"


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
            except _MalformedError as error:  # it says more than a sample does
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
        except _MalformedError as error:
            raise row_error(self.label, number, str(error)) from None
        self.dropped_nuls = source.dropped_nuls


def row_error(label: str, number: int, problem: str) -> FileUnusable:
    """Make the error of a row: 1 is the first data row, 0 the header. The problem holds no cell."""
    return FileUnusable(f"{label}, {f'row {number}' if number else 'the header'}: {problem}.")


class _MalformedError(Exception):
    """Why a row can't be read."""


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
                raise _MalformedError(ROW_TOO_LONG)
            if data:
                return data
        return b""


class _MemoryGuard:
    """Refuses a row that would fill the memory, before it is parsed.

    Attributes:
        size: Characters of the lines of a chunk so far.
        row_start: How many of them are of earlier rows.
        lines: The lines of rows that are not large yet.
        width: Bytes of memory for each character of a large row.
    """

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        self.start_chunk()

    def start_chunk(self) -> None:
        self.size = self.row_start = self.delimiters = self.separators = 0
        self.lines: list[str] = []

    def verified(self, line: str) -> str:
        """Pass a line on to the parser, unless its row would fill the memory."""
        if not line.isascii():
            line.encode()  # fails at bytes that are not UTF-8
        self.size += len(line)
        if self.size - self.row_start > CHUNK_SIZE:
            self._verify_large(line)
        else:
            self.lines.append(line)
        return line

    def _verify_large(self, line: str) -> None:
        before = self.size - len(line) - self.row_start
        if before <= CHUNK_SIZE:
            self.width, rest = 1, before
            while rest:
                self.width = max(self.width, _width(self.lines[-1]))
                rest -= len(self.lines.pop())
        self.width = max(self.width, _width(line))
        if (before + len(line)) * self.width > MAX_ROW:
            raise _MalformedError(ROW_TOO_LONG)
        self.delimiters += line.count(self.delimiter)
        # Within a row, the parser asks for another line only while a quote is open.
        if self.delimiters >= MAX_COLUMNS and ('"' in line or not before):
            self.separators += count_separators(line, self.delimiter, is_quoted=before > 0)
        if self.separators >= MAX_COLUMNS:
            raise _MalformedError(TOO_MANY_FIELDS)


def _width(text: str) -> int:
    """Return the bytes of memory for each character of a text."""
    return 1 if text.isascii() else (sys.getsizeof(text) - TEXT_HEADER) // (len(text) + 1)


def _read_chunks(source: _Source, delimiter: str, count: int = 1, width: int | None = None) -> Iterator[Rows]:
    """Yield the header alone, then rows of `width` fields, `count` or about `CHUNK_SIZE` at most.

    Raises:
        _MalformedError: At the first malformed row, after all that come before.
    """
    lines = io.TextIOWrapper(cast("Any", source), "utf-8", errors="surrogateescape", newline="")
    guard = _MemoryGuard(delimiter)
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
        except (csv.Error, _MalformedError, UnicodeEncodeError, *DAMAGED_GZIP) as error:
            problem = _problem_of(error)
        if width and set(map(len, rows)) - {width}:
            index, fields = next((i, len(row)) for i, row in enumerate(rows) if len(row) != width)
            rows = rows[:index]
            problem = f"{plural(fields, 'field')}, where the header has {width:,}"
        if rows:
            yield rows
        if problem:
            raise _MalformedError(problem)
        if not rows:
            return


def _problem_of(error: Exception) -> str:
    if isinstance(error, csv.Error):
        return QUOTE_PROBLEMS.get(str(error), "malformed quotes")
    if isinstance(error, UnicodeEncodeError):
        return "bytes that are not UTF-8"
    return str(error) if isinstance(error, _MalformedError) else "damaged gzip data"


def count_separators(line: str, delimiter: str, *, is_quoted: bool) -> int:
    """Count the delimiters outside quotes, up to `MAX_COLUMNS`, in a line that may begin within quotes."""
    # A piece that ends outside quotes is a row of its own.
    piece = re.compile(f"[^{re.escape(delimiter)}]*{re.escape(delimiter)}")
    pieces = (found[0] for found in piece.finditer(line, 0, line.rfind(delimiter) + 1))
    rows = csv.reader(chain('"' * is_quoted, pieces), delimiter=delimiter, strict=True)
    count = 0
    with contextlib.suppress(csv.Error):  # the line ends within quotes
        for _ in islice(rows, MAX_COLUMNS):
            count += 1
    return count
