"""Columns, cells, and what a cell means."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Cells = dict[str, str]

MODELS = ("users", "visits")
KEYS = {"users": ("user_id", "verified_credential_id"), "visits": ("id",)}
COLUMNS = {
    "users": [
        *("user_email", "user_id", "user_lastVisit", "user_metadata"),
        *("verified_credential_address", "verified_credential_id", "verified_credential_signInEnabled"),
    ],
    "visits": ["address", "createdAt", "id"],
}
KINDS = {
    "user_lastVisit": "date-time",
    "createdAt": "date-time",
    "user_metadata": "object",
    "verified_credential_signInEnabled": "boolean",
}
"""The documented types of the columns that are not text."""

MARK = "c3ll"
"""Is in the text of many cells, and must be in no log line."""
ODD = f"{MARK} yesterday"
"""Reads as no documented type."""
MOMENT = datetime(2026, 3, 1, 4, 5, 6, tzinfo=timezone.utc)
VALUES: dict[str, dict[str, Any]] = {
    "date-time": {
        "2026-03-01T04:05:06.250Z": MOMENT + timedelta(seconds=0.25),
        "2026-03-01 04:05:06.5+00": MOMENT + timedelta(seconds=0.5),
        "2026-03-01 04:05:06": MOMENT,
        "2026-03-01T04:05:06+02:00": MOMENT - timedelta(hours=2),
        "": None,
    },
    "boolean": {"true": True, "f": False, "FALSE": False, "t": True, "": None},
    "object": {
        '{"plan": "pro", "n": [1, null]}': {"plan": "pro", "n": [1, None]},
        "{}": {},
        "null": None,
        json.dumps({"mood": f"{MARK} \ud83d!"}): {"mood": f"{MARK} \ufffd!"},
        "": None,
    },
}
"""What a cell means, for each type that is not text."""
TEXTS = [f"{MARK}, comma", f'{MARK} "quoted"', f"{MARK}\nsecond line", "007", "null", " blank ", "Zoë 王", ""]

FILTER = {"users": {"filterValue": MARK, "filterColumn": "email", "chain": ""}}
NO_FILTER = {"users": {"filterValue": "", "filterColumn": None}}


def cell(column: str, number: int) -> str:
    """A cell of a column; equal numbers give equal cells."""
    return ODD if number < 0 and column in KINDS else cells_of(column)[number % len(cells_of(column))]


def cells_of(column: str) -> list[str]:
    return list(VALUES[KINDS[column]]) if column in KINDS else TEXTS


def kind_of(schema: dict[str, Any]) -> str:
    """The type of a column in one word."""
    types = schema.get("type", "string")
    named = [types] if isinstance(types, str) else [kind for kind in types if kind != "null"]
    return str(schema.get("format", named[0]))


def differences(cells: Cells, record: dict[str, Any], properties: dict[str, Any], key: Iterable[str]) -> Iterator[str]:
    """Describe the columns of a record that do not hold what the cells of a row mean."""
    values = {name.casefold(): (value, properties.get(name, {}), name in key) for name, value in record.items()}
    for name, text in cells.items():
        if name.casefold() not in values:
            yield f"{name} lacks"
        elif not is_value(text, *values[name.casefold()]):
            yield f"{name}: {text!r} -> {values[name.casefold()][0]!r}"
    names = {name.casefold() for name in cells}
    for name, (value, _, _) in values.items():
        if name not in names and not name.startswith("_sdc_") and value is not None:
            yield f"{name}: nothing -> {value!r}"


def is_value(text: str, value: Any, schema: dict[str, Any], is_key: bool) -> bool:  # noqa: FBT001 (of a generator)
    """Whether a value is what a cell means under a schema."""
    kind = kind_of(schema)
    if is_key or kind == "string":
        return bool(value == (text if is_key else text or None))
    meaning = VALUES[kind].get(text, ODD)
    if kind == "date-time" and isinstance(value, str) and isinstance(meaning, datetime):
        return datetime.fromisoformat(value.replace("Z", "+00:00")) == meaning
    return bool(value == meaning)
