"""Stream maps and flattening: whether they fit a layout, and their records fitted to the schema that the SDK sends."""

from __future__ import annotations

import contextlib
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from singer_sdk.exceptions import StreamMapConfigError
from singer_sdk.mapper import PluginMapper, RemoveRecordTransform

from tap_dynamic.datetimes import to_rfc3339
from tap_dynamic.redaction import first_line
from tap_dynamic.table.columns import DELETED_AT
from tap_dynamic.table.convert import json_text, to_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tap_dynamic.table.layout import Layout

JSON_TYPES: tuple[tuple[type[Any], str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (Decimal, "number"),
    (str, "string"),
    (dict, "object"),
    (list, "array"),
)
FORMATS = {"date-time": to_rfc3339, "date": to_date}


class UnfitError(ValueError):
    """A record that does not fit its schema; the text names the property, not the value."""


def fit_record(record: dict[str, Any], schema: dict[str, Any], key: Sequence[str]) -> dict[str, Any]:
    """Fit what maps and flattening made of a record to the schema that the SDK guessed for it.

    Returns:
        The declared properties; text where text is declared.

    Raises:
        UnfitError: If a value can't be fitted, or a key is missing or null.
    """
    properties = schema["properties"]
    fitted = {name: fit_value(name, value, properties[name]) for name, value in record.items() if name in properties}
    for name in key:
        if fitted.get(name) is None:
            msg = f"key property {name!r} is null"
            raise UnfitError(msg)
    return fitted


def fit_value(name: str, value: Any, schema: dict[str, Any]) -> Any:
    """Fit one value; see `fit_record`."""
    types = schema.get("type")
    if types is None:
        return value
    allowed = {types} if isinstance(types, str) else set(types)
    kind = "null" if value is None else next((kind for of, kind in JSON_TYPES if isinstance(value, of)), "")
    if isinstance(value, date):
        moment = value if not isinstance(value, datetime) or value.tzinfo else value.replace(tzinfo=timezone.utc)
        value, kind = moment.isoformat(), "string"
    if kind == "string" and (form := schema.get("format")) in FORMATS:
        with contextlib.suppress(ValueError):
            return FORMATS[form](value)
        allowed = {form}
    elif kind in allowed or (kind == "integer" and "number" in allowed):
        return value
    elif "string" in allowed and kind != "null":
        return json_text(value) if kind in {"object", "array", "boolean"} else str(value)
    msg = f"property {name!r} is declared as {' or '.join(sorted(allowed))}, but its value is {kind or 'another type'}"
    raise UnfitError(msg)


def drop_parts(record: dict[str, Any], paths: Iterable[Sequence[str]]) -> None:
    """Remove columns and parts of objects, in place, by their breadcrumbs in a catalog."""
    for path in paths:
        *parents, name = path[1::2]
        node: Any = record
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(name, None)


def register_maps(mapper: PluginMapper, stream: str, layout: Layout) -> str | None:
    """Apply the stream maps to a layout; say why they can't be applied, if so."""
    try:
        mapper.register_raw_stream_schema(stream, layout.schema, list(layout.key))
    except StreamMapConfigError as error:
        return f"stream_maps can't be applied to its columns: {first_line(error)}"
    except ValueError:  # of the SDK's flattening
        return "flattening gives two columns one name. Raise flattening_max_key_length, or change flattening_separator."
    for stream_map in mapper.stream_maps[stream]:
        if isinstance(stream_map, RemoveRecordTransform):
            continue
        columns = set(stream_map.transformed_schema["properties"])
        if not columns.issuperset(stream_map.transformed_key_properties or ()):
            return "flattening renames key columns. Raise flattening_max_key_length."
        if DELETED_AT in layout.sdc_columns and DELETED_AT not in columns:
            if stream_map.flattening_enabled:
                return f"flattening renames {DELETED_AT}. Raise flattening_max_key_length."
            return f"a stream map drops {DELETED_AT}: deleted rows would look as if they were not."
    return None
