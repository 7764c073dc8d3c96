"""Which exports are read: the bookmark, what is unread, which request is reused. All pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from tap_dynamic.api.exports import Export, oldest_first
from tap_dynamic.datetimes import parse_datetime
from tap_dynamic.errors import plural
from tap_dynamic.redaction import first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_PENDING = timedelta(hours=24)
"""How long a requested export may be pending before it is given up."""


class Bookmark(NamedTuple):
    """What was loaded of a model: the newest completion, and the exports with it."""

    instant: datetime
    export_ids: frozenset[str]

    def covers(self, export: Export) -> bool:
        """Whether the export was loaded, or a newer one was."""
        if export.completed_at == self.instant:
            return export.id in self.export_ids
        return export.completed_at < self.instant


def is_newest(export: Export, bookmark: Bookmark | None) -> bool:
    """Whether no newer export was loaded."""
    return bookmark is None or export.completed_at >= bookmark.instant


def is_obsolete(export: Export, bookmark: Bookmark | None) -> bool:
    """Whether a completed export is not newer than the bookmark: its rows would replace newer ones."""
    return export.status == "completed" and bookmark is not None and export.completed_at <= bookmark.instant


def snapshots_of(model: str, exports: Iterable[Export]) -> list[Export]:
    """Return the exports of a model that are snapshots: completed, and without a filter; oldest first."""
    return oldest_first(e for e in exports if e.model == model and e.status == "completed" and not e.is_part)


def reads_all(config: Mapping[str, Any]) -> bool:
    """Whether every snapshot is read, one after the other, rather than the newest."""
    return bool(config["snapshots"] == "all" and not config["request_exports"])


def select_unread(
    completed: Sequence[Export], bookmark: Bookmark | None, config: Mapping[str, Any], *, is_full_table: bool
) -> list[Export]:
    """Select those of a model's snapshots whose rows are read; `completed` and the result are sorted, oldest first.

    With FULL_TABLE, what was loaded is read again; what is older never is.
    """
    start = _start(config)
    chosen = [e for e in completed if start is None or e.completed_at >= start]
    if chosen and config["snapshots"] == "latest":
        chosen = [e for e in chosen if e.completed_at == chosen[-1].completed_at]
    if bookmark and is_full_table:
        return [e for e in chosen if is_newest(e, bookmark)]
    return [e for e in chosen if bookmark is None or not bookmark.covers(e)]


def _start(config: Mapping[str, Any]) -> datetime | None:
    return parse_datetime(config["start_date"]) if config.get("start_date") else None


def between(listed: Iterable[Export], bookmark: Bookmark | None, export: Export) -> list[str]:
    """Return the ids of the snapshots between the bookmark and an export."""
    if bookmark is None:
        return []
    snapshots = snapshots_of(export.model, listed)
    return [e.id for e in snapshots if e.completed_at < export.completed_at and not bookmark.covers(e)]


class RequestPlan(NamedTuple):
    """What `request_exports` does for a model."""

    reused: Export | None
    """The export that an earlier run requested and that is read now."""
    is_needed: bool
    """Whether a fresh export is requested."""


def plan_request(
    requested_id: str | None,
    exports: Iterable[Export],
    bookmark: Bookmark | None,
    *,
    now: datetime,
    max_age: timedelta,
) -> RequestPlan:
    """Decide what happens to the export that an earlier run requested, and whether a fresh one is requested.

    A completed export counts as fresh up to `max_age`.
    """
    requested = next((e for e in exports if e.id == requested_id), None)
    if requested is None or requested.is_part or is_obsolete(requested, bookmark):
        return RequestPlan(None, is_needed=True)
    if requested.status == "completed":
        return RequestPlan(requested, is_needed=now - requested.completed_at > max_age)
    if requested.status == "pending" and now - requested.created_at <= MAX_PENDING:
        return RequestPlan(requested, is_needed=False)
    return RequestPlan(None, is_needed=True)


def nothing_read_reason(
    model: str, completed: Sequence[Export], bookmark: Bookmark | None, config: Mapping[str, Any]
) -> tuple[str, bool]:
    """Say why no export of a model is read, and whether that is worth a warning."""
    if not completed:
        text = f"There is no completed export of {model} yet: make one in Dynamic's dashboard, or set request_exports."
        return text, True
    newest, start = completed[-1].id, _start(config)
    if start and completed[-1].completed_at < start:
        return f"Nothing of {model} is read: the newest completed export, {newest}, is older than start_date.", True
    if bookmark and newest in bookmark.export_ids:
        return f"Nothing new of {model}: the newest completed export, {newest}, was loaded before.", False
    text = f"Nothing new of {model}: a newer export than {newest}, the newest completed one listed, was loaded before."
    return text, False


def unread_notes(
    model: str, exports: Iterable[Export], bookmark: Bookmark | None, known: Sequence[str] | None
) -> list[str]:
    """Name the exports of a model that are never read unless `export_ids` names them, each in one run.

    `known` is the `short_id` of each export that was listed in the run before, or None without `snapshots: all`.
    """
    exports = [e for e in oldest_first(exports) if e.model == model]
    unread = [e for e in exports if bookmark is None or e.completed_at > bookmark.instant]
    notes = [f"{e.failure_reason}." for e in unread if e.failure_reason]
    if len(notes) > 1 and bookmark is None:
        notes = [f"{plural(len(notes), 'export')} of {model} can't be read. The newest: {notes[-1]}"]
    parts = [e for e in unread if e.status == "completed" and e.is_part]
    if parts:
        notes.append(_naming(parts, "passed over, because a filter made only a part"))
    if bookmark is None or known is None:
        return notes
    covered = [e for e in snapshots_of(model, exports) if bookmark.covers(e) and e.id not in bookmark.export_ids]
    if late := [e for e in covered if short_id(e.id) not in known]:
        notes.append(_naming(late, "appeared after a newer one was loaded, and is not read"))
    return notes


class Reason(NamedTuple):
    """Why an export that was requested or named is not read."""

    text: str
    is_failure: bool = False
    """Whether the run fails."""


def unread_reason(
    export: Export, bookmark: Bookmark | None, *, is_selected: bool, is_named: bool, timeout: float
) -> Reason | None:
    """Say why an export that was requested, or named in `export_ids`, is not read after a wait of `timeout` seconds."""
    label = f"Export {export.id}"
    if export.failure_reason:
        advice = "Make a new export, or read others with export_ids."
        return Reason(f"{export.failure_reason}. {advice}", is_failure=True)
    if not is_selected:
        return Reason(f"{label} is not read: {first_line(export.model)} is not selected.")
    if export.status == "pending":
        waited = f"after {plural(round(timeout), 'second')} (export_timeout)"
        advice = "Run again later: it is read once it has completed."
        return Reason(f"{label} of {export.model} is still pending {waited}. {advice}", is_failure=True)
    if export.is_part and not is_named:
        return Reason(export.part_reason)
    if not is_named and is_obsolete(export, bookmark):  # its completion was not known before
        return Reason(f"{label} is not read: a newer one was loaded before.")
    return None


def waiting_note(unusable: Export, unread: Sequence[Export]) -> str | None:
    """Say that later exports of a model wait for one that can never be read, and how to go on without it."""
    later = [e for e in unread[unread.index(unusable) + 1 :] if e.model == unusable.model]
    if not later:
        return None
    wait = f"{plural(len(later), 'later export')} of {unusable.model} {'waits' if len(later) == 1 else 'wait'}"
    newer = next((e for e in later if e.completed_at > unusable.completed_at), None)
    way_out = f" To go on without it, set start_date to {newer.exported_at}." if newer else ""
    return f"{wait} for export {unusable.id}.{way_out}"


def _naming(exports: Sequence[Export], why: str) -> str:
    count = len(exports)
    ids = ", ".join(e.id for e in exports[-3:]) + (f" and {count - 3} more" if count > 3 else "")  # noqa: PLR2004 (short)
    return f"{plural(count, 'export')} of {exports[0].model} {why}: {ids}. To read one, name it in export_ids."


def short_id(export_id: str) -> str:
    """Distinguish the exports of a list in few characters: the state holds one for each."""
    return blake2b(export_id.encode(), digest_size=4).hexdigest()
