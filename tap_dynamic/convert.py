"""From cells to values, a column at a time, by the JSON schema of the column."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import msgspec

from tap_dynamic.exports import RFC3339_PATTERN

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
MOMENT_PATTERN = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:[.,]([0-9]+))?)?)?"
    r"(?: ?(Z|z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)
ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
UNREADABLE = (ValueError, LookupError, RecursionError, ArithmeticError)
"""What a converter raises for a cell that does not read as the type; msgspec's errors are ValueErrors."""


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
        raise ValueError
    return date.fromisoformat(cell).isoformat()


def to_datetime(cell: str) -> str:
    """Read a date-time of ISO 8601, UTC where it names no offset; write it as RFC 3339."""
    found = MOMENT_PATTERN.fullmatch(cell)
    if not found:
        raise ValueError
    day, hour, minute, second, fraction, offset = found.groups(default="")
    if offset in {"", "Z", "z", "UTC"}:
        offset = "+00:00"
    digits = offset[1:].replace(":", "").ljust(4, "0")
    offset = f"{offset[0]}{digits[:2]}:{digits[2:]}"
    if int(digits[2:]) >= 60:  # noqa: PLR2004 (minutes)
        raise ValueError
    text = f"{day}T{hour or '00'}:{minute or '00'}:{second or '00'}"
    datetime.fromisoformat(f"{text}{offset}").astimezone(timezone.utc)  # it exists
    return cell if RFC3339_PATTERN.fullmatch(cell) else f"{text}{'.' if fraction else ''}{fraction}{offset}"


def datetimes(cells: Sequence[str]) -> Sequence[Any]:
    """Pass RFC 3339 in UTC through, verified by one call for the column; otherwise convert each cell."""
    values = strings(cells)
    try:
        msgspec.convert(values, _MOMENTS)
    except msgspec.ValidationError:
        return each(to_datetime)(cells)
    text, count = "".join(cells), len(cells) - cells.count("")
    # msgspec also accepts other separators and offsets, but one `T` and one `Z` at most.
    return values if text.count("T") == count == text.count("Z") else each(to_datetime)(cells)


_MOMENTS = list[datetime | None]


def json_of(kind: type[Any]) -> Converter:
    """Make a converter to JSON objects or arrays, without escaped NUL characters, which SQL targets refuse."""
    decode = cast("Callable[[str], Any]", msgspec.json.Decoder(kind, float_hook=Decimal).decode)

    def convert(cell: str) -> Any:
        return decode(ESCAPED_NUL.sub(r"\1", cell) if "\\u0000" in cell else cell)

    return each(convert)


CONVERTERS: dict[str, Converter] = {
    "string": strings,
    "boolean": booleans,
    "integer": each(to_integer),
    "number": each(to_number),
    "date": each(to_date),
    "date-time": datetimes,
    "object": json_of(dict),
    "array": json_of(list),
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
    return kind if kind in CONVERTERS and "-" not in kind and kind != "date" else None


def canonical_schema(schema: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """Write the schema of a column in one spelling: a `type` list; a type that can't be converted to is text.

    Args:
        schema: The schema of the catalog.
        nullable: Whether cells can be empty.
    """
    kind = type_of(schema)
    described: dict[str, Any] = {name: schema[name] for name in ("title", "description") if name in schema}
    merged: dict[str, Any] = dict(_without_null(schema)[0]) if kind else {}
    merged.update(described)
    name = "string" if kind in {"date", "date-time", None} else str(kind)
    unions = ("anyOf", "oneOf")
    kept = {key: value for key, value in merged.items() if key not in unions}
    types: str | list[str] = [name, "null"] if nullable else name
    return {**kept, "type": types}


def _without_null(schema: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the one alternative of a schema that is not null, and its types."""
    for union in ("anyOf", "oneOf"):
        if isinstance(alternatives := schema.get(union), list):
            others = [a for a in alternatives if isinstance(a, dict) and a.get("type") not in ("null", ["null"])]
            if len(others) != 1 or "type" in schema:
                return schema, set()
            return _without_null(others[0])
    types = schema.get("type", ())
    names = [types] if isinstance(types, str) else list(types)
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
