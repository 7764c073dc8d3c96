"""Catalog and state as they come in: validated, and with the credential deselected."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from singer_sdk.plugin_base import JSONSchemaValidator
from singer_sdk.singerlib import Schema
from singer_sdk.singerlib.catalog import Metadata

from tap_dynamic.api.exports import MODELS
from tap_dynamic.errors import TapError
from tap_dynamic.load.state import RowState
from tap_dynamic.schemas import SCHEMAS

if TYPE_CHECKING:
    from singer_sdk.singerlib import Catalog

STRINGS = {"type": "array", "items": {"type": "string"}}
STATE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "bookmarks": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "partitions": {"type": "array", "items": {"type": "object", "required": ["context"]}},
                    "progress_markers": {"type": "object"},
                },
            },
        }
    },
}
COLUMN: dict[str, Any] = {"$ref": "#/$defs/column"}
CATALOG_SCHEMA: dict[str, Any] = {
    "type": "object",
    "$defs": {
        "column": {
            "type": "object",
            "properties": {
                "type": {"type": ["string", "array"], "items": {"type": "string"}},
                "anyOf": {"type": "array", "items": COLUMN},
                "oneOf": {"type": "array", "items": COLUMN},
                "properties": {"type": "object", "additionalProperties": COLUMN},
                "items": COLUMN,
            },
        }
    },
    "required": ["streams"],
    "properties": {
        "streams": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tap_stream_id"],
                "properties": {
                    "tap_stream_id": {"type": "string"},
                    "stream": {"type": ["string", "null"]},
                    "key_properties": {**STRINGS, "type": ["array", "null"]},
                    "schema": {
                        "type": "object",
                        "properties": {
                            "properties": {"type": "object", "additionalProperties": {"$ref": "#/$defs/column"}}
                        },
                    },
                    "metadata": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["breadcrumb", "metadata"],
                            "properties": {
                                "breadcrumb": STRINGS,
                                "metadata": {
                                    "type": "object",
                                    "properties": {"table-key-properties": {**STRINGS, "type": ["array", "null"]}},
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}


def check_state(file: IO[str] | None) -> IO[str] | None:
    """Check the file of `--state`; return one like it, to be read."""
    checked = _checked(file, "state", STATE_SCHEMA, "Repair it, or run a full refresh.")
    if checked:
        bookmarks = json.loads(checked.getvalue()).get("bookmarks", {})
        for model in MODELS:
            RowState.parse(bookmarks.get(model, {}), f"bookmarks.{model}")
    return checked


def check_catalog(file: IO[str] | None) -> IO[str] | None:
    """Check the file of `--catalog`; return one like it, to be read."""
    return _checked(file, "catalog", CATALOG_SCHEMA, "Run the discovery again.")


def check_config(path: str) -> None:
    """Check a file of `--config`; `ENV` is none.

    Raises:
        TapError: If it can't be read.
    """
    if path == "ENV":
        return
    try:
        with Path(path).open(encoding="utf-8") as file:
            _checked(file, "config", {"type": "object"}, "Correct it.")
    except (OSError, ValueError):
        msg = "The file of --config can't be read. Check its path."
        raise TapError(msg) from None


def _refuse(constant: str) -> None:
    """Refuse NaN and infinite numbers, which are not JSON."""
    raise ValueError(constant)


def _checked(file: IO[str] | None, name: str, schema: dict[str, Any], advice: str) -> io.StringIO | None:
    if file is None:
        return None
    try:
        text = file.read()
        content = json.loads(text, parse_constant=_refuse)
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        msg = f"The {name} is corrupt: it is not JSON. {advice}"
        raise TapError(msg) from None
    for error in JSONSchemaValidator(schema).iter_errors(content):
        place = ".".join(str(part) for part in error.absolute_path) or "the top level"
        msg = f"The {name} is corrupt: {place} is not as it must be ({error.validator}). {advice}"
        raise TapError(msg)
    return io.StringIO(text)


def complete_exports(catalog: Catalog) -> None:
    """Give `exports` its schema and key, whatever shape the catalog has; `downloadUrl` must be selected explicitly."""
    entry = catalog.get_stream("exports")
    if entry is None:
        return
    entry.schema = Schema.from_dict(SCHEMAS.get_schema("exports"))
    entry.key_properties = ["id"]
    if not entry.metadata:
        entry.metadata.root.selected = True  # what the SDK reads into a catalog without metadata
    entry.metadata["properties", "id"].inclusion = Metadata.InclusionType.AUTOMATIC
    column = entry.metadata["properties", "downloadUrl"]
    if column.selected is not True:
        column.selected, column.inclusion = False, Metadata.InclusionType.AVAILABLE
