"""One export's load, from its open file to its last row."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from itertools import repeat
from typing import IO, TYPE_CHECKING, Any

from tap_dynamic.convert import CONVERTERS, ESCAPED_NUL, UNREADABLE, matches_type
from tap_dynamic.csvfile import ROWS_PER_CHUNK, CsvFile, row_error
from tap_dynamic.errors import TapError, plural
from tap_dynamic.index import KeyIndex, digests
from tap_dynamic.layout import (
    FALLBACK_KEY,
    Catalog,
    Column,
    Layout,
    Note,
    Table,
    choose_key,
    duplicate_problem,
    fit_layout,
    key_problem,
)
from tap_dynamic.progress import ProgressLogger

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Sequence

    from tap_dynamic.exports import Export
    from tap_dynamic.layout import Properties

KEY_ADVICE = (
    "Set the stream's table-key-properties to [" + ", ".join(FALLBACK_KEY) + "] or to columns that are unique"
    " (Meltano: the extractor's `metadata` extra), with a new table (--full-refresh)"
)


class ExportLoad:
    """The load of one export: its file, its layout, and how far it is.

    Args:
        export: The export.
        file: Its file.
        layout: How its rows become records.
        index: Collects the keys, where they are still to be verified.
        logger: Receives progress.
    """

    def __init__(
        self, export: Export, file: CsvFile, layout: Layout, index: KeyIndex | None, logger: logging.Logger
    ) -> None:
        self.export, self.file, self.layout, self.index, self.logger = export, file, layout, index, logger
        self.label = file.label
        self.version: int | None = None
        self.rows = self.row_number = self.dropped_nuls = 0
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
        logger: logging.Logger,
    ) -> Iterator[ExportLoad]:
        """Fit the layout to a file; on the first load the key is verified over the whole file.

        Raises:
            TapError: If the file is not CSV, or the key of the table can't be its key.
        """
        with file, contextlib.ExitStack() as stack:
            csv = CsvFile.open(file, f"Stream {export.model}, export {export.id}")
            key = choose_key(catalog, table)
            layout = fit_layout(csv.sample, catalog, table, documented, key)
            columns = [column for column in layout.columns if column.index is not None]
            names = [column.name for column in columns]
            rows = [[row[column.index or 0] for column in columns] for row in csv.sample.rows]
            problem = key_problem(key, names, rows)
            if table.key is None and layout.key_columns and not problem:
                problem = find_key_problem(csv, layout)
            index = None
            if problem and table.key is None:
                layout = fit_layout(csv.sample, catalog, table, documented, FALLBACK_KEY)
                note = Note(f"the key is {', '.join(FALLBACK_KEY)}, because {problem}", is_warning=True)
                layout = replace(layout, notes=(*layout.notes, note))
            elif problem:
                msg = f"{csv.label}: {', '.join(key)} can't be the key: {problem}. {KEY_ADVICE}."
                raise TapError(msg)
            elif table.key is not None and layout.key_columns:
                index = stack.enter_context(KeyIndex(csv.label))
            yield cls(export, csv, layout, index, logger)

    def chunks(self, count: int = ROWS_PER_CHUNK) -> Iterator[tuple[int, list[Sequence[Any]]]]:
        """Read and convert the rows.

        Args:
            count: Number of rows at once, at most.

        Yields:
            A number of rows, and as many values for each of `layout.names`.

        Raises:
            TapError: At the first row that can't be read or converted, or at the end if the key is not unique.
        """
        progress = ProgressLogger(self.label, "rows", self.logger)
        size = os.fstat(self.file.file.fileno()).st_size
        key = [i for i, column in enumerate(self.layout.columns) if column.is_key]
        nested = [c.index for c in self.layout.columns if c.kind in {"object", "array"} and c.index is not None]
        for number, rows in self.file.chunks(count):
            values = convert(self.label, self.layout.columns, number, rows)
            for column in nested:
                self.dropped_nuls += count_escaped_nuls([row[column] for row in rows])
            if self.index:
                self.index.add(digests([values[i] for i in key]), number)
            sdc: dict[str, Any] = {
                "_sdc_export_id": repeat(self.export.id, len(rows)),
                "_sdc_exported_at": repeat(self.export.exported_at, len(rows)),
                "_sdc_row_number": range(number, number + len(rows)),
            }
            self.row_number = number
            yield len(rows), [*values, *(sdc[name] for name in self.layout.sdc_columns)]
            self.rows += len(rows)
            progress.update(self.rows, self.file.file.tell() / size)
        self.dropped_nuls += self.file.dropped_nuls
        if self.index and (duplicate := self.index.first_duplicate()):
            problem = duplicate_problem(self.layout.key, *duplicate)
            msg = f"{self.label}: {problem}: it can't be the key. {KEY_ADVICE}."
            raise TapError(msg)

    def records(self) -> Iterator[dict[str, Any]]:
        """Read and convert the rows one by one, as dicts."""
        names = self.layout.names
        for _, values in self.chunks():
            first = self.row_number
            for number, row in enumerate(zip(*values), first):
                self.row_number = number
                yield dict(zip(names, row))

    def notes(self) -> Iterator[Note]:
        """Yield what is worth a line in the log; at the end of the load, also what was dropped."""
        yield from self.layout.notes
        if self.file.sample.delimiter != ",":
            name = {";": "semicolon", "\t": "tab"}[self.file.sample.delimiter]
            yield Note(f"the delimiter is a {name}, because the header has no comma")
        if self.dropped_nuls:
            yield Note(f"{plural(self.dropped_nuls, 'NUL character')} dropped", is_warning=True)

    @property
    def seconds(self) -> float:
        """Seconds since the file was opened."""
        return time.monotonic() - self.started_at


def find_key_problem(file: CsvFile, layout: Layout) -> str | None:
    """Read a whole file to verify that its key is present and unique; say why it is not."""
    columns, key = layout.key_columns, layout.key
    with KeyIndex(file.label) as index:
        for number, rows in file.chunks():
            cells = list(zip(*rows))
            for column in columns:
                if "" in cells[column.index or 0]:
                    return f"{', '.join(key)} is empty in row {number + cells[column.index or 0].index('')}"
            index.add(digests(convert(file.label, columns, number, rows)), number)
        duplicate = index.first_duplicate()
    return duplicate_problem(key, *duplicate) if duplicate else None


def convert(label: str, columns: Sequence[Column], number: int, rows: list[list[str]]) -> list[Sequence[Any]]:
    """Convert some rows, a column at a time.

    Args:
        label: The file, for messages.
        columns: What is wanted of them.
        number: The number of the first row.
        rows: Their cells.

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
            raise row_error(label, number + index, problem) from None
        if column.is_key and "" in column_cells:
            problem = f"key column {column.name!r} is empty. {KEY_ADVICE}"
            raise row_error(label, number + column_cells.index(""), problem)
    return values


def count_escaped_nuls(cells: Sequence[str]) -> int:
    """Count the NUL characters that JSON escapes, and that conversion drops."""
    text = "\n".join(cells)
    return len(ESCAPED_NUL.findall(text)) if "\\u0000" in text else 0
