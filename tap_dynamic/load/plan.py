"""What a load emits: the only place that decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tap_dynamic.errors import TapError
from tap_dynamic.load.changes import Changes, Rows
from tap_dynamic.load.selection import between, is_newest
from tap_dynamic.load.state import UNSEEN, Holding, RowState
from tap_dynamic.table.layout import Layout, Note, StreamCatalog

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Mapping, Sequence

    from tap_dynamic.api.exports import Export
    from tap_dynamic.file.reader import CsvFile
    from tap_dynamic.load.index import Counts
    from tap_dynamic.table.layout import Properties

MAX_COMPARED = 30
"""Exports that a file is compared with beside the one that was loaded last; each is a download."""
MIN_DELETED = 10
"""Rows that may be gone, whatever their share."""


@dataclass(frozen=True)
class Load:
    """The load of an export: what it depends on besides its file."""

    export: Export
    listed: Sequence[Export]
    config: Mapping[str, Any]
    state: RowState
    catalog: StreamCatalog
    documented: Properties
    candidates: Sequence[Sequence[str]]
    """Keys in order of preference."""
    deselected_parts: Sequence[tuple[str, ...]]
    """Paths of the parts of objects that are not selected."""
    is_full_table: bool
    is_dry_run: bool
    """Whether this is `--test`, which compares nothing."""
    now: int
    """Seconds since 1970."""
    logger: logging.Logger


@dataclass(frozen=True)
class Comparison:
    """What a file is compared with.

    Args:
        holdings: The other exports whose rows the table may hold.
        fingerprint: What the rows look like; None where changes do not count.
        wanted: The ids of the exports whose files are compared.
        reason: Why all rows are emitted; None if only changes are.
        lost: Why older deletions can't be seen, if that is so.
    """

    holdings: tuple[Holding, ...] = ()
    fingerprint: str | None = None
    wanted: tuple[str, ...] = ()
    reason: str | None = None
    lost: str | None = None

    def losing(self, why: str) -> Comparison:
        """Return the comparison where a file is gone for good, or can't be compared."""
        return replace(self, reason=self.reason or why, lost=why)


@dataclass(frozen=True)
class LoadPlan:
    """What a load emits.

    Args:
        export: The export.
        layout: How its rows become records.
        emitted: The rows of its file that are emitted.
        gone: Rows of earlier files whose keys are gone.
        is_full: Whether all rows of the file are emitted.
        is_key_verified: Whether the key is known to identify each row; otherwise that is verified while rows are read.
        counts: How many keys differ from those of earlier files; None where they were not compared.
        holdings: The exports whose rows the table may hold during the load, itself last.
        kept: Those of them whose rows it may still hold after a load that has rows.
        fingerprint: What the rows look like; None where changes do not count.
        version: The version of the rows, where messages have one.
        replaces_table: Whether the target may delete the rows that are not of this load.
        moves_bookmark: Whether the export counts as loaded.
        notes: What is worth a line in the log.
    """

    export: Export
    layout: Layout
    emitted: Rows
    gone: tuple[Rows, ...] = ()
    is_full: bool = True
    is_key_verified: bool = True
    counts: Counts | None = None
    holdings: tuple[Holding, ...] = ()
    kept: tuple[Holding, ...] = ()
    fingerprint: str | None = None
    version: int | None = None
    replaces_table: bool = False
    moves_bookmark: bool = True
    notes: tuple[Note, ...] = ()

    @property
    def label(self) -> str:
        """The stream and the export, for messages."""
        return self.emitted.file.label

    @property
    def is_remembered(self) -> bool:
        """Whether the state must name the export before its first row: a later load would not look for it."""
        has_looks = any(h.fingerprint for h in self.holdings)  # rows without comparison look otherwise
        return self.fingerprint is not None or not self.moves_bookmark or has_looks

    def rows(self, read: int) -> int:
        """Return the number of rows of the file, given how many were read."""
        return read if self.is_full or not self.counts else read + self.counts.unchanged

    def holdings_after(self, rows: int) -> tuple[Holding, ...]:
        """Return the exports whose rows the table may hold after the load, given the number of rows of the file."""
        is_base = self.moves_bookmark or self.holdings[-1].is_base
        own = Holding(self.export.id, self.fingerprint, is_base)
        return (*self.kept, own) if rows else self.holdings[:-1]


