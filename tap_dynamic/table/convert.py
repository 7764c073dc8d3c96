"""From cells to values: a column at a time, by its kind, and the rows of a chunk by the columns of a layout."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from singer_sdk.plugin_base import JSONSchemaValidator

from tap_dynamic.datetimes import parse_datetime, to_rfc3339
from tap_dynamic.file.reader import row_error
from tap_dynamic.table.columns import KEY_ADVICE, quoted
from tap_dynamic.table.types import JSON_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tap_dynamic.table.layout import Column

    Converter = Callable[[Sequence[str]], Sequence[Any]]

BOOLEANS: dict[str, bool | None] = {
    "": None,
    **dict.fromkeys(("true", "True", "TRUE", "t", "1"), True),
    **dict.fromkeys(("false", "False", "FALSE", "f", "0"), False),
}
INTEGER_PATTERN = re.compile(r"[+-]?[0-9]{1,19}")
NUMBER_PATTERN = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
DATE_PATTERN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
POSTGRES_UTC = re.compile(r"\A([0-9]{4}-[0-9]{2}-[0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?)\+00\Z")
SPECIAL_ESCAPE = re.compile(r"\\u(?:0000|[Dd][89A-Fa-f])")
ESCAPE = re.compile(
    r"\\(?:u[Dd][89ABab]..\\u[Dd][C-Fc-f]..|(?P<nul>u0000)|(?P<surrogate>u[Dd][89A-Fa-f][0-9A-Fa-f]{2})|.)"
)
"""An escape of JSON: a NUL character, one half of a surrogate pair, or any other."""
MAX_JSON = 1 << 20
"""Characters of a JSON cell: an object takes 24 times the memory of its text."""
UNREADABLE = (ValueError, LookupError, RecursionError, ArithmeticError, msgspec.MsgspecError)
"""What a converter raises for a cell that does not read as the type; msgspec's errors are ValueErrors since 0.21."""


def _strings(cells: Sequence[str]) -> Sequence[Any]:
    return [cell or None for cell in cells] if "" in cells else cells


def _each(convert: Callable[[str], Any]) -> Converter:
    return lambda cells: [convert(cell) if cell else None for cell in cells]


def _to_integer(cell: str) -> int:
    if not INTEGER_PATTERN.fullmatch(cell) or not -(2**63) <= int(cell) < 2**63:
        raise ValueError
    return int(cell)


def _to_number(cell: str) -> Decimal:
    if not NUMBER_PATTERN.fullmatch(cell):
        raise ValueError
    return Decimal(cell)


def to_date(cell: str) -> str:
    """Read an ISO 8601 date."""
    if not DATE_PATTERN.fullmatch(cell):
        msg = "not a date"
        raise ValueError(msg)
    return date.fromisoformat(cell).isoformat()


def _datetimes(cells: Sequence[str]) -> Sequence[Any]:
    """Read date-times, verified by one call for the column where all are in UTC as JSON or PostgreSQL writes them."""
    values = _strings(cells)
    if next(filter(None, cells), "").endswith("+00"):
        values = [POSTGRES_UTC.sub(r"\1T\2+00:00", cell) or None for cell in cells]
    try:
        msgspec.convert(values, list[datetime | None])
    except msgspec.ValidationError:
        return _each(to_rfc3339)(cells)
    text, count = "".join(filter(None, values)), len(cells) - cells.count("")
    # msgspec also accepts other separators and offsets, but one `T` and one offset at most.
    is_utc = text.count("T") == count == text.count("Z") + text.count("+00:00")
    return values if is_utc else _each(to_rfc3339)(cells)


def _json_of(kind: Any) -> Converter:
    """Make a converter to JSON objects or arrays; the word `null` is None.

    SQL targets refuse NUL characters, and no target can write half a surrogate pair: see `count_repairs`.
    """
    decode = msgspec.json.Decoder(kind | None, float_hook=Decimal).decode

    def convert(cell: str) -> Any:
        if len(cell) > MAX_JSON:
            raise ValueError
        return decode(ESCAPE.sub(_repaired, cell) if SPECIAL_ESCAPE.search(cell) else cell)

    return _each(convert)


def _repaired(escape: re.Match[str]) -> str:
    return "" if escape["nul"] else "\ufffd" if escape["surrogate"] else escape[0]


def count_repairs(cells: Sequence[str]) -> tuple[int, int]:
    """Count what conversion changes in JSON: NUL characters, which are dropped, and unpaired surrogates (to U+FFFD)."""
    escapes = [escape for cell in cells if SPECIAL_ESCAPE.search(cell) for escape in ESCAPE.finditer(cell)]
    return sum(escape["nul"] is not None for escape in escapes), sum(e["surrogate"] is not None for e in escapes)


