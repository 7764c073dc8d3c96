"""From cells to values, a column at a time, by the JSON schema of the column."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import msgspec

from tap_dynamic.datetimes import to_rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Converter = Callable[[Sequence[str]], Sequence[Any]]

BOOLEANS: dict[str, bool | None] = {
    "": None,
    **dict.fromkeys(("true", "True", "TRUE", "t", "1"), True),
    **dict.fromkeys(("false", "False", "FALSE", "f", "0"), False),
}
INTEGER_PATTERN = re.compile(r"[+-]?[0-9]{1,19}")
NUMBER_PATTERN = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
DATE_PATTERN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
LARGE_JSON = 1 << 19
"""Characters above which JSON is verified and passed on as it is: objects take 24 times the memory of their text."""
JSON_TYPE_NAMES = {"string", "integer", "number", "boolean", "object", "array", "null"}
ARRAY_KINDS = {"string": "array of strings", "object": "array of objects"}
"""Arrays of nullable items of one type, which msgspec verifies as it decodes."""
JSON_KINDS = {"object", "array", *ARRAY_KINDS.values()}
"""Types whose cells are JSON."""
UNREADABLE = (ValueError, LookupError, RecursionError, ArithmeticError, msgspec.MsgspecError)
"""What a converter raises for a cell that does not read as the type; msgspec's errors are ValueErrors since 0.21."""


def strings(cells: Sequence[str]) -> Sequence[Any]:
    """Keep text as it is."""
    return [cell or None for cell in cells] if "" in cells else cells


def booleans(cells: Sequence[str]) -> Sequence[Any]:
    """Read true and false in the spellings of `BOOLEANS`."""
    return list(map(BOOLEANS.__getitem__, cells))


def each(convert: Callable[[str], Any]) -> Converter:
    """Make a converter of a column from one of a cell."""
    return lambda cells: [convert(cell) if cell else None for cell in cells]


def to_integer(cell: str) -> int:
    """Read an integer of 64 bits."""
    if not INTEGER_PATTERN.fullmatch(cell) or not -(2**63) <= int(cell) < 2**63:
        raise ValueError
    return int(cell)


def to_number(cell: str) -> Decimal:
    """Read a number exactly."""
    if not NUMBER_PATTERN.fullmatch(cell):
        raise ValueError
    return Decimal(cell)


def to_date(cell: str) -> str:
    """Read an ISO 8601 date."""
    if not DATE_PATTERN.fullmatch(cell):
        msg = "not a date"
        raise ValueError(msg)
    return date.fromisoformat(cell).isoformat()


def datetimes(cells: Sequence[str]) -> Sequence[Any]:
    """Pass RFC 3339 in UTC through, verified by one call for the column; otherwise convert each cell."""
    values = strings(cells)
    try:
        msgspec.convert(values, _MOMENTS)
    except msgspec.ValidationError:
        return each(to_rfc3339)(cells)
    text, count = "".join(cells), len(cells) - cells.count("")
    # msgspec also accepts other separators and offsets, but one `T` and one `Z` at most.
    return values if text.count("T") == count == text.count("Z") else each(to_rfc3339)(cells)


_MOMENTS = list[datetime | None]


verify_json = msgspec.json.Decoder(msgspec.Raw).decode


def verify_strings(text: str) -> None:
    """Verify that JSON is an array of strings, without an object for each."""
    verify_json(text)
    outside = re.sub('"[^"]*"', "", text.replace("\\\\", "").replace('\\"', ""))
    if outside.count("[") != 1 or not set(outside) <= set("[], \t\r\nnul"):
        raise ValueError


class _AnyObject(msgspec.Struct, gc=False):
    """Any JSON object, verified but not kept: a dict takes four times the memory."""


def json_of(first: str, kind: Any, verify: Callable[[str], object] = verify_json) -> Converter:
    """Make a converter to JSON objects or arrays, without escaped NUL characters, which SQL targets refuse.

    Args:
        first: The character that they begin with.
        kind: What a cell is decoded to.
        verify: Verifies a large cell, which is not decoded.
    """
    decode = cast("Callable[[str], Any]", msgspec.json.Decoder(kind, float_hook=Decimal).decode)

    def convert(cell: str) -> Any:
        clean = ESCAPED_NUL.sub(r"\1", cell) if "\\u0000" in cell else cell
        if len(clean) < LARGE_JSON:
            return decode(clean)
        if clean.lstrip()[:1] != first:
            raise ValueError
        verify(clean)
        # A line break is only white space here, and would end the line of a record.
        return msgspec.Raw(clean.replace("\n", " ").replace("\r", " ").encode())

    return each(convert)


