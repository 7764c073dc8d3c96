"""What keeps memory constant: a row that would fill it is refused."""

from __future__ import annotations

import contextlib
import csv
import re
import sys
from itertools import chain, islice

CHUNK_SIZE = 1 << 20
"""Characters after which a chunk ends at its next row."""
MAX_ROW = 32 << 20
"""Bytes of memory of a row's text: Python takes up to four for each character, as many as its widest one needs."""
TEXT_HEADER = sys.getsizeof("\u00e9\u00e9") - 3
"""Bytes of memory of a text that is not ASCII, besides its characters and one more that ends it."""
MAX_COLUMNS = 65_536
SHORT_ESCAPES = '"\\\b\t\n\f\r'
"""Characters for which JSON writes two."""
LONG_ESCAPES = "".join(c for c in map(chr, range(32)) if c not in SHORT_ESCAPES)
"""Characters for which it writes `LONGEST_ESCAPE`."""
LONGEST_ESCAPE = 6
ROW_TOO_LONG = f"a row over {MAX_ROW >> 20} MiB, most likely an unclosed quote"
TOO_MANY_FIELDS = f"more than {MAX_COLUMNS:,} fields"
JSON_TOO_LONG = f"a row over {MAX_ROW >> 20} MiB as JSON, in which some characters are longer"


class MalformedError(Exception):
    """Why a row can't be read."""


class MemoryGuard:
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
        """Forget the lines before."""
        self.size = self.row_start = self.delimiters = self.separators = 0
        self.lines: list[str] = []

    def verified(self, line: str) -> str:
        """Pass a line on to the parser, unless its row would fill the memory."""
        if not line.isascii():
            utf8_size(line)  # fails at bytes that are not UTF-8
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
            raise MalformedError(ROW_TOO_LONG)
        self.delimiters += line.count(self.delimiter)
        # Within a row, the parser asks for another line only while a quote is open.
        if self.delimiters >= MAX_COLUMNS and ('"' in line or not before):
            self.separators += count_separators(line, self.delimiter, is_quoted=before > 0)
        if self.separators >= MAX_COLUMNS:
            raise MalformedError(TOO_MANY_FIELDS)


def _width(text: str) -> int:
    """Return the bytes of memory for each character of a text."""
    return 1 if text.isascii() else (sys.getsizeof(text) - TEXT_HEADER) // (len(text) + 1)


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


def utf8_size(text: str) -> int:
    """Return the bytes of a text in UTF-8, without a copy of a large one; half of a surrogate pair is an error."""
    return sum(len(text[at : at + CHUNK_SIZE].encode()) for at in range(0, len(text), CHUNK_SIZE))


def is_long_in_json(row: list[str]) -> bool:
    """Whether a row is longer in JSON, which escapes some characters, than a row may be."""
    if sum(map(len, row)) * LONGEST_ESCAPE <= MAX_ROW:
        return False
    size = sum(map(utf8_size, row))
    for cell in row:
        size += sum(map(cell.count, SHORT_ESCAPES)) + (LONGEST_ESCAPE - 1) * sum(map(cell.count, LONG_ESCAPES))
    return size > MAX_ROW