_encode = msgspec.json.Encoder(decimal_format="number").encode


def json_text(value: Any) -> str:
    """Write a JSON value as text, with its numbers as they are."""
    return _encode(value).decode()


CONVERTERS: dict[str, Converter] = {
    "string": _strings,
    "boolean": lambda cells: list(map(BOOLEANS.__getitem__, cells)),
    "integer": _each(_to_integer),
    "number": _each(_to_number),
    "date": _each(to_date),
    "date-time": _datetimes,
    "object": _json_of(dict),
    "array": _json_of(list),
}
"""For each type: all cells of a column to values. An empty cell is None."""


def reads_as(kind: str, cells: Sequence[str]) -> bool:
    """Whether every cell reads as a type; empty ones read as any."""
    try:
        CONVERTERS[kind](cells)
    except UNREADABLE:
        return False
    return True


EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


def convert_rows(
    label: str, columns: Sequence[Column], numbers: Sequence[int], rows: Sequence[Sequence[str]]
) -> list[Sequence[Any]]:
    """Convert some rows, a column at a time: a sequence of values for each column.

    Raises:
        FileUnusable: At a cell that does not read as its type, or an empty key.
    """
    cells = list(zip(*rows))
    return [
        [None] * len(rows) if column.index is None else _convert_column(label, column, numbers, cells[column.index])
        for column in columns
    ]


def _convert_column(label: str, column: Column, numbers: Sequence[int], cells: Sequence[str]) -> Sequence[Any]:
    try:
        values = _values(column, cells)
    except UNREADABLE:
        index = next(i for i, cell in enumerate(cells) if not _is_readable(column, cell))
        is_large = column.kind in JSON_KINDS and len(cells[index]) > MAX_JSON
        misfit = "is over 1 MiB, too large for" if is_large else "does not read as"
        problem = (
            f"the cell of column {quoted(column.name)} {misfit} {column.kind}."
            ' To load the column as text, set its type in the catalog to ["string", "null"]'
            " (Meltano: the extractor's `schema` extra)"
        )
        raise row_error(label, numbers[index], problem) from None
    if column.is_required and ("" in cells or None in values):
        problem = f"key column {quoted(column.name)} is empty. {KEY_ADVICE}"
        index = next(i for i, cell in enumerate(cells) if not cell or values[i] is None)
        raise row_error(label, numbers[index], problem)
    return values


def convert_readable(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[Sequence[Any]]:
    """Convert the rows of an older file: a cell that does not read as the type of today is None."""
    values: list[Sequence[Any]] = []
    for column in columns:
        cells = [""] * len(rows) if column.index is None else [row[column.index] for row in rows]
        values.append(_values(column, [cell if _is_readable(column, cell) else "" for cell in cells]))
    return values


def read_keys(label: str, keys: Sequence[Column], first: int, rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Read the key columns, all in the file, as texts that are equal where the keys are."""
    numbers = range(first, first + len(rows))
    columns = [(key, [row[key.index or 0] for row in rows]) for key in keys]
    return key_texts(keys, [_convert_column(label, key, numbers, cells) for key, cells in columns])


def _values(column: Column, cells: Sequence[str]) -> Sequence[Any]:
    if column.is_key and column.kind == "string":
        return cells  # a key is never null
    values = CONVERTERS[column.kind](cells)
    if column.nested:
        validator = JSONSchemaValidator(column.nested)
        if not all(value is None or validator.is_valid(value) for value in values):
            raise ValueError
    return values


def _is_readable(column: Column, cell: str) -> bool:
    try:
        _values(column, [cell])
    except UNREADABLE:
        return False
    return True


def key_texts(columns: Sequence[Column], values: Sequence[Sequence[Any]]) -> list[Sequence[str]]:
    """Write key values so that equal ones are equal texts: `1` and `1.0`, `Z` and `+00:00`."""
    return [_equal_texts(column.kind, column_values) for column, column_values in zip(columns, values)]


def _equal_texts(kind: str, values: Sequence[Any]) -> Sequence[str]:
    if kind == "number":
        return [str(value.normalize(EXACT)) if value else "0" for value in values]
    if kind == "date-time":
        return [_instant(value) for value in values]
    return values if kind == "string" else list(map(str, values))


def _instant(text: str) -> str:
    fraction = re.search(r"\.(\d+)", text)
    digits = fraction[1].rstrip("0") if fraction else ""
    return f"{parse_datetime(text).replace(microsecond=0).isoformat()}.{digits}"
