"""From an export to the plan of its load: which files are fetched, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tap_dynamic.errors import FileUnusable
from tap_dynamic.load.changes import find_changes, fingerprint
from tap_dynamic.load.fitting import fit_file
from tap_dynamic.load.index import RowIndex
from tap_dynamic.load.plan import has_versions, plan_comparison, plan_load
from tap_dynamic.load.selection import between, reads_all, snapshots_of
from tap_dynamic.table.layout import with_deletions

if TYPE_CHECKING:
    import contextlib
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from tap_dynamic.api.exports import Export
    from tap_dynamic.file.reader import CsvFile
    from tap_dynamic.load.plan import LoadPlan
    from tap_dynamic.load.state import RowState
    from tap_dynamic.table.layout import Properties, StreamCatalog


@dataclass(frozen=True)
class Circumstances:
    """What a load depends on besides its file.

    Args:
        config: The settings.
        state: What the state remembers of the stream.
        catalog: What the catalog says of it.
        documented: The documented columns.
        candidates: Its keys in order of preference.
        deselected_parts: Paths of the parts of objects that are not selected.
        is_full_table: Whether the replication method is FULL_TABLE.
        is_dry_run: Whether this is `--test`, which compares nothing.
        now: The second of the load.
        logger: Receives progress.
    """

    config: Mapping[str, Any]
    state: RowState
    catalog: StreamCatalog
    documented: Properties
    candidates: Sequence[Sequence[str]]
    deselected_parts: Sequence[tuple[str, ...]]
    is_full_table: bool
    is_dry_run: bool
    now: int
    logger: logging.Logger


def prepare_load(
    export: Export,
    listed: Sequence[Export],
    given: Circumstances,
    fetch: Callable[[str, str], CsvFile],
    stack: contextlib.ExitStack,
) -> LoadPlan:
    """Fetch the file of an export and those it is compared with, and decide what is emitted.

    Args:
        export: The export.
        listed: All exports.
        given: What the load depends on besides.
        fetch: Returns the file of an export, by its id and what it is for messages.
        stack: Closes what the plan needs while its rows are read.

    Raises:
        TapError: If a file can't be read, or not now.
    """
    config, state = given.config, given.state
    stream = f"Stream {export.model}"
    file = fetch(export.id, f"{stream}, export {export.id}")
    layout = fit_file(
        file,
        given.catalog,
        state.table,
        documented=given.documented,
        candidates=given.candidates,
        logger=given.logger,
    )
    if not config["changes_only"]:
        return plan_load(export, file, layout, state, config, now=given.now)
    layout = with_deletions(layout)
    shape = fingerprint(layout, config, given.deselected_parts)
    plan = partial(plan_load, export, file, layout, state, config, now=given.now, fingerprint=shape)
    snapshots = () if reads_all(config) else snapshots_of(export.model, listed)
    comparison = plan_comparison(
        export,
        layout,
        state,
        fingerprint=shape,
        between=between(snapshots, state.bookmark, export),
        listed={e.id for e in listed},
        is_full_table=given.is_full_table,
        needs_version=has_versions(config),
    )
    if file.is_empty or given.is_dry_run:
        return plan(comparison=comparison)
    earlier = []
    for export_id in comparison.wanted:
        try:
            older = fetch(export_id, f"{stream}, earlier export {export_id}")
            if not older.is_empty:  # an empty one neither left rows nor deleted any
                earlier.append(older)
        except FileUnusable as error:  # gone for good; any other failure ends the load, or deletions would be lost
            comparison = comparison.losing(f"an earlier export can't be read ({error})")
    if not earlier:
        return plan(comparison=comparison)
    index = stack.enter_context(RowIndex(file.label))
    return plan(comparison=comparison, changes=find_changes(file, earlier, layout, index, given.logger))
