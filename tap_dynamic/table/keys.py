"""Keys: why some columns can't be the key of a file. All pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_dynamic.table.names import SDC_COLUMNS, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

FALLBACK_KEY = ("_sdc_export_id", "_sdc_row_number")
KEY_ADVICE = (
    "Set the stream's table-key-properties to [" + ", ".join(FALLBACK_KEY) + "] or to columns that are unique"
    " (Meltano: the extractor's `metadata` extra), with a new table (--full-refresh)"
)


def key_problem(key: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """Say why some columns can't be the key of a file, as far as its sample shows; None if they can."""
    columns = [name for name in key if name not in SDC_COLUMNS]
    indices = {name: index for index, name in enumerate(names)}
    for name in columns:
        if name not in indices:
            return f"the file has no column {quoted(name)}"
    known: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows, 1):
        value = tuple(row[indices[name]] for name in columns)
        if "" in value:
            return f"{', '.join(key)} is empty in row {number}"
        if "_sdc_row_number" not in key and known.setdefault(value, number) != number:
            return duplicate_problem(key, known[value], number)
    return None


def duplicate_problem(key: Sequence[str], first: int, second: int) -> str:
    """Say that two rows have the same key."""
    return f"{', '.join(key)} is the same in rows {first} and {second}"
