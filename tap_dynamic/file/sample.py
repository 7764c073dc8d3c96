"""What a file is, from its head: CSV or not, its delimiter, its header and a sample of its rows."""

from __future__ import annotations

import csv
import io
import re
import zlib
from dataclasses import dataclass
from typing import cast

from tap_dynamic.errors import FileUnusable

HEAD_SIZE = 1 << 18
"""Bytes of a file's head, from which its columns and types are read."""
MAX_FIELD = 16 << 20
"""Bytes of a field. A larger one is nearly always an unclosed quote."""
GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
MARKUP_START = re.compile(r"[\s\ufeff\u200b]*(?:<|\{\s*[\"}]|\[\s*[\]\[{\"\d-]|\[\s*(?:true|false|null)\b)")
BEFORE_HEADER = re.compile(
    rb"(?:\xef\xbb\xbf|[\r\n]+)*(?:\"?sep=([,;\t|])\"?[ \t,;|]*(?:[\r\n]+|\Z)(?:\xef\xbb\xbf|[\r\n]+)*)?", re.IGNORECASE
)
"""Byte-order marks, blank lines, and the line of a spreadsheet that names the delimiter."""
OTHER_DELIMITER = re.compile(r"\"?sep=([^\r\n,;\t|])\"?[ \t,;|]*\1*(?:[\r\n]|\Z)", re.IGNORECASE)
"""Such a line with a delimiter that is not read."""

csv.field_size_limit(MAX_FIELD)


@dataclass(frozen=True)
class Sample:
    """The head of a file, parsed."""

    header: list[str]
    rows: list[list[str]]
    """The rows after the header that are whole, up to the first of another width."""
    delimiter: str = ","
    is_whole: bool = False
    """Whether these are all rows of the file."""


def reject_reason(start: bytes) -> str | None:
    """Say what a file is that is not CSV, by its first bytes; None if it may be."""
    if start.startswith(ZIP_MAGIC):
        return "a zip archive"
    if start.startswith(GZIP_MAGIC):  # the first of them is unpacked
        return "packed twice with gzip"
    if start.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")) or _has_wide_characters(start[:1024]):
        return "UTF-16 or UTF-32"
    text = start.replace(b"\0", b"").decode("utf-8", "ignore")
    return "HTML, XML or JSON" if MARKUP_START.match(text) else None


def _has_wide_characters(head: bytes) -> bool:
    """Whether NUL characters recur as in UTF-16 or UTF-32: nearly always in some places, nearly never in others."""
    shares = [head[i::4].count(0) / max(1, len(head[i::4])) for i in range(4)]
    return len(head) >= 16 and max(shares) > 0.8 and min(shares) < 0.2  # noqa: PLR2004 (a rough share)


def header_problem(header: list[str]) -> str | None:
    """Say why a first row is not a header; None if it may be. The text holds no part of the row."""
    text = "".join(header)
    if "\ufffd" in text or sum(c < " " and c not in "\t\r\n" for c in text) > len(text) // 10:
        return "the header has bytes that are not text"
    return None


def without_start(data: bytes) -> bytes:
    """Remove what may stand before the header."""
    return BEFORE_HEADER.sub(b"", data, count=1)


def from_header(start: bytes) -> tuple[str, str]:
    """Return the delimiter of a file, and the text of its first bytes from the header on."""
    data = start.replace(b"\0", b"")  # no loader takes NUL characters
    text = without_start(data).decode("utf-8", "replace")
    named = cast("re.Match[bytes]", BEFORE_HEADER.match(data))[1]
    return named.decode() if named else find_delimiter(text), text


def find_delimiter(text: str) -> str:
    """Return the delimiter of a file: a comma, unless its header has none, but semicolons or tabs."""
    lines = re.split(r"[\r\n]+", re.sub(r'"(?:[^"]|"")*"', "quoted", text))
    line = next((line for line in lines if line.strip()), "")
    other = max(";\t", key=line.count)
    return other if "," not in line and other in line else ","


def read_sample(start: bytes, *, is_whole: bool, label: str, header: list[str] | None = None) -> Sample:
    """Parse the head of a file.

    Args:
        start: Its first bytes, unpacked.
        is_whole: Whether they are all of it; otherwise the last row may be cut.
        label: The file, for messages.
        header: The header, where it is known: it may be longer than the head.

    Raises:
        FileUnusable: If the file is not CSV, or has no header.
    """
    if kind := reject_reason(start):
        raise _unusable(label, f"the file is {kind}, not CSV")
    delimiter, text = from_header(start)
    if not text.strip():
        raise _unusable(label, "the file is empty")
    if OTHER_DELIMITER.match(text):
        raise _unusable(label, "the first line (sep=…) names a delimiter other than a comma, semicolon, tab or |")
    rows: list[list[str]] = []
    is_malformed = False
    try:
        rows.extend(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:  # the rows before are whole
        is_malformed = True
    if not is_whole and not is_malformed:
        rows = rows[:-1]
    rows = [row for row in rows if row]
    header, rows = (rows[0], rows[1:]) if rows else (header, [])
    if not header:
        raise _unusable(label, "the header can't be read")
    if problem := header_problem(header):
        raise _unusable(label, problem)
    end = next((i for i, row in enumerate(rows) if len(row) != len(header)), len(rows))
    return Sample(header, rows[:end], delimiter, is_whole and not is_malformed and end == len(rows))


def _unusable(label: str, problem: str) -> FileUnusable:
    return FileUnusable(f"{label}: {problem}. Make a new export.")


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
