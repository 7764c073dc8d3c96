"""One export's load, from its open file to its last row."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import IO, TYPE_CHECKING, Any

from tap_dynamic.errors import FileUnusable, TapError, plural
from tap_dynamic.file.reader import ROWS_PER_CHUNK, CsvFile
from tap_dynamic.load.index import KeyHashes, RowIndex, key_digests
from tap_dynamic.progress import ProgressLogger
from tap_dynamic.table.columns import (
    FALLBACK_KEY,
    KEY_ADVICE,
    choose_key,
    duplicate_key_problem,
    empty_key_problem,
    sample_key_problem,
)
from tap_dynamic.table.convert import (
    convert_readable,
    convert_rows,
    count_escaped_nuls,
    decoded,
    key_texts,
    read_keys,
    reads_as,
)
from tap_dynamic.table.layout import (
    Note,
    afresh_note,
    file_names,
    fit_layout,
    insists_on_type,
    unknown_file_problem,
)
from tap_dynamic.table.types import JSON_KINDS

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Iterator, Sequence

    from tap_dynamic.api.exports import Export
    from tap_dynamic.load.changes import Changes
    from tap_dynamic.load.index import RowSet
    from tap_dynamic.table.layout import Catalog, Column, Layout, Properties, Table


MAX_CHUNK = 1 << 20
"""Characters of column names in the records of a chunk."""


class ExportLoad:
    """The load of one export: its file, its layout, and how far it is.

    Args:
        export: The export.
        file: Its file.
        layout: How its rows become records.
        is_key_verified: Whether the key is known to be unique; otherwise it is verified while rows are read.
        logger: Receives progress.
    """

    def __init__(
        self, export: Export, file: CsvFile, layout: Layout, logger: logging.Logger, *, is_key_verified: bool
    ) -> None:
        self.export, self.file, self.layout, self.logger = export, file, layout, logger
        self.label, self.is_key_verified = file.label, is_key_verified
        self.version: int | None = None
        self.changes: Changes | None = None
        self.rows = self.row_number = self.dropped_nuls = self.read_rows = 0
        self.numbers: Sequence[int] = ()
        self.started_at = time.monotonic()

    @classmethod
    @contextlib.contextmanager
    def open(  # noqa: PLR0913 (what it depends on, nothing hidden)
        cls,
        export: Export,
        file: IO[bytes],
        *,
        catalog: Catalog,
        table: Table,
        documented: Properties,
        candidates: Sequence[Sequence[str]],
        logger: logging.Logger,
    ) -> Iterator[ExportLoad]:
        """Fit the layout to a file; on the first load key and types are verified over the whole file.

        Raises:
            TapError: If the file is not CSV, or the key of the table can't be its key.
        """
        with file:
            csv = CsvFile.open(file, f"Stream {export.model}, export {export.id}")
            if problem := unknown_file_problem(csv.sample, catalog.properties, documented):
                msg = f"{csv.label}: {problem}. Make a new export."
                raise FileUnusable(msg)
            fit = partial(fit_layout, csv.sample, catalog, table, documented)
            names = file_names(csv.sample, catalog, table)
            key = choose_key(names, candidates, of_user=catalog.key, of_table=table.key)
            layout = fit(key)
            problem = sample_problem(csv, layout)
            unreadable: set[str] = set()
            if table.key is None:
                columns = {c for c in layout.columns if not insists_on_type(c.name, catalog, documented)}
                found, unreadable = verify_file(csv, layout, columns, logger, has_key=not problem)
                problem = problem or found
            if problem and table.key is not None:
                msg = f"{csv.label}: {', '.join(key)} can't be the key: {problem}. {KEY_ADVICE}."
                raise TapError(msg)
            if not problem and key == FALLBACK_KEY and table.key is None and catalog.key is None:
                problem = "the file has none of the columns that could be one"
            if problem or unreadable:
                layout = fit(FALLBACK_KEY if problem else key, unreadable=unreadable)
            notes = [*layout.notes, *afresh_note(names, table, candidates)]
            if problem:
                notes.append(Note(f"the key is {', '.join(FALLBACK_KEY)}, because {problem}", is_warning=True))
            is_verified = table.key is None or not layout.key_columns
            yield cls(export, csv, replace(layout, notes=tuple(notes)), logger, is_key_verified=is_verified)

    def chunks(self, count: int = ROWS_PER_CHUNK) -> Iterator[tuple[int, list[Sequence[Any]]]]:
        """Read and convert the rows that are emitted.

        Args:
            count: Number of rows at once, at most.

        Yields:
            A number of rows, and as many values for each of `layout.names`.

        Raises:
            TapError: At the first row that can't be read or converted, or at the end if the key is not unique.
        """
        changes = self.changes
        yield from self._chunks(self.file, self.layout.columns, count, changes.emitted if changes else None)
        for file, columns, rows in changes.gone if changes else ():
            yield from self._chunks(file, columns, count, rows, is_gone=True)

    def _chunks(
        self, file: CsvFile, columns: Sequence[Column], count: int, wanted: RowSet | None, *, is_gone: bool = False
    ) -> Iterator[tuple[int, list[Sequence[Any]]]]:
        """Read the wanted rows of a file, or all of them."""
        key = [i for i, column in enumerate(columns) if column.is_key]
        key_columns = [columns[i] for i in key]
        # Names are repeated in each record.
        count = max(1, min(count, MAX_CHUNK // sum(map(len, self.layout.names))))
        nested = [c.index for c in columns if c.kind in JSON_KINDS and c.index is not None]
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(ProgressLogger(file.label, "rows", self.logger))
            hashes = None if self.is_key_verified else stack.enter_context(KeyHashes(file.label))
            end = None if wanted is None else wanted.end
            for first, cells in file.chunks(count):
                if end is not None and first >= end:
                    break
                numbers: Sequence[int] = range(first, first + len(cells))
                rows: Sequence[list[str]] = cells
                if wanted is not None:
                    numbers = wanted.among(range(first, first + len(cells)))
                    rows = [cells[number - first] for number in numbers]
                if not rows:
                    continue
                values = (
                    convert_readable(columns, rows) if is_gone else convert_rows(file.label, columns, numbers, rows)
                )
                if hashes:
                    hashes.add(key_texts(key_columns, [values[i] for i in key]))
                for column in nested:
                    self.dropped_nuls += count_escaped_nuls([row[column] for row in rows])
                self.numbers, self.row_number = numbers, numbers[0]
                sdc: dict[str, Any] = {
                    "_sdc_export_id": repeat(self.export.id, len(rows)),
                    "_sdc_exported_at": repeat(self.export.exported_at, len(rows)),
                    "_sdc_row_number": repeat(None, len(rows)) if is_gone else numbers,
                    "_sdc_deleted_at": repeat(self.export.exported_at if is_gone else None, len(rows)),
                }
                yield len(rows), [*values, *(sdc[name] for name in self.layout.sdc_columns)]
                self.rows += len(rows)
                self.read_rows += 0 if is_gone else len(rows)
                progress.update(self.rows, file.share_read)
            self.dropped_nuls += 0 if is_gone else file.dropped_nuls
            if hashes and not hashes.are_unique() and (problem := find_duplicate(file, self.layout)):
                msg = f"{self.label}: {problem}: it can't be the key. {KEY_ADVICE}."
                raise TapError(msg)

    def records(self) -> Iterator[dict[str, Any]]:
        """Read and convert the rows one by one, as dicts."""
        names = self.layout.names
        for _, values in self.chunks():
            for number, row in zip(self.numbers, zip(*values)):
                self.row_number = number
                yield dict(zip(names, map(decoded, row)))

    def notes(self) -> Iterator[Note]:
        """Yield what is worth a line in the log; at the end of the load, also what was dropped."""
        yield from self.layout.notes
        if self.file.sample.delimiter != ",":
            name = {";": "semicolon", "\t": "tab"}[self.file.sample.delimiter]
            yield Note(f"the delimiter is a {name}, because the header has no comma")
        if self.dropped_nuls:
            yield Note(f"{plural(self.dropped_nuls, 'NUL character')} dropped", is_warning=True)

    @property
    def is_full(self) -> bool:
        """Whether all rows of the file are emitted."""
        return self.changes is None or self.changes.emitted is None

    @property
    def file_rows(self) -> int:
        """Rows of the file, emitted or not; known at the end."""
        return self.read_rows + (0 if self.is_full or self.changes is None else self.changes.unchanged)

    @property
    def seconds(self) -> float:
        """Seconds since the file was opened."""
        return time.monotonic() - self.started_at


def sample_problem(file: CsvFile, layout: Layout) -> str | None:
    """Say why the head of a file contradicts the key of a layout."""
    columns = [column for column in layout.columns if column.index is not None]
    rows = [[row[column.index or 0] for column in columns] for row in file.sample.rows]
    return sample_key_problem(layout.key, [column.name for column in columns], rows)


def verify_file(
    file: CsvFile, layout: Layout, typed: Collection[Column], logger: logging.Logger, *, has_key: bool
) -> tuple[str | None, set[str]]:
    """Read a whole file to verify its key and types.

    Args:
        file: The file.
        layout: Its layout.
        typed: Columns whose documented types are verified.
        logger: Receives progress.
        has_key: Whether the key is verified.

    Returns:
        Why the key is not present and unique, or None; and the columns with cells that do not read as their types.
    """
    keys = layout.key_columns if has_key else ()
    pending = {column.name: column for column in typed if column.index is not None and column.kind != "string"}
    unreadable: set[str] = set()
    problem = None
    if not keys and not pending:
        return None, unreadable
    label = f"{file.label}, key and types"
    with KeyHashes(file.label) as hashes, ProgressLogger(label, "rows verified", logger) as progress:
        for first, rows in file.chunks():
            for name, column in list(pending.items()):
                cells = [row[column.index or 0] for row in rows]
                if not reads_as(column.kind, cells) or (column.is_key and "" in cells):
                    unreadable.add(name)
                    del pending[name]
            if keys and not problem:
                index = keys[0].index or 0
                empty = next((number for number, row in enumerate(rows, first) if not row[index]), None)
                if empty:
                    problem = empty_key_problem(keys[0].name, empty)
                else:
                    texts = [replace(c, kind="string") if c.name in unreadable else c for c in keys]
                    hashes.add(read_keys(file.label, texts, first, rows))
            progress.update(first + len(rows) - 1, file.share_read)
        if keys and not problem and not hashes.are_unique():
            problem = find_duplicate(file, layout)
    return problem, unreadable


def find_duplicate(file: CsvFile, layout: Layout) -> str | None:
    """Read a whole file to find the first two rows with equal keys; say which they are."""
    with RowIndex(file.label) as index:
        for first, rows in file.chunks():
            index.add(first, key_digests(read_keys(file.label, layout.key_columns, first, rows)))
        duplicate = index.first_duplicate()
    return duplicate_key_problem(layout.key, *duplicate) if duplicate else None
