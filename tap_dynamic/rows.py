"""From a file's bytes to typed columns, strictly: CSV as of RFC 4180, UTF-8."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import sys
import zlib
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, ClassVar, cast

import msgspec

from tap_dynamic.client import TapError

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HEAD = 1 << 18
"""Bytes of a file's head, from which its columns and types are read."""
CHUNK = 250
"""Rows that are converted at once: what fits into a processor's cache. With 1000, a row takes a third longer."""

csv.field_size_limit(2**31 - 1)  # the most that a C long holds on every platform

# --- cells to values, a column at a time: ValueError or LookupError where a cell does not read as the type


def _strings(cells: Sequence[str]) -> Sequence[Any]:
    return [cell or None for cell in cells] if "" in cells else cells


def _each(read: Callable[[str], Any]) -> Callable[[Sequence[str]], Sequence[Any]]:
    return lambda cells: [read(cell) if cell else None for cell in cells]


_BOOLEANS: dict[str, bool | None] = {
    "": None,
    **dict.fromkeys(("true", "True", "TRUE", "t", "1"), True),
    **dict.fromkeys(("false", "False", "FALSE", "f", "0"), False),
}


def _integer(cell: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", cell) or not -(2**63) <= int(cell) < 2**63:
        raise ValueError
    return int(cell)


def _number(cell: str) -> Decimal:
    if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?", cell):
        raise ValueError
    return Decimal(cell)


def _date(cell: str) -> str:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", cell):
        raise ValueError
    return date.fromisoformat(cell).isoformat()


def _date_time(cell: str) -> str:
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", cell):
        raise ValueError
    moment = datetime.fromisoformat(cell.removesuffix(" UTC"))
    if cell[10:11] == "T" and cell[-1] == "Z":
        return cell
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).isoformat()


def _date_times(cells: Sequence[str]) -> Sequence[Any]:
    """Pass RFC 3339 in UTC through, proven by one call for the column; else cell by cell."""
    values = _strings(cells)
    try:
        msgspec.convert(values, _MOMENTS)
    except msgspec.ValidationError:
        return _each(_date_time)(cells)
    text, count = "".join(cells), len(cells) - cells.count("")
    if text.count("T") == count == text.count("Z"):
        return values
    return _each(_date_time)(cells)


_MOMENTS = list[datetime | None]


class _Json:
    """Reads JSON of one kind, without NUL characters that JSON escapes: no SQL target takes them."""

    nuls: ClassVar[int] = 0
    """How many were dropped by all readers."""

    def __init__(self, kind: type[Any]) -> None:
        self.decode: Callable[[str], Any] = msgspec.json.Decoder(kind, float_hook=Decimal).decode

    def __call__(self, cell: str) -> Any:
        if "\\u0000" in cell:
            cell, count = re.subn(r"(?<!\\)((?:\\\\)*)\\u0000", r"\1", cell)
            _Json.nuls += count
        return self.decode(cell)


READERS: dict[str, Callable[[Sequence[str]], Sequence[Any]]] = {
    "string": _strings,
    "boolean": lambda cells: list(map(_BOOLEANS.__getitem__, cells)),
    "integer": _each(_integer),
    "number": _each(_number),
    "date": _each(_date),
    "date-time": _date_times,
    "object": _each(_Json(dict)),
    "array": _each(_Json(list)),
}
"""For each type: all cells of a column to values. An empty cell is None."""

UNREADABLE = (ValueError, LookupError, RecursionError)
"""What a reader raises; msgspec's errors are ValueErrors."""


def type_of(schema: dict[str, Any]) -> str:
    """Tell which reader a column's JSON schema asks for.

    Args:
        schema: The property of the stream's schema.

    Returns:
        A key of `READERS`; `string` for all that is not one clear type.
    """
    types = schema.get("type", ())
    types = {types} if isinstance(types, str) else set(types)
    types.discard("null")
    if types == {"string"} and schema.get("format") in {"date", "date-time"}:
        return str(schema["format"])
    kind = types.pop() if len(types) == 1 else "string"
    return kind if kind in READERS else "string"


