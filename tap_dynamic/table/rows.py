"""From the cells of some rows to values, by the columns of a layout."""

from __future__ import annotations

import re
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context
from typing import TYPE_CHECKING, Any

from singer_sdk.plugin_base import JSONSchemaValidator

from tap_dynamic.datetimes import parse_datetime
from tap_dynamic.errors import TapError
from tap_dynamic.file.reader import row_error
from tap_dynamic.table.columns import KEY_ADVICE, quoted
from tap_dynamic.table.convert import CONVERTERS, ESCAPED_NUL, UNREADABLE, decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_dynamic.table.layout import Column

EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


def convert_rows(
    label: str, columns: Sequence[Column], numbers: Sequence[int], rows: Sequence[Sequence[str]]
) -> list[Sequence[Any]]:
    """Convert some rows, a column at a time.

    Args:
        label: The file, for messages.
        columns: What is wanted of them.
        numbers: The numbers of the rows.
        rows: Their cells.

    Returns:
        A sequence of values for each column.

    Raises:
        TapError: At a cell that does not read as its type, or an empty key.
    """
    cells = list(zip(*rows))
    return [
        [None] * len(rows) if column.index is None else convert_column(label, column, numbers, cells[column.index])
        for column in columns
    ]


def convert_column(label: str, column: Column, numbers: Sequence[int], cells: Sequence[str]) -> Sequence[Any]:
    """Convert the cells of some rows; see `convert_rows`."""
    try:
        values = cells if column.is_key and column.kind == "string" else CONVERTERS[column.kind](cells)
        if column.nested:
            verify_nested(column.nested, values)
    except UNREADABLE:
        index = next(i for i, cell in enumerate(cells) if not _is_readable(column, cell))
        problem = (
            f"the cell of column {quoted(column.name)} does not read as {column.kind}."
            ' To load the column as text, set its type in the catalog to ["string", "null"]'
            " (Meltano: the extractor's `schema` extra)"
        )
        raise row_error(label, numbers[index], problem) from None
    if column.is_required and "" in cells:
        problem = f"key column {quoted(column.name)} is empty. {KEY_ADVICE}"
        raise row_error(label, numbers[cells.index("")], problem)
    return values


def convert_readable(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[Sequence[Any]]:
    """Convert the rows of an older file: a cell that does not read as the type of today is None."""
    values: list[Sequence[Any]] = []
    for column in columns:
        cells = [""] * len(rows) if column.index is None else [row[column.index] for row in rows]
        readable = [cell if _is_readable(column, cell) else "" for cell in cells]
        is_text_key = column.is_key and column.kind == "string"
        values.append(readable if is_text_key else CONVERTERS[column.kind](readable))
    return values


def read_keys(label: str, keys: Sequence[Column], first: int, rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Read the key of each row, as texts that are equal where the keys are.

    Args:
        label: The file, for messages.
        keys: The key columns, all in the file.
        first: The number of the first row.
        rows: The cells.

    Returns:
        A sequence of texts for each key column.
    """
    if any(column.index is None for column in keys):
        msg = f"{label}: the file lacks a key column."
        raise TapError(msg)
    numbers = range(first, first + len(rows))
    columns = [[row[column.index or 0] for row in rows] for column in keys]
    return key_texts(keys, [convert_column(label, key, numbers, cells) for key, cells in zip(keys, columns)])


def _is_readable(column: Column, cell: str) -> bool:
    try:
        values = CONVERTERS[column.kind]([cell])
        if column.nested:
            verify_nested(column.nested, values)
    except UNREADABLE:
        return False
    return True


def verify_nested(schema: dict[str, Any], values: Sequence[Any]) -> None:
    """Verify objects and arrays against the types that the catalog gives to their parts.

    Raises:
        ValueError: If one has another type.
    """
    validator = JSONSchemaValidator(schema)
    if not all(value is None or validator.is_valid(decoded(value)) for value in values):
        raise ValueError


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


def count_escaped_nuls(cells: Sequence[str]) -> int:
    """Count the NUL characters that JSON escapes, and that conversion drops."""
    text = "\n".join(cells)
    return len(ESCAPED_NUL.findall(text)) if "\\u0000" in text else 0
