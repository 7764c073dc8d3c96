"""Exports as Dynamic describes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from tap_dynamic.datetimes import parse_datetime, to_rfc3339
from tap_dynamic.redaction import first_line, redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

MODELS = ("users", "visits")
EXPORT_ID_PATTERN = re.compile(r"[0-9A-Za-z-]{1,64}")


@dataclass(frozen=True)
class Export:
    """Metadata of an export.

    Args:
        model: `users` or `visits`, or a later one.
        status: `completed`, `failed` or `pending`, or a later one.
        format: `csv`, or a later one.
        exported_at: When it was completed, RFC 3339 as Dynamic writes it; else when it was requested.
        completed_at: The same instant.
        is_part: Whether a filter chose its rows, so that it is not a snapshot.
        record: The record of the stream `exports`.
    """

    id: str
    model: str
    status: str
    format: str
    created_at: datetime
    exported_at: str
    completed_at: datetime
    is_part: bool
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
        if not EXPORT_ID_PATTERN.fullmatch(fields["id"]):
            _refuse("id")
        created, completed = _timestamp(metadata, "createdAt"), _timestamp(metadata, "completedAt")
        if not created:
            _refuse("createdAt")
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
            exported_at=completed or created,
            completed_at=parse_datetime(completed or created),
            is_part=bool(metadata.get("filter")) and _has_content(metadata["filter"]),
            record=record,
        )

    @property
    def part_reason(self) -> str:
        """Why the export is not read if it is a part."""
        return f"Export {self.id} is not read: a filter made only a part."

    @property
    def failure_reason(self) -> str | None:
        """Why the export will never have rows; None if it is completed or pending."""
        label = f"Export {self.id} of {first_line(self.model)}"
        if self.status == "failed":
            return f"{label} failed at Dynamic: {first_line(self.record['error']) or 'no reason given'}"
        if self.status not in {"completed", "pending"}:
            return f"{label} has the status {first_line(self.status)!r}, which this version of the tap does not know"
        return None


def _refuse(name: str) -> NoReturn:
    msg = f"its {name} is missing or malformed"
    raise ValueError(msg)


def _text(metadata: Mapping[str, Any], name: str) -> str:
    value = metadata.get(name)
    if not isinstance(value, str) or not value:
        _refuse(name)
    return redact(value)


def _timestamp(metadata: Mapping[str, Any], name: str) -> str | None:
    try:
        return to_rfc3339(metadata[name]) if metadata.get(name) else None
    except ValueError:
        _refuse(name)


def _has_content(value: object) -> bool:
    """Whether a value or one of its parts is neither null nor empty; False and 0 are content."""
    if isinstance(value, dict):
        value = list(value.values())
    return any(map(_has_content, value)) if isinstance(value, list) else value not in {None, ""}


def without_repeats(exports: Iterable[Export]) -> list[Export]:
    """Return each export once, as completed where one of its entries says so."""
    found: dict[str, Export] = {}
    for export in exports:
        if export.id not in found or export.status == "completed":
            found[export.id] = export
    return list(found.values())


def oldest_first(exports: Iterable[Export]) -> list[Export]:
    """Sort exports by completion, oldest first."""
    return sorted(exports, key=lambda export: (export.completed_at, export.id))