def reads_as(schema: dict[str, Any], cells: Sequence[str]) -> bool:
    """Tell whether every cell reads as the type of a schema.

    Args:
        schema: The property of the stream's schema.
        cells: The cells; empty ones read as any type.

    Returns:
        Whether all do.
    """
    try:
        READERS[type_of(schema)](cells)
    except UNREADABLE:
        return False
    return True


# --- names and head


def column_names(header: Sequence[str], reserved: Sequence[str]) -> list[str]:
    """Name the columns as the header does.

    Args:
        header: The cells of the first row.
        reserved: Names that a column can't have.

    Returns:
        A name for each: without byte-order mark and outer blanks. What is empty, or
        repeats another name (in any case: SQL tables tell no cases apart), gets a suffix.
    """
    taken = {name.casefold() for name in reserved}
    names = []
    for position, cell in enumerate(header, 1):
        base = cell.replace("\ufeff", "").strip()
        name, count = base or f"column_{position}", 1
        while name.casefold() in taken:
            count += 1
            name = f"{base or f'column_{position}'}_{count}"
        taken.add(name.casefold())
        names.append(name)
    return names


def is_page(data: bytes) -> bool:
    """Tell an error page from a CSV file.

    Args:
        data: The file's first bytes, unpacked.

    Returns:
        Whether it is HTML, XML or JSON.
    """
    return data.lstrip().startswith((b"<", b'{"'))


