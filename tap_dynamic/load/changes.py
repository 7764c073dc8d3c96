"""The rows of an export that were added, changed or deleted since the one that was loaded last."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from tap_dynamic.errors import TapError
from tap_dynamic.load.index import RowIndex, compare, key_digests, row_hashes
from tap_dynamic.progress import ProgressLogger
from tap_dynamic.settings import SHAPING_SETTINGS
from tap_dynamic.table.columns import KEY_ADVICE, column_names, duplicate_key_problem
from tap_dynamic.table.convert import read_keys

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Mapping, Sequence

    from tap_dynamic.file.reader import CsvFile
    from tap_dynamic.load.index import RowSet
    from tap_dynamic.table.layout import Column, Layout


@dataclass(frozen=True)
class Changes:
    """What a load emits.

    Args:
        emitted: Rows of the new file; None for all of them.
        gone: Old files, their columns, and their rows whose key is gone.
        added: Number of keys that are new.
        changed: Number of rows that differ.
        unchanged: Number of rows that are equal.
        problem: Why the files can't be compared.
    """

    emitted: RowSet | None = None
    gone: tuple[tuple[CsvFile, tuple[Column, ...], RowSet], ...] = ()
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    problem: str | None = None

    @property
    def deleted(self) -> int:
        """Number of keys that are gone."""
        return sum(len(rows) for _, _, rows in self.gone)


def full_load_reason(  # noqa: PLR0913 (a rule of six facts)
    *,
    is_full_table: bool,
    has_key: bool,
    has_base: bool,
    has_version: bool,
    has_same_shape: bool,
    is_interrupted: bool,
) -> str | None:
    """Say why all rows are emitted, as far as it is known before the files are compared.

    Args:
        is_full_table: Whether the replication method is FULL_TABLE.
        has_key: Whether the rows have a key that distinguishes them.
        has_base: Whether the export is known that was loaded last.
        has_version: Whether the table has the version that messages need.
        has_same_shape: Whether its rows look as those of this load.
        is_interrupted: Whether the load of another export began since, and did not end.
    """
    reasons = (
        (is_full_table, "the replication method is FULL_TABLE"),
        (not has_key, "rows without a unique key can't be compared"),
        (not has_base, "there is no earlier load to compare with"),
        (not has_version, "the earlier load had no version for ACTIVATE_VERSION messages"),
        (not has_same_shape, "columns, types, key or maps differ from those of the last load"),
        (is_interrupted, "the load of another export was interrupted"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def fingerprint(layout: Layout, config: Mapping[str, Any], deselected_parts: Sequence[tuple[str, ...]]) -> str:
    """Digest what the rows of the table look like.

    Args:
        layout: Columns, types and key.
        config: The settings, of which some reshape rows.
        deselected_parts: Paths of the parts of objects that are not selected.
    """
    settings = {name: config.get(name) for name in SHAPING_SETTINGS}
    shape = [layout.schema, layout.key, sorted(deselected_parts), settings]
    return blake2b(json.dumps(shape, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def columns_in(file: CsvFile, layout: Layout) -> tuple[Column, ...]:
    """Find the columns of a layout in another file."""
    places = {name: index for index, name in enumerate(column_names(file.header, layout.known))}
    return tuple(replace(column, index=places.get(column.name)) for column in layout.columns)


def find_changes(
    new: CsvFile, old: Sequence[CsvFile], layout: Layout, *, is_complete: bool, logger: logging.Logger
) -> Changes:
    """Compare a file with older ones.

    Args:
        new: The file that is loaded.
        old: The file that was loaded last, then those whose load was interrupted since.
        layout: The layout of the new file; its key distinguishes the rows.
        is_complete: Whether all rows are emitted, and only the keys that are gone are looked for.
        logger: Receives progress.

    Raises:
        TapError: If the keys of the new file are not unique.
    """
    with contextlib.ExitStack() as stack:
        index = stack.enter_context(RowIndex(new.label))
        fill(index, new, layout.columns, logger, with_rows=not is_complete)
        if duplicate := index.first_duplicate():
            msg = f"{new.label}: {duplicate_key_problem(layout.key, *duplicate)}: it can't be the key. {KEY_ADVICE}."
            raise TapError(msg)
        changes, problem, known, gone = Changes(), None, [index], []
        for file in old:
            columns = columns_in(file, layout)
            old_index = stack.enter_context(RowIndex(file.label))
            try:
                fill(old_index, file, columns, logger, with_rows=not is_complete)
            except TapError as error:
                problem = f"an earlier export can't be read ({error})"
                continue
            difference = compare(index, old_index)
            if difference is None:
                problem = "the key of the earlier export is not unique"
                continue
            if not is_complete:
                d = difference
                changes = Changes(d.emitted, added=d.added, changed=d.changed, unchanged=d.unchanged)
            rows = difference.gone
            for other in known[1:]:  # counted with another old file
                if others := compare(other, old_index):
                    rows.intersect(others.gone)
            gone.append((file, columns, rows))
            known.append(old_index)
        # A file without rows is more likely a mistake than the end of all users.
        changes = replace(changes, gone=tuple(gone) if index.rows else ())
        return Changes(gone=changes.gone, problem=problem) if problem else changes


def fill(index: RowIndex, file: CsvFile, columns: Sequence[Column], logger: logging.Logger, *, with_rows: bool) -> None:
    """Read a file into an index.

    Raises:
        TapError: If the file is malformed, or a key is empty.
    """
    keys = [column for column in columns if column.is_key]
    indices = [column.index for column in columns]
    is_whole = indices == list(range(len(file.header)))
    with ProgressLogger(f"{file.label}, comparison", "rows", logger) as progress:
        for number, rows in file.chunks():
            key = key_digests(read_keys(file.label, keys, number, rows))
            content = None
            if with_rows:
                cells = rows if is_whole else _cells(rows, indices)
                content = row_hashes(map("\0".join, cells))
            index.add(number, key, content)
            progress.update(index.rows, file.share_read)


def _cells(rows: list[list[str]], indices: Sequence[int | None]) -> Iterator[tuple[str, ...]]:
    columns = list(zip(*rows))
    empty = ("",) * len(rows)
    return zip(*(empty if index is None else columns[index] for index in indices))