def plan_comparison(load: Load, layout: Layout, fingerprint: str | None, *, is_empty: bool) -> Comparison:
    """Decide which earlier files a file is compared with, and why all of its rows are emitted, if they are."""
    state, needs_version, listed = load.state, has_versions(load.config), {e.id for e in load.listed}
    others = [h for h in state.held if h.export_id != load.export.id]
    held = [h for h in others if h.fingerprint != UNSEEN or h.export_id in listed]
    known = {h.export_id for h in held}
    unseen = [Holding(i, UNSEEN) for i in between(load.listed, state.bookmark, load.export) if i not in known]
    if fingerprint is None:  # an empty file replaces nothing
        return Comparison((*held, *unseen) if is_empty else tuple(held))
    holdings = (*held, *unseen)
    looks = {h.fingerprint for h in state.held} - {UNSEEN}
    bases = [h.export_id for h in holdings if h.is_base and h.export_id in listed]
    later = [h.export_id for h in holdings if not h.is_base and h.export_id in listed]
    missing = [h.export_id for h in holdings if h.export_id not in listed]
    lost = f"{len(missing)} of {len(holdings)} earlier exports no longer exist" if missing else None
    has_same_key = set(state.key_properties) == set(layout.key)
    if len(later) > MAX_COMPARED:
        lost = f"{len(later)} earlier exports may have left rows, of which {MAX_COMPARED} are compared"
    reasons = (
        (load.export.is_part, "a filter made only a part"),
        (load.is_full_table, "the replication method is FULL_TABLE"),
        (not layout.key_columns, "rows without a unique key can't be compared"),
        (not (held and state.has_base), "there is no earlier load to compare with"),
        (not has_same_key, "the key is not the one that the state knows"),
        (None in looks, "the last load was without changes_only"),
        (needs_version and state.table_version is None, "the last load had no version for ACTIVATE_VERSION messages"),
        (looks != {fingerprint}, "columns, types, key or maps differ from those of the last load"),
        (lost is not None, lost or ""),
    )
    reason = next((text for applies, text in reasons if applies), None)
    if not layout.key_columns or load.export.is_part or (reason and needs_version):
        return Comparison(holdings, fingerprint, (), reason)
    if not has_same_key:
        return Comparison(holdings, fingerprint, (), reason, reason if held else None)
    return Comparison(holdings, fingerprint, (*bases, *later[-MAX_COMPARED:]), reason, lost)


def has_versions(config: Mapping[str, Any]) -> bool:
    """Whether messages have versions; those of BATCH files can't."""
    return bool(config["emit_activate_version_messages"] and not config.get("batch_config"))


def plan_load(
    load: Load, file: CsvFile, layout: Layout, comparison: Comparison, changes: Changes | None = None
) -> LoadPlan:
    """Decide what a load emits; `changes` is None where no file was compared.

    Raises:
        TapError: If more rows are gone than max_deleted_percent allows.
    """
    export, state, look = load.export, load.state, comparison.fingerprint
    is_full = changes is None or comparison.reason is not None
    version, moves_bookmark = _version(load, is_full=is_full), _moves_bookmark(load)
    replaces_table = version is not None and is_full and moves_bookmark
    kept = comparison.holdings
    if moves_bookmark and (changes or replaces_table or look):
        kept = ()
    elif moves_bookmark:  # what is gone from them stays unseen until changes are compared again, if they ever were
        was_compared = any(h.fingerprint not in {None, UNSEEN} for h in kept)
        kept = tuple(Holding(h.export_id, h.fingerprint) for h in kept if was_compared or not h.is_base)
        kept = kept[-MAX_COMPARED - 1 :]
    if changes and state.has_base:
        _check_changes(load, file, changes)
    own = next((h for h in state.held if h.export_id == export.id), Holding(export.id, look))
    if own.fingerprint != look:  # the table may have rows of both looks, which are not comparable
        own = Holding(own.export_id, look if own.fingerprint == UNSEEN else None, own.is_base)
    return LoadPlan(
        export,
        layout,
        Rows(file, layout.columns) if is_full or changes is None else changes.emitted,
        changes.gone if changes else (),
        is_full=is_full,
        is_key_verified=changes is not None or not state.key_properties or not layout.key_columns,
        counts=changes.counts if changes else None,
        holdings=(*comparison.holdings, own),
        kept=kept,
        fingerprint=look,
        version=version,
        replaces_table=replaces_table,
        moves_bookmark=moves_bookmark,
        notes=(*layout.notes, *(() if file.is_empty else _notes(comparison))),
    )


def _version(load: Load, *, is_full: bool) -> int | None:
    state = load.state
    if not has_versions(load.config):
        return None
    # Larger than the last, even within one second; a second, because SQL targets keep 32 bits.
    last = max(state.table_version or 0, state.last_version or 0)
    return max(load.now, last + 1) if is_full else state.table_version


def _moves_bookmark(load: Load) -> bool:
    # A named export says nothing about older ones that `all` has still to read.
    is_aside = load.export.is_part or (load.config.get("export_ids") and load.config["snapshots"] == "all")
    return not is_aside and is_newest(load.export, load.state.bookmark)


def _notes(comparison: Comparison) -> Iterator[Note]:
    if comparison.lost:
        yield Note(f"all rows are emitted, and older deletions can't be seen: {comparison.lost}", is_warning=True)
    elif comparison.reason:
        yield Note(f"all rows are emitted: {comparison.reason}")


def _check_changes(load: Load, file: CsvFile, changes: Changes) -> None:
    counts, before = changes.counts, load.state.row_count or 0
    # Without the file that was loaded last, as many rows are gone as there are fewer.
    fewer = before - counts.added - counts.changed - counts.unchanged
    deleted, before = changes.of_base or (fewer, before)
    check_deleted(file.label, deleted, before, load.config["max_deleted_percent"])


class PartError(TapError):
    """An export is most likely a part."""


def check_deleted(label: str, deleted: int, before: int, max_percent: float) -> None:
    """Raise a `PartError` if more rows are gone than max_deleted_percent allows."""
    if deleted > MIN_DELETED and 100 * deleted > max_percent * before:
        msg = (
            f"{label}: {deleted:,} of {before:,} rows are gone, more than max_deleted_percent ({max_percent:g}) allows:"
            " most likely a part of them was exported. Make an export without search or filter in Dynamic's dashboard."
            " If the rows are really gone, set max_deleted_percent to 100 for one run."
        )
        raise PartError(msg)
