"""From a local file to rows, strictly: CSV as in RFC 4180, UTF-8."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import sys
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

from tap_dynamic.errors import FileUnusable, TapError

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

    Rows = list[list[str]]

HEAD_SIZE = 1 << 18
"""Bytes of a file's head, from which its columns and types are read."""
ROWS_PER_CHUNK = 250
"""Rows that are processed at once: what fits into a processor's cache. With 1,000, a row takes a third longer."""
CHUNK_SIZE = 1 << 22
"""Bytes after which a chunk ends early."""
MAX_FIELD = 16 << 20
"""Characters of a field. A larger one is nearly always an unclosed quote."""
MAX_LINE = 24 << 20
"""Bytes of a line."""
GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
DAMAGED_GZIP = (OSError, EOFError, zlib.error)
NOT_CSV = "{}: the file is {}, not CSV. Make a new export."
DATA_PATTERN = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[^@\s]+@[^@\s]+\.[a-z]+|\d{4}-\d\d-\d\d[t ]\d\d:\d\d.*|0x[0-9a-f]{40}"
    r"|https?://.*|[{\[].*[}\]]",
    re.IGNORECASE | re.DOTALL,
)
"""What a cell looks like, but not the name of a column."""

csv.field_size_limit(MAX_FIELD)


@dataclass(frozen=True)
class Sample:
    """The head of a file, parsed: its header, and the rows of equal width that are whole."""

    header: list[str]
    rows: list[list[str]]
    delimiter: str


def reject_reason(start: bytes) -> str | None:
    """Say what a file is that is not CSV; None if it may be.

    Args:
        start: Its first bytes, unpacked.
    """
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "a zip archive"
    head = start[:1024]
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or head.count(0) * 5 > len(head) * 2:
        return "UTF-16"
    text = start.replace(b"\0", b"").replace(BOM, b"").lstrip()
    return "HTML, XML or JSON" if text.startswith((b"<", b"{", b"[")) else None


def header_problem(header: list[str]) -> str | None:
    """Say why a first row is not a header; None if it may be. The text holds no part of the row."""
    if any(DATA_PATTERN.fullmatch(cell.strip()) for cell in header):
        return "the first row is not a header, but data"
    if len(header) == 1 and len(header[0].split()) > 1:
        return "the file is plain text, not CSV"
    if any(c == "\ufffd" or ("\0" < c < " " and c not in "\t\r\n") for cell in header for c in cell):
        return "the header has bytes that are not text"
    return None


def find_delimiter(text: str) -> str:
    """Return the delimiter of a file: a comma, unless its header has none, but semicolons or tabs."""
    line = next((line for line in re.sub(r'"(?:[^"]|"")*"', "", text).splitlines() if line.strip()), "")
    other = max(";\t", key=line.count)
    return other if "," not in line and other in line else ","


