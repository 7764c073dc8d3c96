"""The rows of a load, read and converted."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

from tap_dynamic.errors import TapError, plural
from tap_dynamic.file.reader import ROWS_PER_CHUNK
from tap_dynamic.load.index import RowIndex, key_digests
from tap_dynamic.progress import ProgressLogger
from tap_dynamic.table.columns import duplicate_key_problem, key_refusal
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
    """How far a load is.

    Args:
        emitted: Rows that were emitted, deleted ones too.
        read: Rows of the file among them.
        dropped_nuls: NUL characters that were dropped.
        replaced_surrogates: Unpaired surrogates in JSON that were replaced.
        started_at: When the load began, by the monotonic clock.
    """

    emitted: int = 0
    read: int = 0
    dropped_nuls: int = 0
    replaced_surrogates: int = 0
    started_at: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.started_at

    def notes(self) -> Iterator[Note]:
        """Yield what is known at the end of the load."""
        if self.dropped_nuls:
            yield Note(f"{plural(self.dropped_nuls, 'NUL character')} dropped", is_warning=True)
        if self.replaced_surrogates:
            text = f"{plural(self.replaced_surrogates, 'unpaired surrogate')} in JSON replaced by U+FFFD"
            yield Note(text, is_warning=True)


def read_chunks(plan: LoadPlan, tally: Tally, logger: logging.Logger, count: int = ROWS_PER_CHUNK) -> Iterator[Chunk]:
    """Read and convert the rows of a load: deleted ones first.

    Where a map makes one key of two, the row that is still there comes last.

    Args:
        plan: The plan of the load.
        tally: Is kept up to date.
        logger: Receives progress.
        count: Number of rows at once, at most.

    Yields:
        Rows, with values for each of the names of the layout.

    Raises:
        TapError: At the first row that can't be read or converted; at the end if the key is not unique.
    """
    for rows in plan.gone:
        yield from _read_rows(plan, rows, tally, logger, count, is_gone=True)
    read = _read_rows if plan.is_key_verified else _read_verified
    yield from read(plan, plan.emitted, tally, logger, count)
    tally.dropped_nuls += plan.emitted.file.dropped_nuls


def _read_verified(plan: LoadPlan, rows: Rows, tally: Tally, logger: logging.Logger, count: int) -> Iterator[Chunk]:
    """Read all rows of the file, and verify that the key identifies each."""
    names = plan.layout.names
    key = plan.layout.key_columns
    places = [names.index(column.name) for column in key]
    with RowIndex(plan.label) as index:
        for chunk in _read_rows(plan, rows, tally, logger, count):
            texts = key_texts(key, [chunk.values[place] for place in places])
            index.add(0, chunk.numbers, key_digests(texts), None)
            yield chunk
        if rows_alike := index.find_duplicate(0):
            key_names = plan.layout.key
            msg = f"{plan.label}: {key_refusal(key_names, duplicate_key_problem(key_names, *rows_alike))}"
            raise TapError(msg)


def _read_rows(  # noqa: PLR0913 (what it depends on, nothing hidden)
    plan: LoadPlan, rows: Rows, tally: Tally, logger: logging.Logger, count: int, *, is_gone: bool = False
) -> Iterator[Chunk]:
    file, layout = rows.file, plan.layout
    count = max(1, min(count, NAMES_PER_CHUNK // sum(map(len, layout.names))))
    nested = [c.index for c in rows.columns if c.kind in JSON_KINDS and c.index is not None]
    chunks: Iterator[tuple[Sequence[int], Sequence[list[str]]]] = (
        (range(first, first + len(cells)), cells) for first, cells in file.chunks(count)
    )
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(ProgressLogger(file.label, "rows", logger))
        for numbers, cells in _choose(chunks, rows.numbers()) if rows.index else chunks:
            values = (
                convert_readable(rows.columns, cells)
                if is_gone
                else convert_rows(file.label, rows.columns, numbers, cells)
            )
            for place in nested:
                nuls, surrogates = count_repairs([row[place] for row in cells])
                tally.dropped_nuls += nuls
                tally.replaced_surrogates += surrogates
            yield Chunk(file.label, numbers, [*values, *_sdc_values(plan, numbers, is_gone=is_gone)])
            tally.emitted += len(cells)
            tally.read += 0 if is_gone else len(cells)
            progress.update(tally.emitted, file.share_read)


def _choose(
    chunks: Iterator[tuple[Sequence[int], Sequence[list[str]]]], wanted: Iterator[int]
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


def _sdc_values(plan: LoadPlan, numbers: Sequence[int], *, is_gone: bool) -> list[Sequence[Any]]:
    count, export = len(numbers), plan.export
    values: dict[str, Any] = {
        "_sdc_export_id": repeat(export.id, count),
        "_sdc_exported_at": repeat(export.exported_at, count),
        "_sdc_row_number": repeat(None, count) if is_gone else numbers,
        "_sdc_deleted_at": repeat(export.exported_at if is_gone else None, count),
    }
    return [list(values[name]) for name in plan.layout.sdc_columns]
