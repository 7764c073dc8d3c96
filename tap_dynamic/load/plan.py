"""What a load emits: the only place that decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tap_dynamic.errors import TapError
from tap_dynamic.load.changes import Rows, too_many_deleted
from tap_dynamic.load.selection import is_newest
from tap_dynamic.load.state import Holding
from tap_dynamic.table.layout import Layout, Note

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tap_dynamic.api.exports import Export
    from tap_dynamic.file.reader import CsvFile
    from tap_dynamic.load.changes import Changes
    from tap_dynamic.load.index import Counts
    from tap_dynamic.load.state import RowState

MAX_COMPARED = 30
"""Earlier exports that a file is compared with; each is a download."""


@dataclass(frozen=True)
class Comparison:
    """What a file is compared with.

    Args:
        holdings: The exports of which the table may hold rows, the one that was loaded last first.
        wanted: The ids of those whose files are compared.
        reason: Why all rows are emitted; None if only changes are.
        lost: Why older deletions can't be seen, if that is so.
    """

    holdings: tuple[Holding, ...] = ()
    wanted: tuple[str, ...] = ()
    reason: str | None = None
    lost: str | None = None

    def losing(self, why: str) -> Comparison:
        """Return the comparison where a file is gone for good."""
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
        holdings: The exports of which the table may hold rows before the load.
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
    fingerprint: str | None = None
    version: int | None = None
    replaces_table: bool = False
    moves_bookmark: bool = True
    notes: tuple[Note, ...] = ()

    @property
    def label(self) -> str:
        """The stream and the export, for messages."""
        return self.emitted.file.label

    def rows(self, read: int) -> int:
        """Return the number of rows of the file, at the end of the load.

        Args:
            read: Rows of the file that were read to be emitted.
        """
        return read if self.is_full or not self.counts else read + self.counts.unchanged

    @property
    def is_remembered(self) -> bool:
        """Whether the state must name the export before its first row: a later load would not look for it."""
        return self.fingerprint is not None or not self.moves_bookmark

    def holdings_after(self, rows: int) -> tuple[Holding, ...]:
        """Return the exports of which the table may hold rows after the load.

        Args:
            rows: The number of rows of the file.
        """
        own = Holding(self.export.id, self.fingerprint)
        if not rows:
            return self.holdings
        return (own,) if self.moves_bookmark else (*(h for h in self.holdings if h.export_id != own.export_id), own)


def plan_comparison(  # noqa: PLR0913 (a rule of these facts)
    export: Export,
    layout: Layout,
    state: RowState,
    *,
    fingerprint: str,
    between: Sequence[str],
    listed: Collection[str],
    is_full_table: bool,
    needs_version: bool,
) -> Comparison:
    """Decide which earlier files a file is compared with, or why all of its rows are emitted.

    Args:
        export: The export that is loaded.
        layout: The layout of its file.
        state: What the state remembers.
        fingerprint: What its rows look like.
        between: Ids of the snapshots between the one loaded last and this one: a load whose state was lost may have
            left rows of them.
        listed: Ids of the exports that exist.
        is_full_table: Whether the replication method is FULL_TABLE.
        needs_version: Whether messages have versions, by which the target deletes what a full load lacks.
    """
    held = [h for h in state.held if h.export_id != export.id]
    unknown = [Holding(i, fingerprint) for i in between if i not in {h.export_id for h in held}]
    holdings = (*held, *unknown)
    has_same_key = tuple(state.key_properties) == layout.key
    shapes = {h.fingerprint for h in state.held}
    missing = [h.export_id for h in holdings if h.export_id not in listed]
    lost = f"{len(missing)} of {len(holdings)} earlier exports no longer exist" if missing else None
    if len(holdings) > MAX_COMPARED:
        lost = f"{len(holdings)} earlier exports may have left rows, of which {MAX_COMPARED} are compared"
    reasons = (
        (is_full_table, "the replication method is FULL_TABLE"),
        (not layout.key_columns, "rows without a unique key can't be compared"),
        (not (held and state.has_base), "there is no earlier load to compare with"),
        (None in shapes, "the last load was without changes_only"),
        (needs_version and state.table_version is None, "the last load had no version for ACTIVATE_VERSION messages"),
        (shapes != {fingerprint}, "columns, types, key or maps differ from those of the last load"),
        (lost is not None, lost or ""),
    )
    reason = next((text for applies, text in reasons if applies), None)
    is_compared = layout.key_columns and has_same_key and not (reason and needs_version)
    at_hand = [h.export_id for h in holdings if h.export_id in listed]
    # The one loaded last holds most of the table; of the others, the newest.
    wanted = [*at_hand[:1], *at_hand[1:][-(MAX_COMPARED - 1) :]] if is_compared else []
    return Comparison(holdings, tuple(wanted), reason, lost if is_compared else None)


def has_versions(config: Mapping[str, Any]) -> bool:
    """Whether messages have versions; those of BATCH files can't."""
    return bool(config["emit_activate_version_messages"] and not config.get("batch_config"))


def plan_load(  # noqa: PLR0913 (what it depends on, nothing hidden)
    export: Export,
    file: CsvFile,
    layout: Layout,
    state: RowState,
    config: Mapping[str, Any],
    *,
    now: int,
    fingerprint: str | None = None,
    comparison: Comparison | None = None,
    changes: Changes | None = None,
) -> LoadPlan:
    """Decide what a load emits.

    Args:
        export: The export.
        file: Its file.
        layout: The layout of the file.
        state: What the state remembers.
        config: The settings.
        now: The second of the run.
        fingerprint: What the rows look like.
        comparison: What the file was compared with, where changes count.
        changes: What differs; None where no file was compared.

    Raises:
        TapError: If so many rows are gone that most likely a part was exported.
    """
    comparison = comparison or Comparison(tuple(h for h in state.held if h.export_id != export.id))
    reason = comparison.reason or (changes.problem if changes else None)
    is_full = changes is None or reason is not None
    version = None
    if has_versions(config):
        # Larger than the last, even within one second; a second, because SQL targets keep 32 bits.
        last = max(state.table_version or 0, state.last_version or 0)
        version = max(now, last + 1) if is_full else state.table_version
    # A named export says nothing about older ones that `all` has still to read.
    moves_bookmark = not export.is_part and not (config.get("export_ids") and config["snapshots"] == "all")
    moves_bookmark = moves_bookmark and is_newest(export, state.bookmark)
    gone = changes.gone if changes and not file.is_empty else ()
    notes = list(layout.notes)
    if file.is_empty:
        reason = None
    elif comparison.lost or (changes and changes.problem):
        why = comparison.lost or reason
        notes.append(Note(f"all rows are emitted, and older deletions can't be seen: {why}", is_warning=True))
    elif reason:
        notes.append(Note(f"all rows are emitted: {reason}"))
    if (
        changes
        and gone
        and state.has_base
        and (problem := too_many_deleted(changes.counts.deleted, changes.counts.before, config["max_deleted_percent"]))
    ):
        msg = f"{file.label}: {problem}."
        raise TapError(msg)
    return LoadPlan(
        export,
        layout,
        Rows(file, layout.columns) if is_full or changes is None else changes.emitted,
        gone,
        is_full=is_full,
        is_key_verified=changes is not None or not state.key_properties or not layout.key_columns,
        counts=changes.counts if changes else None,
        holdings=comparison.holdings,
        fingerprint=fingerprint,
        version=version,
        replaces_table=version is not None and is_full and moves_bookmark,
        moves_bookmark=moves_bookmark,
        notes=tuple(notes),
    )