_encode = msgspec.json.Encoder(decimal_format="number").encode


def json_text(value: Any) -> str:
    """Write a JSON value as text, with its numbers as they are."""
    return _encode(value).decode()


def decoded(value: Any) -> Any:
    """Return the object that a large JSON cell holds; other values as they are."""
    return msgspec.json.Decoder(float_hook=Decimal).decode(value) if isinstance(value, msgspec.Raw) else value


CONVERTERS: dict[str, Converter] = {
    "string": strings,
    "boolean": booleans,
    "integer": each(to_integer),
    "number": each(to_number),
    "date": each(to_date),
    "date-time": datetimes,
    "object": json_of("{", dict),
    "array": json_of("[", list),
    "array of strings": json_of("[", list[str | None], verify_strings),
    "array of objects": json_of("[", list[dict[str, Any] | None], msgspec.json.Decoder(list[_AnyObject | None]).decode),
}
"""For each type: all cells of a column to values. An empty cell is None."""

TEXT: dict[str, Any] = {"type": ["string", "null"]}


def type_of(schema: dict[str, Any]) -> str | None:
    """Return the type that a column's JSON schema asks for, a key of `CONVERTERS`; None if it is not one of them."""
    schema, kinds = _without_null(schema)
    if kinds == {"string"}:
        kind = str(schema.get("format", "string"))
        return kind if kind in {"string", "date", "date-time"} else None
    kind = kinds.pop() if len(kinds) == 1 else ""
    if kind == "array":
        return _array_kind(nested_schema(schema).get("items", {}))
    return kind if kind in JSON_TYPE_NAMES else None


def _array_kind(items: dict[str, Any]) -> str:
    """Return the type of an array by the schema of its items."""
    name = next((name for name in ARRAY_KINDS if set(items.get("type", ())) == {name, "null"}), "")
    return "array" if "properties" in items else ARRAY_KINDS.get(name, "array")


def canonical_schema(schema: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """Write the schema of a column in one spelling: a `type` list; a type that can't be converted to is text.

    Args:
        schema: The schema of the catalog.
        nullable: Whether cells can be empty.
    """
    kind = type_of(schema)
    inner = _without_null(schema)[0] if kind in JSON_KINDS else {}
    name = "string" if kind in {"date", "date-time", None} else str(kind).split()[0]
    types: str | list[str] = [name, "null"] if nullable else name
    described: dict[str, Any] = {key: schema[key] for key in ("title", "description") if key in schema}
    dated = {"format": kind} if kind in {"date", "date-time"} else {}
    return {**nested_schema(inner), "type": types, **dated, **described}


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
    kept: dict[str, Any] = {key: schema[key] for key in ("title", "description") if key in schema}
    types = schema.get("type")
    names = [types] if isinstance(types, str) else types if isinstance(types, list) else []
    if names and JSON_TYPE_NAMES.issuperset(map(str, names)):
        kept["type"] = types
    return {**kept, **nested_schema(schema)}


def _without_null(schema: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the one alternative of a schema that is not null, and its types."""
    for union in ("anyOf", "oneOf"):
        if isinstance(alternatives := schema.get(union), list):
            others = [a for a in alternatives if isinstance(a, dict) and a.get("type") not in ("null", ["null"])]
            if len(others) != 1 or "type" in schema:
                return schema, set()
            return _without_null(others[0])
    types = schema.get("type", ())
    names = [types] if isinstance(types, str) else list(types) if isinstance(types, (list, tuple)) else []
    if isinstance(schema.get("enum"), list) or "const" in schema:
        names = []  # a record might not fit
    return schema, {str(name) for name in names} - {"null"}


def matches_type(kind: str, cells: Sequence[str]) -> bool:
    """Whether every cell reads as a type; empty ones read as any."""
    try:
        CONVERTERS[kind](cells)
    except UNREADABLE:
        return False
    return True


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
