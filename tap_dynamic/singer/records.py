"""Records of stream maps: what maps and flattening made of a record, fitted to the schema that the SDK sends."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from singer_sdk.mapper import RemoveRecordTransform

from tap_dynamic.datetimes import to_rfc3339
from tap_dynamic.table.columns import DELETED_AT
from tap_dynamic.table.convert import json_text, to_date

if TYPE_CHECKING:
    from collections.abc import Sequence

    from singer_sdk.mapper import StreamMap

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


def fit_record(record: dict[str, Any], schema: dict[str, Any], key: Sequence[str]) -> dict[str, Any]:
    """Fit what maps and flattening made of a record to the schema that the SDK guessed for it.

    Args:
        record: The record.
        schema: The schema of its SCHEMA message.
        key: The key properties.

    Returns:
        The declared properties; text where text is declared.

    Raises:
        ValueError: If a value can't be fitted, or a key is missing or null; the text names the property.
    """
    properties = schema["properties"]
    fitted = {name: fit_value(name, value, properties[name]) for name, value in record.items() if name in properties}
    for name in key:
        if fitted.get(name) is None:
            msg = f"key property {name!r} is null"
            raise ValueError(msg)
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
    if kind == "string" and schema.get("format") == "date-time":
        return to_rfc3339(value)
    if kind == "string" and schema.get("format") == "date":
        return to_date(value)
    if kind in allowed or (kind == "integer" and "number" in allowed):
        return value
    if "string" in allowed and kind != "null":
        is_nested = kind in {"object", "array"}
        return json_text(value) if is_nested or kind == "boolean" else str(value)
    msg = f"property {name!r} is declared as {' or '.join(sorted(allowed))}, but its value is {kind or 'another type'}"
    raise ValueError(msg)


def map_problem(stream_map: StreamMap, layout: Layout) -> str | None:
    """Say why a stream map can't be applied to a layout; None if it can."""
    columns = set(stream_map.transformed_schema["properties"])
    if isinstance(stream_map, RemoveRecordTransform):
        return None
    if not columns.issuperset(stream_map.transformed_key_properties or ()):
        return "flattening renames key columns. Raise flattening_max_key_length."
    if DELETED_AT in layout.sdc_columns and DELETED_AT not in columns and stream_map.flattening_enabled:
        return f"flattening renames {DELETED_AT}. Raise flattening_max_key_length."
    if DELETED_AT in layout.sdc_columns and DELETED_AT not in columns:
        return f"a stream map drops {DELETED_AT}: deleted rows would look as if they were not."
    return None
