"""From an export to the plan of its load: which files are fetched, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tap_dynamic.errors import FileUnusable, FilteredExport, TapError, without_advice
from tap_dynamic.load.changes import Earlier, find_changes, fingerprint_of
from tap_dynamic.load.fitting import fit_file
from tap_dynamic.load.index import RowIndex
from tap_dynamic.load.plan import Comparison, Load, LoadPlan, plan_comparison, plan_load
from tap_dynamic.load.state import UNSEEN
from tap_dynamic.table.fit import check_is_export
from tap_dynamic.table.layout import with_deletions

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from tap_dynamic.file.reader import CsvFile
    from tap_dynamic.table.layout import Layout

    Fetch = Callable[[str, str, bool], CsvFile]
    """From the id of an export, a label for messages, and whether it is known to be a part, to its file."""

ALTERED = "the export that was loaded last has other rows than when it was loaded"


def prepare_load(load: Load, fetch: Fetch, stack: contextlib.ExitStack) -> LoadPlan:
    """Fetch the file of an export and those it is compared with, and decide what is emitted.

    `stack` closes what the plan needs while its rows are read.

    Raises:
        TapError: If a file can't be read, or not now.
    """
    export = load.export
    file = fetch(export.id, f"Stream {export.model}, export {export.id}", export.is_part)
    layout, fingerprint = fit_file(file, load), None
    if load.config["changes_only"]:
        layout = with_deletions(layout)
        fingerprint = fingerprint_of(layout, load.config, load.deselected_parts)
    comparison = plan_comparison(load, layout, fingerprint, is_empty=file.is_empty)
    if file.is_empty or load.is_dry_run:
        return plan_load(load, file, layout, comparison)
    earlier, comparison = _fetch_earlier(load, file.label, layout, comparison, fetch)
    if not earlier:
        return plan_load(load, file, layout, comparison)
    index = stack.enter_context(RowIndex(file.label))
    changes = find_changes(file, earlier, layout, index, load.logger)
    if changes.problem:
        comparison = comparison.losing(changes.problem)
    elif changes.of_base and load.state.knows_holdings and load.state.row_count not in {None, changes.of_base[1]}:
        comparison = comparison.losing(ALTERED)
    elif changes.reason:
        comparison = replace(comparison, reason=comparison.reason or changes.reason)
    return plan_load(load, file, layout, comparison, changes)


def _fetch_earlier(
    load: Load, label: str, layout: Layout, comparison: Comparison, fetch: Fetch
) -> tuple[list[Earlier], Comparison]:
    """Fetch what a file is compared with; return those that can be, and what that makes of the comparison."""
    earlier: list[Earlier] = []
    holdings = {holding.export_id: holding for holding in comparison.holdings}
    for export_id in comparison.wanted:
        is_base, is_unseen = holdings[export_id].is_base, holdings[export_id].fingerprint == UNSEEN
        try:
            older = fetch(export_id, f"Stream {load.export.model}, earlier export {export_id}", not is_unseen)
            check_is_export(older.sample, layout.names, load.documented, older.label)
            if is_base and older.is_empty and load.state.knows_holdings:
                comparison = comparison.losing(ALTERED)
            elif not older.is_empty:  # an empty one neither left rows nor deleted any
                earlier.append(Earlier(older, is_base=is_base, is_unseen=is_unseen))
        except FilteredExport:  # it was not loaded either
            continue
        except FileUnusable as error:  # gone for good; any other failure ends the load, or deletions would be lost
            comparison = comparison.losing(f"an earlier export can't be read ({without_advice(error)})")
        except TapError as error:
            msg = (
                f"{label}: it can't be compared with earlier export {export_id}. {without_advice(error)}"
                " If later runs fail alike, run a full refresh, which compares nothing."
            )
            raise TapError(msg) from None
    return earlier, comparison
