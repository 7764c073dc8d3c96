"""The types of columns: from the JSON schema of a column to its kind, and back to one spelling. All pure."""

from __future__ import annotations

from typing import Any

JSON_TYPE_NAMES = {"string", "integer", "number", "boolean", "object", "array", "null"}
JSON_KINDS = {"object", "array"}
"""Types whose cells are JSON."""
TEXT: dict[str, Any] = {"type": ["string", "null"]}


def type_of(schema: dict[str, Any]) -> str | None:
    """Return the kind that a column's JSON schema asks for, a key of `CONVERTERS`; None if it is not one of them."""
    schema, kinds = _without_null(schema)
    if kinds == {"string"}:
        kind = str(schema.get("format", "string"))
        return kind if kind in {"string", "date", "date-time"} else None
    kind = kinds.pop() if len(kinds) == 1 else ""
    return kind if kind in JSON_TYPE_NAMES else None


def canonical_schema(schema: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """Write the schema of a column in one spelling: a `type` list; a type that can't be converted to is text."""
    kind = type_of(schema) or "string"
    parts = nested_schema(_without_null(schema)[0]) if kind in JSON_KINDS else {}
    dated = {"format": kind} if kind in {"date", "date-time"} else {}
    name = "string" if dated else kind
    return {**parts, "type": [name, "null"] if nullable else name, **dated, **_described(schema)}


def nested_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Keep the types of the parts of an object or array; other constraints are not converted to, and dropped.

    Empty `properties` say nothing, but flattening would drop the column; some targets fail at `items` without a type.
    """
    kept: dict[str, Any] = {}
    if (parts := schema.get("properties")) and isinstance(parts, dict):
        kept["properties"] = {name: _part(part) for name, part in parts.items()}
    if isinstance(items := schema.get("items"), dict) and "type" in (part := _part(items)):
        kept["items"] = part
    return kept


def _part(schema: dict[str, Any]) -> dict[str, Any]:
    names = _type_names(schema)
    typed = {"type": schema["type"]} if names and JSON_TYPE_NAMES.issuperset(names) else {}
    return {**_described(schema), **typed, **nested_schema(schema)}


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in ("title", "description") if key in schema}


def _type_names(schema: dict[str, Any]) -> list[str]:
    types = schema.get("type", ())
    return [types] if isinstance(types, str) else [str(name) for name in types] if isinstance(types, list) else []


def _without_null(schema: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the one alternative of a schema that is not null, and its types."""
    for union in ("anyOf", "oneOf"):
        if isinstance(alternatives := schema.get(union), list):
            others = [a for a in alternatives if isinstance(a, dict) and a.get("type") not in ("null", ["null"])]
            if len(others) != 1 or "type" in schema:
                return schema, set()
            return _without_null(others[0])
    if isinstance(schema.get("enum"), list) or "const" in schema:
        return schema, set()  # a record might not fit
    return schema, set(_type_names(schema)) - {"null"}
