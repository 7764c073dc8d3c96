"""What a whole file proves before the first row of it is loaded: its key, and its types."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tap_dynamic.load.index import RowIndex, key_digests
from tap_dynamic.table.columns import duplicate_key_problem, empty_key_problem
from tap_dynamic.table.convert import read_keys, reads_as

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from tap_dynamic.table.layout import Column


@dataclass(frozen=True)
class Proof:
    """What the rows of a file prove.

    Args:
        key_problem: Why the key does not identify each row; None if it does.
        unreadable: Names of the columns with a cell that does not read as its type.
    """

    key_problem: str | None = None
    unreadable: frozenset[str] = frozenset()


def verify_rows(
    label: str,
    chunks: Iterable[tuple[int, Sequence[list[str]]]],
    key: Sequence[Column],
    typed: Collection[Column],
    report: Callable[[int], None] | None = None,
) -> Proof:
    """Read rows to verify their key and types.

    Args:
        label: The file, for messages.
        chunks: The rows, as `CsvFile.chunks` yields them.
        key: The key columns, all in the file; none where the key needs no proof.
        typed: Columns whose types are ours to guess.
        report: Is called with the number of rows so far.

    Raises:
        TapError: If a row is malformed, or a key does not read as the type that the user has set.
    """
    pending = [column for column in typed if column.index is not None and column.kind != "string"]
    unreadable = set[str]()
    problem = None
    if not key and not pending:
        return Proof()
    with RowIndex(label) as index:
        for first, rows in chunks:
            for column in [c for c in pending if not _reads(c, rows)]:
                unreadable.add(column.name)
                pending.remove(column)
            if key and not problem:
                problem = _empty_key(key[0], first, rows)
            if key and not problem:
                as_texts = [replace(c, kind="string") if c.name in unreadable else c for c in key]
                digests = key_digests(read_keys(label, as_texts, first, rows))
                index.add(0, range(first, first + len(rows)), digests, None)
            elif not pending:
                break
            if report:
                report(first + len(rows) - 1)
        if key and not problem and (rows_alike := index.find_duplicate(0)):
            problem = duplicate_key_problem([column.name for column in key], *rows_alike)
    return Proof(problem, frozenset(unreadable))


def _reads(column: Column, rows: Sequence[list[str]]) -> bool:
    cells = [row[column.index or 0] for row in rows]
    # An empty cell of a key is the empty text.
    return reads_as(column.kind, cells) and not (column.is_key and "" in cells)


def _empty_key(column: Column, first: int, rows: Sequence[list[str]]) -> str | None:
    place = column.index or 0
    empty = next((number for number, row in enumerate(rows, first) if not row[place]), None)
    return empty_key_problem(column.name, empty) if empty else None