def read_sample(start: bytes, *, is_whole: bool, label: str) -> Sample:
    """Parse the head of a file.

    Args:
        start: Its first bytes, unpacked.
        is_whole: Whether they are all of it; otherwise the last row may be cut.
        label: The file, for messages.

    Raises:
        FileUnusable: If the file is not CSV, or has no header.
    """
    if problem := reject_reason(start):
        raise FileUnusable(NOT_CSV.format(label, problem))
    text = start.replace(b"\0", b"").decode("utf-8-sig", "replace")
    if not text.strip():
        msg = f"{label}: the file is empty. Make a new export."
        raise FileUnusable(msg)
    delimiter = find_delimiter(text)
    rows: list[list[str]] = []
    try:
        rows.extend(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:  # the rows before are whole
        is_whole = True
    rows = [row for row in (rows if is_whole else rows[:-1]) if row]
    if not rows:
        msg = f"{label}: the header can't be read. Make a new export."
        raise FileUnusable(msg)
    if problem := header_problem(rows[0]):
        msg = f"{label}: {problem}. Make a new export."
        raise FileUnusable(msg)
    return Sample(rows[0], [row for row in rows[1:] if len(row) == len(rows[0])], delimiter)


def unpack_head(data: bytes, *, is_whole: bool) -> tuple[bytes, bool]:
    """Unpack the first bytes of a gzip file of any number of members; other data stays as it is.

    Returns:
        At most `HEAD_SIZE` bytes, and whether they are all of the file.
    """
    if not data.startswith(GZIP_MAGIC):
        return data, is_whole
    unpacked, rest = b"", data
    while rest and len(unpacked) <= HEAD_SIZE:
        member = zlib.decompressobj(31)
        try:
            unpacked += member.decompress(rest, HEAD_SIZE + 1 - len(unpacked))
        except zlib.error:
            return unpacked, False
        if not member.eof:
            return unpacked[:HEAD_SIZE], False
        rest = member.unused_data.lstrip(b"\0")
    return unpacked[:HEAD_SIZE], is_whole and len(unpacked) <= HEAD_SIZE


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
        if not reject_reason(start):
            delimiter = find_delimiter(start.decode("utf-8-sig", "replace"))
            _, error = _Reader(_Source(file), label, delimiter).read(1, 0)
            if error:  # it says more than a sample does
                raise error
        return cls(file, label, read_sample(start, is_whole=is_whole, label=label))

    def chunks(self, count: int = ROWS_PER_CHUNK) -> Iterator[tuple[int, Rows]]:
        """Read all rows from the first.

        Args:
            count: Number of rows at once, at most.

        Yields:
            The number of a row (the first data row is 1), and the cells of it and of those that follow.

        Raises:
            TapError: At the first malformed row, after all that come before.
        """
        source = _Source(self.file)
        reader = _Reader(source, self.label, self.sample.delimiter)
        reader.read(1, 0)
        width, number, error = len(self.header), 1, None
        while not error:
            rows, error = reader.read(count, number)
            if set(map(len, rows)) - {width}:
                index = next(i for i, row in enumerate(rows) if len(row) != width)
                fields = f"{len(rows[index])} fields, where the header has {width}"
                rows, error = rows[:index], row_error(self.label, number + index, fields)
            if not rows:
                break
            yield number, rows
            number += len(rows)
        self.dropped_nuls = source.dropped_nuls
        if error:
            raise error


def row_error(label: str, number: int, problem: str) -> TapError:
    """Make the error of a row: 1 is the first data row, 0 the header. The problem holds no cell."""
    return TapError(f"{label}, {f'row {number}' if number else 'the header'}: {problem}.")


class _LineTooLongError(Exception):
    """A line is longer than `MAX_LINE`."""


class _Source(io.BufferedIOBase):
    """A file's bytes from its start, unpacked, without NUL characters; notes invalid UTF-8."""

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        self.is_gzip = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        self.file: Any = gzip.GzipFile(fileobj=file, mode="rb") if self.is_gzip else file
        self.position = self.line_start = self.dropped_nuls = 0
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
            self._verify(data, is_last=False)
            line_break = max(data.rfind(b"\n"), data.rfind(b"\r"))
            if line_break >= 0:
                self.line_start = self.position + line_break
            self.position += len(data)
            if self.position - self.line_start > MAX_LINE:
                raise _LineTooLongError
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
    """One pass over the rows of a file, header included."""

    def __init__(self, source: _Source, label: str, delimiter: str) -> None:
        self.source, self.label = source, label
        text = io.TextIOWrapper(cast("Any", source), "utf-8-sig", errors="surrogateescape", newline="")
        self.rows = csv.reader(text, delimiter=delimiter, strict=True)

    def read(self, count: int, number: int) -> tuple[Rows, TapError | None]:
        """Read up to `count` non-blank rows, and the error that ended reading, if any.

        Args:
            count: Number of rows.
            number: Number of the first one.
        """
        rows: Rows = []
        problem = None
        source, end = self.source, self.source.position + CHUNK_SIZE
        try:
            for row in self.rows:
                if row:
                    rows.append(row)
                    if len(rows) >= count or source.position > end:
                        break
        except csv.Error as error:
            problem = {
                "unexpected end of data": "an unclosed quote",
                f"field larger than field limit ({MAX_FIELD})": "a field over 16 MiB, most likely an unclosed quote",
            }.get(str(error), "malformed quotes")
        except _LineTooLongError:
            problem = f"a line over {MAX_LINE >> 20} MiB"
        except DAMAGED_GZIP:
            problem = "damaged gzip data"
        if not source.is_utf8:
            for index, row in enumerate(rows):
                if not _is_text(row):
                    return rows[:index], row_error(self.label, number + index, "bytes that are not UTF-8")
        return rows, row_error(self.label, number + len(rows), problem) if problem else None


def _is_text(row: list[str]) -> bool:
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return False
    return True