def read_head(data: bytes) -> list[list[str]]:
    """Read the whole rows of the first `HEAD` bytes of a file.

    Args:
        data: The bytes, gzip or not.

    Returns:
        The header and the rows as wide as it, up to the first that is malformed;
        nothing if the file is no CSV.
    """
    if data[:2] == b"\x1f\x8b":
        unzip = zlib.decompressobj(31)
        try:
            data = unzip.decompress(data, HEAD)
        except zlib.error:
            return []
    if is_page(data):
        return []
    whole = len(data) < HEAD
    text = data.replace(b"\0", b"").decode("utf-8-sig", "ignore")
    rows: list[list[str]] = []
    try:
        rows.extend(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        whole = True
    if not whole:
        rows = rows[:-1]
    rows = [row for row in rows if row]
    return rows[:1] + [row for row in rows[1:] if len(row) == len(rows[0])]


# --- the file


class _Bytes(io.BufferedIOBase):
    """A file's bytes, unpacked, without NUL characters; notes what is no UTF-8."""

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        self.source: Any = gzip.GzipFile(fileobj=file, mode="rb") if packed else file
        self.nuls = 0
        self.is_utf8 = True
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @override
    def readable(self) -> bool:
        return True

    @override
    def read1(self, size: int = -1, /) -> bytes:
        # A block, whatever is asked for: TextIOWrapper asks for 8 KiB, which costs a tenth of all time.
        while data := bytes(self.source.read(HEAD)):
            if count := data.count(0):
                self.nuls += count
                data = data.replace(b"\0", b"")
            self._check(data, final=False)
            if data:
                return data
        self._check(b"", final=True)
        return b""

    def _check(self, data: bytes, *, final: bool) -> None:
        if self.is_utf8:
            try:
                self._decoder.decode(data, final)
            except UnicodeDecodeError:
                self.is_utf8 = False


@dataclass
class Column:
    """A column of the stream.

    Args:
        name: Its name.
        index: Its place in the file, or None where the file lacks it.
        schema: Its JSON schema.
        required: Whether an empty cell is refused.
    """

    name: str
    index: int | None
    schema: dict[str, Any]
    required: bool = False


class CsvFile:
    """A CSV file that is here, to be read once from its start to its end.

    Args:
        file: The bytes, gzip or not.
        what: The file, for messages.

    Raises:
        TapError: If there is no header.
    """

    def __init__(self, file: IO[bytes], what: str) -> None:
        self.what = what
        try:
            start = _Bytes(file).read1()
        except (OSError, EOFError, zlib.error):
            start = b""
        self.head = read_head(start)
        self._bytes = _Bytes(file)
        text = io.TextIOWrapper(cast("Any", self._bytes), "utf-8-sig", errors="surrogateescape", newline="")
        self._reader = csv.reader(text, strict=True)
        if is_page(start):
            msg = f"{what}, the header: the file is a page (HTML, XML or JSON), no CSV. Ask for a new export."
            raise TapError(msg)
        rows, error = self._next_rows(1, 0)
        if error or not rows:
            raise error or TapError(f"{what}: the file is empty. Ask for a new export.")
        self.header = rows[0]
        self._nuls_before = _Json.nuls

    @property
    def nuls(self) -> int:
        """Number of NUL characters that were dropped so far."""
        return self._bytes.nuls + _Json.nuls - self._nuls_before

    def _next_rows(self, count: int, number: int) -> tuple[list[list[str]], TapError | None]:
        """Read rows that are no blank lines, and what stops after them."""
        rows: list[list[str]] = []
        problem = None
        try:
            rows.extend(islice(self._reader, count))
            while rows and not all(rows):
                rows = [row for row in rows if row]
                rows.extend(islice(self._reader, count - len(rows)))
        except csv.Error as error:
            problem = "an unclosed quote" if "end of data" in str(error) else f"malformed quotes ({error})"
        except (OSError, EOFError, zlib.error):
            problem = "damaged gzip data"
        if not all(rows):
            rows = [row for row in rows if row]
        if not self._bytes.is_utf8:
            for index, row in enumerate(rows):
                if not _is_text(row):
                    return rows[:index], self.error(number + index, "bytes that are no UTF-8")
        return rows, self.error(number + len(rows), problem) if problem else None

    def error(self, number: int, problem: str) -> TapError:
        """Make the error for a row.

        Args:
            number: The row's number: the first data row is 1, the header 0.
            problem: What is wrong, without any cell's content.

        Returns:
            The error.
        """
        return TapError(f"{self.what}, {f'row {number}' if number else 'the header'}: {problem}.")

    def chunks(self, columns: Sequence[Column], size: int = CHUNK) -> Iterator[tuple[range, list[Sequence[Any]]]]:
        """Read the rows.

        Args:
            columns: What to read of them.
            size: Number of rows at once.

        Yields:
            The numbers of some rows, and the values of each column in them.

        Raises:
            TapError: At the first row that can't be read, after all that come before.
        """
        plan = [(column, READERS[type_of(column.schema)]) for column in columns]
        width, self._nuls_before = len(self.header), _Json.nuls
        number, error = 1, None
        while not error:
            rows, error = self._next_rows(size, number)
            if set(map(len, rows)) - {width}:
                index = next(i for i, row in enumerate(rows) if len(row) != width)
                problem = f"{len(rows[index])} fields, where the header has {width}"
                rows, error = rows[:index], self.error(number + index, problem)
            if not rows:
                break
            cells = list(zip(*rows))
            values: list[Sequence[Any]] = []
            for column, read in plan:
                if column.index is None:
                    values.append([None] * len(rows))
                    continue
                try:
                    values.append(read(cells[column.index]))
                except UNREADABLE:
                    raise self._unreadable(number, column, cells[column.index]) from None
                if column.required and "" in cells[column.index]:
                    index = cells[column.index].index("")
                    problem = f"key column {column.name!r} is empty. Set table-key-properties to other columns"
                    raise self.error(number + index, problem)
            yield range(number, number + len(rows)), values
            number += len(rows)
        if error:
            raise error

    def _unreadable(self, number: int, column: Column, cells: Sequence[str]) -> TapError:
        index = next(i for i, cell in enumerate(cells) if not reads_as(column.schema, [cell]))
        return self.error(
            number + index,
            f"the cell of column {column.name!r} does not read as {type_of(column.schema)}. To load the column as"
            ' text, set its type in the catalog to ["string", "null"] (Meltano: the extractor\'s `schema` extra)',
        )


def _is_text(row: Sequence[str]) -> bool:
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return False
    return True
