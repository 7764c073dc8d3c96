"""Values that the tables of rules are made of."""

from __future__ import annotations

import io
import logging
from typing import Any

from tap_dynamic.api.exports import Export
from tap_dynamic.datetimes import parse_datetime
from tap_dynamic.file.reader import CsvFile
from tap_dynamic.load.plan import Load
from tap_dynamic.load.selection import Bookmark
from tap_dynamic.load.state import RowState
from tap_dynamic.table.layout import StreamCatalog


def at(day: int, hour: int = 0) -> str:
    """A completion in March 2026."""
    return f"2026-03-{day:02d}T{hour:02d}:00:00.000Z"


def export(name: str, completed_at: str | None = at(1), **fields: Any) -> Export:
    """An export, completed unless `fields` say otherwise."""
    metadata = {
        "id": name,
        "format": "csv",
        "model": "users",
        "status": "completed",
        "createdAt": at(1),
        "startedAt": None,
        "completedAt": completed_at,
        "downloadUrl": None,
        "error": None,
    }
    return Export.parse({**metadata, **fields})


def bookmark(value: str, *ids: str) -> Bookmark:
    """A bookmark after the given exports."""
    return Bookmark(parse_datetime(value), frozenset(ids))


def csv_file(*lines: str, label: str = "Stream users, export x") -> CsvFile:
    """A local file of some lines; the first is the header."""
    return CsvFile.open(io.BytesIO("".join(f"{line}\n" for line in lines).encode()), label)


SDC: dict[str, dict[str, Any]] = {
    "_sdc_export_id": {"type": "string"},
    "_sdc_exported_at": {"type": "string", "format": "date-time"},
    "_sdc_row_number": {"type": "integer"},
}
CONFIG: dict[str, Any] = {
    "changes_only": True,
    "emit_activate_version_messages": False,
    "max_deleted_percent": 50,
    "request_exports": False,
    "snapshots": "latest",
}


def load(of: Export | None = None, **facts: Any) -> Load:
    """The load of an export."""
    usual: dict[str, Any] = {
        "export": of or export("c", at(3)),
        "listed": [],
        "config": CONFIG,
        "state": RowState(),
        "catalog": StreamCatalog({}),
        "documented": {},
        "candidates": (),
        "deselected_parts": (),
        "is_full_table": False,
        "is_dry_run": False,
        "now": 1000,
        "logger": logging.getLogger("test"),
    }
    return Load(**{**usual, **facts})
