"""The rows of a load, read and converted."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

from tap_dynamic.errors import plural
from tap_dynamic.file.reader import ROWS_PER_CHUNK, CsvFile
from tap_dynamic.load.index import RowIndex, key_digests
from tap_dynamic.progress import ProgressLogger
from tap_dynamic.table.convert import convert_readable, convert_rows, count_repairs, key_texts
from tap_dynamic.table.layout import Chunk, Note
from tap_dynamic.table.types import JSON_KINDS

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Sequence

    from tap_dynamic.load.changes import Rows
    from tap_dynamic.load.plan import LoadPlan

NAMES_PER_CHUNK = 1 << 20
"""Characters of column names in the records of a chunk: each record repeats them."""


@dataclass
class Tally:
    """How far a load is."""

    emitted: int = 0
    """Rows that were emitted, deleted ones too."""
    read: int = 0
    """Rows of the file among them."""
    dropped_nuls: int = 0
    replaced_surrogates: int = 0
    started_at: float = field(default_factory=time.monotonic)

    def notes(self) -> Iterator[Note]:
        """Yield what is known at the end of the load."""
        if self.dropped_nuls:
            yield Note(f"{plural(self.dropped_nuls, 'NUL character')} dropped", is_warning=True)
        if self.replaced_surrogates:
            text = f"{plural(self.replaced_surrogates, 'unpaired surrogate')} in JSON replaced by U+FFFD"
            yield Note(text, is_warning=True)


def numbered_rows(
    file: CsvFile, logger: logging.Logger, purpose: str = "", *, unit: str = "rows", count: int = ROWS_PER_CHUNK
) -> Iterator[tuple[range, list[list[str]]]]:
    """Read all rows of a file, and log the progress; yield the numbers of some rows, and their cells."""
    label = f"{file.label}, {purpose}" if purpose else file.label
    with ProgressLogger(label, unit, logger) as progress:
        for first, cells in file.chunks(count):
            numbers = range(first, first + len(cells))
            yield numbers, cells
            progress.update(numbers.stop - 1, file.share_read)


def read_chunks(plan: LoadPlan, tally: Tally, logger: logging.Logger, count: int = ROWS_PER_CHUNK) -> Iterator[Chunk]:
    """Read and convert the rows of a load, up to `count` at once, and keep the tally.

    Deleted rows come first: where a map makes one key of two, the row that is still there comes last.

    Raises:
        TapError: At the first row that can't be read or converted; at the end if the key is not unique.
    """
    names, key = plan.layout.names, plan.layout.key_columns
    count = max(1, min(count, NAMES_PER_CHUNK // sum(map(len, names))))
    for rows in plan.gone:
        for numbers, cells in _read(rows, tally, logger, count):
            values = convert_readable(rows.columns, cells)
            yield Chunk(rows.file.label, numbers, [*values, *_sdc_values(plan, numbers, is_gone=True)])
            tally.emitted += len(cells)
    rows, places = plan.emitted, [names.index(column.name) for column in key]
    with RowIndex(plan.label) as index:
        for numbers, cells in _read(rows, tally, logger, count):
            values = convert_rows(plan.label, rows.columns, numbers, cells)
            if not plan.is_key_verified:
                texts = key_texts(key, [values[place] for place in places])
                index.add(0, numbers, key_digests(texts), None)
            yield Chunk(plan.label, numbers, [*values, *_sdc_values(plan, numbers)])
            tally.emitted += len(cells)
            tally.read += len(cells)
        index.require_unique(0, plan.layout.key)
    tally.dropped_nuls += rows.file.dropped_nuls


def _read(
    rows: Rows, tally: Tally, logger: logging.Logger, count: int
) -> Iterator[tuple[Sequence[int], Sequence[list[str]]]]:
    nested = [c.index for c in rows.columns if c.kind in JSON_KINDS and c.index is not None]
    chunks = numbered_rows(rows.file, logger, count=count)
    for numbers, cells in _choose(chunks, rows.numbers()) if rows.index else chunks:
        for place in nested:
            nuls, surrogates = count_repairs([row[place] for row in cells])
            tally.dropped_nuls += nuls
            tally.replaced_surrogates += surrogates
        yield numbers, cells


def _choose(
    chunks: Iterator[tuple[range, list[list[str]]]], wanted: Iterator[int]
) -> Iterator[tuple[Sequence[int], Sequence[list[str]]]]:
    """Yield the wanted rows, and read no further than the last of them."""
    following = next(wanted, None)
    for numbers, cells in chunks:
        chosen = []
        while following is not None and following <= numbers[-1]:
            chosen.append(following)
            following = next(wanted, None)
        if chosen:
            yield chosen, [cells[number - numbers[0]] for number in chosen]
        if following is None:
            return


def _sdc_values(plan: LoadPlan, numbers: Sequence[int], *, is_gone: bool = False) -> list[Sequence[Any]]:
    count, export = len(numbers), plan.export
    values: dict[str, Any] = {
        "_sdc_export_id": repeat(export.id, count),
        "_sdc_exported_at": repeat(export.exported_at, count),
        "_sdc_row_number": repeat(None, count) if is_gone else numbers,
        "_sdc_deleted_at": repeat(export.exported_at if is_gone else None, count),
    }
    return [list(values[name]) for name in plan.layout.sdc_columns]
