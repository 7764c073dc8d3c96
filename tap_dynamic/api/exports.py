"""Exports and bookmarks: which exports are read, which request is reused, what the next bookmark is. All pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from tap_dynamic.datetimes import parse_datetime, to_rfc3339
from tap_dynamic.errors import TapError
from tap_dynamic.redaction import first_line, redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

MODELS = ("users", "visits")
MAX_PENDING = timedelta(hours=24)
"""How long a requested export may be pending before it is given up."""
EXPORT_ID_PATTERN = re.compile(r"[0-9A-Za-z-]{1,64}")


def _text(metadata: Mapping[str, Any], name: str) -> str:
    value = metadata.get(name)
    if not isinstance(value, str) or not value:
        msg = f"its {name} is missing or malformed"
        raise ValueError(msg)
    return redact(value)


def _timestamp(metadata: Mapping[str, Any], name: str) -> str | None:
    try:
        return to_rfc3339(metadata[name]) if metadata.get(name) else None
    except ValueError:
        msg = f"its {name} is malformed"
        raise ValueError(msg) from None


@dataclass(frozen=True)
class Export:
    """Metadata of an export, as parsed.

    Args:
        id: Its id.
        model: `users` or `visits`, or a later one.
        status: `completed`, `failed` or `pending`, or a later one.
        format: `csv`, or a later one.
        created_at: When it was requested.
        exported_at: When it was completed, RFC 3339 as Dynamic writes it; else when it was requested.
        completed_at: The same instant.
        error: Why it failed, redacted.
        record: The record of the stream `exports`.
    """

    id: str
    model: str
    status: str
    format: str
    created_at: datetime
    exported_at: str
    completed_at: datetime
    error: str
    record: Mapping[str, Any]

    @classmethod
    def parse(cls, metadata: object) -> Export:
        """Parse what the API answers.

        Raises:
            ValueError: If a field that decides something is missing or malformed; the text names it.
        """
        if not isinstance(metadata, dict):
            msg = "it is not an object"
            raise ValueError(msg)  # noqa: TRY004 (one kind of error for whatever is malformed)
        fields = {name: _text(metadata, name) for name in ("id", "format", "model", "status")}
        created, completed = _timestamp(metadata, "createdAt"), _timestamp(metadata, "completedAt")
        exported_at = completed or created
        if not created or not exported_at or not EXPORT_ID_PATTERN.fullmatch(fields["id"]):
            msg = f"its {'id' if created else 'createdAt'} is missing or malformed"
            raise ValueError(msg)
        try:
            started = _timestamp(metadata, "startedAt")
        except ValueError:  # decides nothing
            started = None
        error, url = metadata.get("error"), metadata.get("downloadUrl")
        record = {
            **fields,
            "createdAt": created,
            "startedAt": started,
            "completedAt": completed,
            "downloadUrl": url if isinstance(url, str) else None,
            "error": None if error is None else redact(error),
        }
        return cls(
            **fields,
            created_at=parse_datetime(created),
            exported_at=exported_at,
            completed_at=parse_datetime(exported_at),
            error=record["error"] or "",
            record=record,
        )

    @property
    def failure_reason(self) -> str | None:
        """Why the export will never have rows; None if it is completed or pending."""
        label = f"Export {self.id} of {first_line(self.model)}"
        if self.status == "failed":
            return f"{label} failed at Dynamic: {first_line(self.error) or 'no reason given'}"
        if self.status not in {"completed", "pending"}:
            return f"{label} has the status {first_line(self.status)!r}, which this version of the tap does not know"
        return None


@dataclass(frozen=True)
class Bookmark:
    """What was loaded of a model: the newest completion, and the ids loaded of that very instant."""

    exported_at: str
    instant: datetime
    export_ids: frozenset[str]

    @classmethod
    def parse(cls, state: Mapping[str, Any]) -> Bookmark | None:
        """Read a stream's state.

        Raises:
            TapError: If the state is corrupt.
        """
        value = state.get("replication_key_value")
        if value is None:
            return None
        try:
            return cls(value, parse_datetime(value), frozenset(state.get("export_ids") or ()))
        except (ValueError, TypeError):
            msg = "The state is corrupt: a replication_key_value is not a date-time. Repair it, or run a full refresh."
            raise TapError(msg) from None

    def covers(self, export: Export) -> bool:
        """Whether the export was loaded, or a newer one was."""
        if export.completed_at == self.instant:
            return export.id in self.export_ids
        return export.completed_at < self.instant


def oldest_first(exports: Iterable[Export]) -> list[Export]:
    """Sort exports by completion, oldest first."""
    return sorted(exports, key=lambda export: (export.completed_at, export.id))


def select_unread(
    exports: Iterable[Export], bookmark: Bookmark | None, *, snapshots: str, start: datetime | None = None
) -> list[Export]:
    """Select the exports of one model whose rows are to be read.

    Args:
        exports: All exports of the model.
        bookmark: What was loaded.
        snapshots: `latest` for the newest completion, `all` for every unread one.
        start: The earliest completion.

    Returns:
        Completed exports, oldest first.
    """
    chosen = [e for e in exports if e.status == "completed" and (start is None or e.completed_at >= start)]
    if chosen and snapshots == "latest":
        newest = max(e.completed_at for e in chosen)
        chosen = [e for e in chosen if e.completed_at == newest]
    return oldest_first(e for e in chosen if bookmark is None or not bookmark.covers(e))


@dataclass(frozen=True)
class RequestPlan:
    """What `request_exports` does for a model.

    Args:
        reused: The export that an earlier run requested and that is still to be read.
        is_needed: Whether a fresh export is requested.
    """

    reused: Export | None
    is_needed: bool


def find_reusable(
    requested_id: str | None,
    exports: Iterable[Export],
    bookmark: Bookmark | None,
    *,
    now: datetime,
    max_age: timedelta,
) -> RequestPlan:
    """Decide what happens to the export that an earlier run requested.

    Args:
        requested_id: Its id, from the state.
        exports: All exports.
        bookmark: What was loaded.
        now: The present.
        max_age: Age up to which a completed export counts as fresh.

    Returns:
        The export to read, if any, and whether a fresh one is requested.
    """
    requested = next((e for e in exports if e.id == requested_id), None)
    if requested is None or is_obsolete(requested, bookmark):
        return RequestPlan(None, is_needed=True)
    if requested.status == "completed":
        return RequestPlan(requested, is_needed=now - requested.completed_at > max_age)
    if requested.status == "pending" and now - requested.created_at <= MAX_PENDING:
        return RequestPlan(requested, is_needed=False)
    return RequestPlan(None, is_needed=True)


def is_obsolete(export: Export, bookmark: Bookmark | None) -> bool:
    """Whether a completed export is not newer than the bookmark: its rows would replace newer ones."""
    return export.status == "completed" and bookmark is not None and export.completed_at <= bookmark.instant


def is_newest(export: Export, bookmark: Bookmark | None) -> bool:
    """Whether no newer export was loaded."""
    return bookmark is None or export.completed_at >= bookmark.instant


def bookmark_after(export: Export, bookmark: Bookmark | None) -> Bookmark:
    """Return the bookmark after the last row of an export: it never moves backwards."""
    if not is_newest(export, bookmark):
        return cast("Bookmark", bookmark)
    loaded = bookmark.export_ids if bookmark and bookmark.instant == export.completed_at else frozenset()
    return Bookmark(export.exported_at, export.completed_at, loaded | {export.id})


def nothing_new_reason(exports: Sequence[Export], bookmark: Bookmark | None, *, start: datetime | None) -> str:
    """Say why no export of a model is read."""
    completed = [e for e in exports if e.status == "completed"]
    if not completed:
        return "There is no completed export yet: make one in Dynamic's dashboard, or set request_exports."
    newest = oldest_first(completed)[-1]
    if start and newest.completed_at < start:
        return f"Nothing to read: the newest completed export, {newest.id}, is older than start_date."
    if bookmark and newest.id in bookmark.export_ids:
        return f"Nothing new: the newest completed export, {newest.id}, was loaded before."
    return f"Nothing new: a newer export than {newest.id}, the newest completed one listed, was loaded before."
