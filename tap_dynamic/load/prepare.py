"""From an export to the plan of its load: which files are fetched, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tap_dynamic.errors import FileUnusable
from tap_dynamic.load.changes import Earlier, find_changes, fingerprint_of
from tap_dynamic.load.fitting import fit_file
from tap_dynamic.load.index import RowIndex
from tap_dynamic.load.plan import Load, LoadPlan, plan_comparison, plan_load
from tap_dynamic.load.state import UNSEEN
from tap_dynamic.table.layout import with_deletions

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from tap_dynamic.file.reader import CsvFile


def prepare_load(load: Load, fetch: Callable[[str, str], CsvFile], stack: contextlib.ExitStack) -> LoadPlan:
    """Fetch the file of an export and those it is compared with, and decide what is emitted.

    `fetch` returns the file of an export, given its id and a label for messages; `stack` closes what the plan needs
    while its rows are read.

    Raises:
        TapError: If a file can't be read, or not now.
    """
    export, stream = load.export, f"Stream {load.export.model}"
    file = fetch(export.id, f"{stream}, export {export.id}")
    layout, fingerprint = fit_file(file, load), None
    if load.config["changes_only"]:
        layout = with_deletions(layout)
        fingerprint = fingerprint_of(layout, load.config, load.deselected_parts)
    comparison = plan_comparison(load, layout, fingerprint, is_empty=file.is_empty)
    if file.is_empty or load.is_dry_run:
        return plan_load(load, file, layout, comparison)
    earlier = []
    unseen = {h.export_id for h in comparison.holdings if h.fingerprint == UNSEEN}
    for export_id in comparison.wanted:
        try:
            older = fetch(export_id, f"{stream}, earlier export {export_id}")
            if not older.is_empty:  # an empty one neither left rows nor deleted any
                is_base = export_id in load.state.base_ids
                earlier.append(Earlier(older, is_base=is_base, is_unseen=export_id in unseen))
        except FileUnusable as error:  # gone for good; any other failure ends the load, or deletions would be lost
            comparison = comparison.losing(f"an earlier export can't be read ({error})")
    if not earlier:
        return plan_load(load, file, layout, comparison)
    index = stack.enter_context(RowIndex(file.label))
    changes = find_changes(file, earlier, layout, index, load.logger)
    if changes.problem:
        comparison = comparison.losing(changes.problem)
    elif changes.reason:
        comparison = replace(comparison, reason=comparison.reason or changes.reason)
    return plan_load(load, file, layout, comparison, changes)
