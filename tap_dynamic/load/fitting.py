"""Fitting the layout to a whole file: on its first load, key and types are verified before a row is loaded."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tap_dynamic.errors import TapError
from tap_dynamic.load.index import RowIndex, key_digests
from tap_dynamic.load.rows import numbered_rows
from tap_dynamic.table.columns import FALLBACK_KEY, choose_key, column_names, duplicate_key_problem, key_refusal, quoted
from tap_dynamic.table.convert import read_keys, reads_as
from tap_dynamic.table.fit import afresh_note, check_is_export, file_names, fit_layout, insists_on_type
from tap_dynamic.table.layout import Column, Layout, Note

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tap_dynamic.file.reader import CsvFile
    from tap_dynamic.file.sample import Sample
    from tap_dynamic.load.plan import Load


class Proof(NamedTuple):
    """What the rows of a file prove."""

    key_problem: str | None = None
    """Why the key does not identify each row; None if it does."""
    unreadable: frozenset[str] = frozenset()
    """Names of the columns with a cell that does not read as its type."""


def verify_rows(
    label: str,
    chunks: Iterable[tuple[range, Sequence[list[str]]]],
    key: Sequence[Column],
    typed: Collection[Column] = (),
) -> Proof:
    """Read rows to verify their key and types.

    Args:
        label: The file, for messages.
        chunks: The rows, as `numbered_rows` yields them.
        key: The columns that must identify each row, all in the file; none where the key needs no proof.
        typed: Columns whose types are ours to guess. Where one of the key does not read as its type, only types are
            verified: as text, other keys are equal.

    Raises:
        TapError: If a row is malformed, or a key does not read as the type that the user has set.
    """
    pending = [column for column in typed if column.index is not None and column.kind != "string"]
    unreadable = set[str]()
    problem = None
    if not key and not pending:
        return Proof()
    with RowIndex(label) as index:
        for numbers, rows in chunks:
            for column in [c for c in pending if not _reads(c, rows)]:
                unreadable.add(column.name)
                pending.remove(column)
            key = () if any(column.name in unreadable for column in key) else key
            problem = problem or (_empty_key(key[0], numbers, rows) if key else None)
            if key and not problem:
                index.add(0, numbers, key_digests(read_keys(label, key, numbers.start, rows)), None)
            if not pending and (problem or not key):
                break
        if key and not problem and (rows_alike := index.find_duplicate(0)):
            problem = duplicate_key_problem([column.name for column in key], *rows_alike)
    return Proof(problem, frozenset(unreadable))


def _reads(column: Column, rows: Sequence[list[str]]) -> bool:
    cells = [row[column.index or 0] for row in rows]
    # An empty cell of a key is the empty text.
    return reads_as(column.kind, cells) and not (column.is_key and "" in cells)


def _empty_key(column: Column, numbers: Iterable[int], rows: Sequence[list[str]]) -> str | None:
    place = column.index or 0
    empty = next((number for number, row in zip(numbers, rows) if not row[place]), None)
    return f"{column.name} is empty in row {empty}" if empty else None


def fit_file(file: CsvFile, load: Load) -> Layout:
    """Fit the layout to a file; on the first load key and types are verified over the whole file.

    Raises:
        TapError: If the file is not one of the stream, can't be read, or lacks a column of the table's key.
    """
    catalog, table, documented = load.catalog, load.state.table, load.documented
    check_is_export(file.sample, catalog.properties, documented, file.label)
    fit = partial(fit_layout, file.sample, catalog, table, documented)
    names = file_names(file.sample, catalog, table, documented)
    key = choose_key(names, load.candidates, of_user=catalog.key, of_table=table.key)
    layout = fit(key)
    problem = _key_problem(layout, is_chosen=bool(table.key or catalog.key))
    typed = [column for column in layout.columns if not insists_on_type(column.name, catalog, documented)]

    def verify(key: Sequence[Column], typed: Collection[Column]) -> Proof:
        rows = numbered_rows(file, load.logger, "key and types", unit="rows verified")
        return verify_rows(file.label, rows, key, typed)

    if table.key:  # the rest is verified while rows are written
        problem = problem or verify_rows(file.label, _head(file.sample), layout.key_columns).key_problem
        if problem:
            msg = f"{file.label}: {key_refusal(key, problem)}"
            raise TapError(msg)
        if load.state.row_count is None:  # nothing but empty files was loaded: the types are still guesses
            layout = fit(key, unreadable=verify((), typed).unreadable)
        return replace(layout, notes=(*layout.notes, *afresh_note(names, table, load.candidates)))
    proof = verify(() if problem else layout.key_columns, typed)
    unreadable = proof.unreadable
    if not problem and not unreadable.isdisjoint(key):
        proof = verify(fit(key, unreadable=unreadable).key_columns, ())
    if problem := problem or proof.key_problem:
        layout = fit(FALLBACK_KEY, unreadable=unreadable)
        note = Note(f"the key is {', '.join(FALLBACK_KEY)}, because {problem}", is_warning=True)
        return replace(layout, notes=(*layout.notes, note))
    return fit(key, unreadable=unreadable) if unreadable else layout


def _key_problem(layout: Layout, *, is_chosen: bool) -> str | None:
    """Say why a key can't be one, as far as the header shows."""
    if missing := [column.name for column in layout.columns if column.is_key and column.index is None]:
        return f"the file has no column {quoted(missing[0])}"
    if layout.key == FALLBACK_KEY and not is_chosen:
        return "the file has none of the columns that could be one"
    return None if layout.is_distinct else f"{', '.join(layout.key)} is the same in all rows"


def infer_key(sample: Sample, candidates: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Choose the key that discovery reports, as far as the head of a file shows; candidates in order of preference."""
    names = column_names(sample.header)
    key = choose_key(names, candidates)
    columns = [Column(name, names.index(name), "string", is_key=True) for name in key if name in names]
    return FALLBACK_KEY if verify_rows("Discovery", _head(sample), columns).key_problem else key


def _head(sample: Sample) -> list[tuple[range, list[list[str]]]]:
    return [(range(1, len(sample.rows) + 1), sample.rows)]
