"""From the cells of some rows to values, by the columns of a layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_dynamic.convert import CONVERTERS, ESCAPED_NUL, UNREADABLE, matches_type
from tap_dynamic.csvfile import row_error
from tap_dynamic.layout import FALLBACK_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_dynamic.layout import Column

KEY_ADVICE = (
    "Set the stream's table-key-properties to [" + ", ".join(FALLBACK_KEY) + "] or to columns that are unique"
    " (Meltano: the extractor's `metadata` extra), with a new table (--full-refresh)"
)


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
    cells, values = list(zip(*rows)), list[Any]()
    for column in columns:
        if column.index is None:
            values.append([None] * len(rows))
            continue
        column_cells = cells[column.index]
        try:
            values.append(CONVERTERS[column.kind](column_cells))
        except UNREADABLE:
            index = next(i for i, cell in enumerate(column_cells) if not matches_type(column.kind, [cell]))
            problem = (
                f"the cell of column {column.name!r} does not read as {column.kind}. To load the column as text, set"
                ' its type in the catalog to ["string", "null"] (Meltano: the extractor\'s `schema` extra)'
            )
            raise row_error(label, numbers[index], problem) from None
        if column.is_key and "" in column_cells:
            problem = f"key column {column.name!r} is empty. {KEY_ADVICE}"
            raise row_error(label, numbers[column_cells.index("")], problem)
    return values


def count_escaped_nuls(cells: Sequence[str]) -> int:
    """Count the NUL characters that JSON escapes, and that conversion drops."""
    text = "\n".join(cells)
    return len(ESCAPED_NUL.findall(text)) if "\\u0000" in text else 0
