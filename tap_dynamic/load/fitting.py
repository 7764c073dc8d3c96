"""Fitting the layout to a whole file: on its first load, key and types are verified before a row is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from tap_dynamic.errors import FileUnusable, TapError
from tap_dynamic.load.index import RowIndex, key_digests
from tap_dynamic.progress import ProgressLogger
from tap_dynamic.table.columns import (
    FALLBACK_KEY,
    choose_key,
    column_names,
    duplicate_key_problem,
    empty_key_problem,
    key_refusal,
    quoted,
)
from tap_dynamic.table.convert import read_keys, reads_as
from tap_dynamic.table.fit import afresh_note, file_names, fit_layout, insists_on_type, unknown_file_problem
from tap_dynamic.table.layout import Column, Note

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection, Iterable, Sequence

    from tap_dynamic.file.reader import CsvFile
    from tap_dynamic.file.sample import Sample
    from tap_dynamic.table.layout import KnownTable, Layout, Properties, StreamCatalog


@dataclass(frozen=True)
class Proof:
    """What the rows of a file prove.

    Args:
        key_problem: Why the key does not identify each row; None if it does.
        unreadable: Names of the columns with a cell that does not read as its type.
    """

    key_problem: str | None = None
    unreadable: frozenset[str] = frozenset()


def verify_rows(  # noqa: PLR0913 (a rule of these facts)
    label: str,
    chunks: Iterable[tuple[int, Sequence[list[str]]]],
    key: Sequence[Column],
    typed: Collection[Column],
    *,
    is_distinct: bool = True,
    report: Callable[[int], None] | None = None,
) -> Proof:
    """Read rows to verify their key and types.

    Args:
        label: The file, for messages.
        chunks: The rows, as `CsvFile.chunks` yields them.
        key: The key columns, all in the file; none where the key needs no proof.
        typed: Columns whose types are ours to guess.
        is_distinct: Whether the key must identify each row; otherwise just its first column is filled.
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
            if key and is_distinct and not problem:
                as_texts = [replace(c, kind="string") if c.name in unreadable else c for c in key]
                digests = key_digests(read_keys(label, as_texts, first, rows))
                index.add(0, range(first, first + len(rows)), digests, None)
            if not pending and (problem or not key):
                break
            if report:
                report(first + len(rows) - 1)
        if key and is_distinct and not problem and (rows_alike := index.find_duplicate(0)):
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


def fit_file(  # noqa: PLR0913 (what it depends on, nothing hidden)
    file: CsvFile,
    catalog: StreamCatalog,
    table: KnownTable,
    *,
    documented: Properties,
    candidates: Sequence[Sequence[str]],
    logger: logging.Logger,
) -> Layout:
    """Fit the layout to a file; on the first load key and types are verified over the whole file.

    Raises:
        TapError: If the file is not one of the stream, can't be read, or lacks a column of the table's key.
    """
    if problem := unknown_file_problem(file.sample, catalog.properties, documented):
        msg = f"{file.label}: {problem}. Make a new export."
        raise FileUnusable(msg)
    fit = partial(fit_layout, file.sample, catalog, table, documented)
    names = file_names(file.sample, catalog, table, documented)
    key = choose_key(names, candidates, of_user=catalog.key, of_table=table.key)
    layout, problem = fit(key), None
    missing = next((c.name for c in layout.columns if c.is_key and c.index is None), None)
    if missing:
        problem = f"the file has no column {quoted(missing)}"
    elif key == FALLBACK_KEY and not table.key and not catalog.key:
        problem = "the file has none of the columns that could be one"
    elif not layout.is_distinct:
        problem = f"{', '.join(key)} is the same in all rows"
    if table.key:
        if not problem:  # the rest is verified while rows are written
            head = [(1, file.sample.rows)]
            is_distinct = bool(layout.key_columns)
            problem = verify_rows(file.label, head, layout.key_in_file, (), is_distinct=is_distinct).key_problem
        if problem:
            msg = f"{file.label}: {key_refusal(key, problem)}"
            raise TapError(msg)
        return replace(layout, notes=(*layout.notes, *afresh_note(names, table, candidates)))
    proof = _verify_file(file, layout, catalog, documented, logger, has_key=not problem)
    if not problem and not proof.unreadable.isdisjoint(key):  # as text, other keys are equal
        layout = fit(key, unreadable=proof.unreadable)
        as_text = _verify_file(file, layout, catalog, documented, logger, has_key=True)
        proof = Proof(as_text.key_problem, proof.unreadable)
    problem = problem or proof.key_problem
    if problem or proof.unreadable:
        layout = fit(FALLBACK_KEY if problem else key, unreadable=proof.unreadable)
    if problem:
        note = Note(f"the key is {', '.join(FALLBACK_KEY)}, because {problem}", is_warning=True)
        layout = replace(layout, notes=(*layout.notes, note))
    return layout


def _verify_file(  # noqa: PLR0913 (what it depends on, nothing hidden)
    file: CsvFile,
    layout: Layout,
    catalog: StreamCatalog,
    documented: Properties,
    logger: logging.Logger,
    *,
    has_key: bool,
) -> Proof:
    key = layout.key_in_file if has_key else ()
    typed = [column for column in layout.columns if not insists_on_type(column.name, catalog, documented)]
    with ProgressLogger(f"{file.label}, key and types", "rows verified", logger) as progress:
        return verify_rows(
            file.label,
            file.chunks(),
            key,
            typed,
            is_distinct=bool(layout.key_columns),
            report=lambda rows: progress.update(rows, file.share_read),
        )


def infer_key(sample: Sample, candidates: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Choose the key that discovery reports, as far as the head of a file shows.

    Args:
        sample: The head of the file.
        candidates: Keys in order of preference.
    """
    names = column_names(sample.header)
    key = choose_key(names, candidates)
    columns = [Column(name, names.index(name), "string", is_key=True) for name in key if name in names]
    return FALLBACK_KEY if verify_rows("Discovery", [(1, sample.rows)], columns, ()).key_problem else key
