"""What differs between a file and the earlier ones whose rows the table may hold."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from tap_dynamic.errors import FileUnusable
from tap_dynamic.load.index import Counts, RowIndex, key_digests, row_hashes
from tap_dynamic.load.rows import numbered_rows
from tap_dynamic.settings import SHAPING_SETTINGS
from tap_dynamic.table.columns import column_names
from tap_dynamic.table.convert import read_keys, reads_as

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Mapping, Sequence

    from tap_dynamic.file.reader import CsvFile
    from tap_dynamic.table.layout import Column, Layout


@dataclass(frozen=True)
class Rows:
    """Some rows of a file."""

    file: CsvFile
    columns: tuple[Column, ...]
    index: RowIndex | None = None
    """Where the numbers of the rows are; None for all rows."""
    place: int = 0
    """The number of the file in the index."""

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of the rows, in order; only where they are not all."""
        return self.index.differing_rows(self.place) if self.index else iter(())


class Earlier(NamedTuple):
    """A file whose rows the table may hold."""

    file: CsvFile
    is_base: bool = False
    """Whether it was loaded last."""
    is_unseen: bool = False
    """Whether it is unknown if it was loaded, and as what."""


@dataclass(frozen=True)
class Changes:
    """What differs between a file and earlier ones."""

    emitted: Rows
    """Rows that are new or differ."""
    gone: tuple[Rows, ...]
    """Rows of earlier files whose keys are gone."""
    counts: Counts
    of_base: tuple[int, int] | None = None
    """How many keys of the file that was loaded last are gone, and how many it has; None without that file."""
    problem: str | None = None
    """Why an earlier file does not count, if one is malformed."""
    reason: str | None = None
    """Why all rows are emitted, if the types of an earlier file may have been others."""


def find_changes(
    newest: CsvFile, earlier: Sequence[Earlier], layout: Layout, index: RowIndex, logger: logging.Logger
) -> Changes:
    """Compare a file with earlier ones, oldest first, whose rows the table may hold.

    An earlier file that is malformed does not count: it will be so the next night too. The layout is that of the new
    file, the index is empty.

    Raises:
        TapError: If the new file can't be read, or temporary files can't be written.
    """
    usable: list[Rows] = []
    problem = reason = base = None
    for file, is_base, is_unseen in earlier:
        places = {name: place for place, name in enumerate(column_names(file.header, layout.known))}
        columns = tuple(replace(column, index=places.get(column.name)) for column in layout.columns)
        rows = Rows(file, columns, index, len(usable))
        typed = [c for c in columns if c.index is not None and c.kind != "string"] if is_unseen else ()
        try:
            if not _fill(index, rows, logger, typed):
                reason = "an export since the last load does not read as the types of this one"
        except FileUnusable as error:
            index.remove(rows.place)
            problem = f"an earlier export can't be read ({error})"
            continue
        if index.find_duplicate(rows.place):
            index.remove(rows.place)
            problem = "the key of an earlier export is not unique"
        else:
            base = rows.place if is_base else base
            usable.append(rows)
    emitted = Rows(newest, layout.columns, index, len(usable))
    _fill(index, emitted, logger)
    index.require_unique(emitted.place, layout.key)
    counts, of_base = index.compare(emitted.place), None
    if base is not None:
        is_alone = len(usable) == 1
        of_base = (counts.deleted, counts.before) if is_alone else index.count_gone(base, emitted.place)
    return Changes(emitted, tuple(usable), counts, of_base, problem, reason)


def _fill(index: RowIndex, rows: Rows, logger: logging.Logger, typed: Sequence[Column] = ()) -> bool:
    """Add the rows of a file to the index; return whether all cells of the typed columns read as their types."""
    is_readable = True
    file, keys = rows.file, [column for column in rows.columns if column.is_key]
    if any(column.index is None for column in keys):
        msg = f"{file.label}: the file lacks a key column."
        raise FileUnusable(msg)
    places = [column.index for column in rows.columns]
    is_whole = places == list(range(len(file.header)))
    for numbers, cells in numbered_rows(file, logger, "comparison"):
        digests = key_digests(read_keys(file.label, keys, numbers.start, cells))
        contents = row_hashes(map("\0".join, cells if is_whole else _select(cells, places)))
        index.add(rows.place, numbers, digests, contents)
        is_readable = is_readable and all(reads_as(c.kind, [row[c.index or 0] for row in cells]) for c in typed)
    return is_readable


def _select(rows: Sequence[Sequence[str]], places: Sequence[int | None]) -> Iterator[tuple[str, ...]]:
    columns = list(zip(*rows))
    empty = ("",) * len(rows)
    return zip(*(empty if place is None else columns[place] for place in places))


def fingerprint_of(layout: Layout, config: Mapping[str, Any], deselected_parts: Sequence[tuple[str, ...]]) -> str:
    """Digest what the rows of the table look like; some settings and the selection of parts of objects reshape them."""
    settings = {name: config.get(name) for name in SHAPING_SETTINGS}
    shape = [layout.schema, layout.key, sorted(deselected_parts), settings]
    return blake2b(json.dumps(shape, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()
