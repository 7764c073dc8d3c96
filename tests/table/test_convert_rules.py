"""Rules of types.py, convert.py and records.py: the types of columns, and from cells to values."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from rfc3339_validator import validate_rfc3339  # type: ignore[import-untyped]

from tap_dynamic.datetimes import parse_datetime
from tap_dynamic.errors import TapError
from tap_dynamic.singer.records import fit_record, fit_value
from tap_dynamic.table.convert import (
    CONVERTERS,
    MAX_JSON,
    UNREADABLE,
    convert_rows,
    count_repairs,
    json_text,
    reads_as,
)
from tap_dynamic.table.layout import Column
from tap_dynamic.table.types import JSON_KINDS, canonical_schema, type_of

Schema = dict[str, Any]
TYPES: dict[str, Schema] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "object": {"type": "object"},
    "array": {"type": "array"},
    "date": {"type": "string", "format": "date"},
    "date-time": {"type": "string", "format": "date-time"},
}
NULL: Schema = {"type": "null"}


def spellings(schema: Schema) -> dict[str, Schema]:
    """The same type, alone and in a union with null, in every spelling."""
    name = schema["type"]
    listed = {**schema, "type": [name]}
    nullable = {**schema, "type": [name, "null"]}
    return {
        "a name": schema,
        "a list": listed,
        "a list with null": nullable,
        "a list with null first": {**schema, "type": ["null", name]},
        "anyOf": {"anyOf": [schema, NULL]},
        "anyOf, null first": {"anyOf": [NULL, schema]},
        "anyOf, null as a list": {"anyOf": [listed, {"type": ["null"]}]},
        "anyOf of a nullable type": {"anyOf": [nullable, NULL]},
        "anyOf of one": {"anyOf": [schema]},
        "oneOf": {"oneOf": [schema, NULL]},
        "oneOf, null first": {"oneOf": [NULL, schema]},
        "nested unions": {"oneOf": [{"anyOf": [schema, NULL]}, NULL]},
        "with a title": {"title": "T", "description": "D", "anyOf": [schema, NULL]},
    }


def kinds(schema: Schema) -> set[str]:
    """The names in `type`, whether it is a list or not."""
    names = schema["type"]
    return {names} if isinstance(names, str) else set(names)


CASES = [(kind, spelling, s) for kind, schema in TYPES.items() for spelling, s in spellings(schema).items()]


@pytest.mark.parametrize(("kind", "_spelling", "schema"), CASES, ids=[f"{k}-{s}" for k, s, _ in CASES])
def test_a_type_in_any_spelling(kind: str, _spelling: str, schema: Schema) -> None:
    before = json.dumps(schema)
    assert type_of(schema) == kind
    for nullable in (True, False):
        canonical = canonical_schema(schema, nullable=nullable)
        assert type_of(canonical) == kind
        assert kinds(canonical) == {TYPES[kind]["type"]} | ({"null"} if nullable else set())
        assert canonical.get("format") == TYPES[kind].get("format")
        assert not {"anyOf", "oneOf"} & set(canonical)
        for name in ("title", "description"):
            assert canonical.get(name) == schema.get(name)
    assert json.dumps(schema) == before  # the catalog is left as it was


TEXT_INSTEAD: dict[str, Schema] = {
    "no type": {},
    "null alone": {"type": "null"},
    "an empty list": {"type": []},
    "null instead of a type": {"type": None},
    "a number instead of a type": {"type": 5},
    "an object instead of a type": {"type": {"name": "integer"}},
    "another case": {"type": "Integer"},
    "a format as type": {"type": "date-time"},
    "two types and null": {"type": ["integer", "number", "null"]},
    "another format": {"type": "string", "format": "uuid"},
    "null as format": {"type": "string", "format": None},
    "anyOf of two types": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    "anyOf of a date-time and text": {"anyOf": [TYPES["date-time"], {"type": ["string", "null"]}]},
    "anyOf of null": {"anyOf": [NULL]},
    "anyOf of no schemas": {"anyOf": [True, 5, None]},
    "anyOf that is no list": {"anyOf": "integer"},
    "oneOf of three": {"oneOf": [{"type": "integer"}, {"type": "number"}, NULL]},
    "allOf": {"allOf": [{"type": "integer"}]},
    "an enumeration of texts": {"type": "string", "enum": ["a", "b"]},
    "a constant": {"type": "integer", "const": 1},
}


@pytest.mark.parametrize("schema", TEXT_INSTEAD.values(), ids=TEXT_INSTEAD)
def test_any_other_type_is_emitted_as_text(schema: Schema) -> None:
    assert type_of(schema) in {None, "string"}
    for nullable in (True, False):
        canonical = canonical_schema({**schema, "title": "T"}, nullable=nullable)
        assert kinds(canonical) == ({"string", "null"} if nullable else {"string"})
        assert canonical.get("title") == "T"
        assert type_of(canonical) == "string"
        assert Draft7Validator(canonical).is_valid("any text")


FITTING: dict[str, tuple[Schema, str]] = {
    # What a user's schema restricts beyond the type that is converted to.
    "a minimum": ({"type": ["integer", "null"], "minimum": 5}, "3"),
    "a length": ({"type": ["string", "null"], "maxLength": 2}, "long"),
    "a pattern": ({"type": ["string", "null"], "pattern": "^x"}, "y"),
    "a constant": ({"type": ["integer", "null"], "const": 1}, "2"),
    "required properties": ({"type": ["object", "null"], "required": ["a"]}, "{}"),
    "a number of items": ({"type": ["array", "null"], "minItems": 1}, "[]"),
    "around a union": ({"anyOf": [{"type": "integer"}, NULL], "not": {"const": 3}}, "3"),
}


@pytest.mark.parametrize(("schema", "cell"), FITTING.values(), ids=FITTING)
def test_a_value_fits_the_schema_that_is_sent(schema: Schema, cell: str) -> None:
    values = CONVERTERS[type_of(schema) or "string"]([cell, ""])
    validator = Draft7Validator(canonical_schema(schema, nullable=True))
    for value in json.loads(msgspec.json.Encoder(decimal_format="number").encode(list(values))):
        assert validator.is_valid(value)


PARTS: dict[str, tuple[Schema, str, bool]] = {
    # name: (schema, cell, whether it reads as the type): types of parts matter, other constraints are not sent
    "a property": ({"type": "object", "properties": {"a": {"type": "string"}}}, '{"a": "x"}', True),
    "a property of another type": ({"type": "object", "properties": {"a": {"type": "string"}}}, '{"a": 1}', False),
    "a property that is missing": ({"type": "object", "properties": {"a": {"type": "string"}}}, "{}", True),
    "another property": ({"type": "object", "properties": {"a": {"type": "string"}}}, '{"b": 1}', True),
    "a short property": ({"type": "object", "properties": {"a": {"minLength": 9}}}, '{"a": "x"}', True),
    "a number": ({"type": "object", "properties": {"a": {"type": "number"}}}, '{"a": 0.10}', True),
    "a property of a property": (
        {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "integer"}}}}},
        '{"a": {"b": "x"}}',
        False,
    ),
    "items": ({"type": "array", "items": {"type": "string"}}, '["x", "y"]', True),
    "items of another type": ({"type": "array", "items": {"type": "string"}}, '["x", 1]', False),
}


@pytest.mark.parametrize(("schema", "cell", "is_read"), PARTS.values(), ids=PARTS)
def test_the_types_of_parts_of_a_value(schema: Schema, cell: str, *, is_read: bool) -> None:
    canonical = canonical_schema(schema, nullable=True)
    column = Column("x", 0, str(type_of(schema)), nested=canonical)
    if not is_read:
        with pytest.raises(TapError, match=f"row 8: the cell of column 'x' does not read as {column.kind}"):
            convert_rows("users", [column], [7, 8], [[""], [cell]])
        return
    (values,) = convert_rows("users", [column], [7, 8], [[""], [cell]])
    for value in json.loads(msgspec.json.Encoder(decimal_format="number").encode(list(values))):
        assert Draft7Validator(canonical).is_valid(value)


ITEMS: dict[str, tuple[Any, Schema | None]] = {
    # name: (items in the catalog, items in the SCHEMA)
    "null first": ({"type": ["null", "string"]}, {"type": ["null", "string"]}),
    "described": (
        {"type": ["string", "null"], "title": "T"},
        {"type": ["string", "null"], "title": "T"},
    ),
    "restricted": ({"type": ["string", "null"], "format": "date"}, {"type": ["string", "null"]}),
    "not nullable": ({"type": "string"}, {"type": "string"}),
    "two types": ({"type": ["object", "string", "null"]}, {"type": ["object", "string", "null"]}),
    "with properties": (
        {"type": ["object", "null"], "properties": {"a": {"type": "string"}}},
        {"type": ["object", "null"], "properties": {"a": {"type": "string"}}},
    ),
    "without properties": (
        {"type": ["object", "null"], "properties": {}},
        {"type": ["object", "null"]},
    ),
    "arrays": (
        {"type": "array", "items": {"type": "integer"}},
        {"type": "array", "items": {"type": "integer"}},
    ),
    # Strict targets fail at items without a type, and load an array without items as JSON.
    "of any type": ({}, None),
    "true": (True, None),
    "false": (False, None),
    "null": (None, None),
    "one for each place": ([{"type": "string"}], None),
    "a union": ({"anyOf": [{"type": "string"}, NULL]}, None),
    "an unknown type": ({"type": ["text", "null"]}, None),
    "a malformed type": ({"type": [["string"], {}]}, None),
}


@pytest.mark.parametrize(("items", "sent"), ITEMS.values(), ids=ITEMS)
def test_items_of_an_array(items: Any, sent: Schema | None) -> None:
    schema = {"type": ["array", "null"], "items": items}
    assert type_of(schema) == "array"
    assert canonical_schema(schema, nullable=True).get("items") == sent
    assert canonical_schema({"anyOf": [{**schema, "type": "array"}, NULL]}, nullable=True).get("items") == sent


def test_parts_only_where_they_are() -> None:
    leftover = {"items": {"type": "string"}, "properties": {"a": {"type": "string"}}}
    for kind in ("string", "integer", "boolean"):  # the type of a documented array, changed by Meltano's `schema`
        assert set(canonical_schema({"type": [kind, "null"], **leftover}, nullable=True)) == {"type"}
    # Flattening would drop a column that has properties, but none by name.
    assert set(canonical_schema({"type": "object", "properties": {}}, nullable=True)) == {"type"}


# --- cells

READ: dict[str, list[tuple[str, Any]]] = {
    # An empty cell is null, whatever the type.
    "string": [("", None), ("a", "a"), (" a ", " a "), ("null", "null"), ("NULL", "NULL"), ("\u00e9\n", "\u00e9\n")],
    "boolean": [
        ("", None),
        *((cell, True) for cell in ("true", "True", "TRUE", "t", "1")),
        *((cell, False) for cell in ("false", "False", "FALSE", "f", "0")),
    ],
    "integer": [
        *[("", None), ("0", 0), ("-1", -1), ("+1", 1), ("007", 7), ("-0", 0)],
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
    "number": [
        *[("", None), ("1", 1), ("-1.50", Decimal("-1.50")), ("+.5", Decimal("0.5")), ("5.", 5), ("1e3", 1000)],
        ("0.1", Decimal("0.1")),
        ("12345678901234567890.123456789", Decimal("12345678901234567890.123456789")),
    ],
    "date": [("", None), ("2021-01-02", "2021-01-02"), ("2020-02-29", "2020-02-29")],
    "object": [
        *[("", None), ("null", None), (" null\n", None), ("{}", {}), ('{"a": [1, null]}', {"a": [1, None]})],
        ('{"a": 0.10}', {"a": Decimal("0.10")}),
        ('{"a": "x\\u0000y"}', {"a": "xy"}),  # SQL targets refuse NUL characters
        ('{"a": "\\\\u0000"}', {"a": "\\u0000"}),  # this is none
        ('{"a\\u0000": 1}', {"a": 1}),
    ],
    "array": [("", None), (" null ", None), ("[]", []), ('["x\\u0000"]', ["x"]), ("[[1], {}]", [[1], {}])],
    "date-time": [
        ("", None),
        # RFC 3339 stays as it is.
        ("2021-01-02T03:04:05Z", "2021-01-02T03:04:05Z"),
        ("2021-01-02T03:04:05.123456789+02:00", "2021-01-02T03:04:05.123456789+02:00"),
        ("2021-01-02", "2021-01-02T00:00:00+00:00"),
        ("2021-01-02 03:04:05.5", "2021-01-02T03:04:05.5+00:00"),
        ("2021-01-02t03:04:05z", "2021-01-02T03:04:05+00:00"),
        ("2021-01-02 03:04:05-0330", "2021-01-02T03:04:05-03:30"),
        # PostgreSQL's spelling.
        ("2025-01-02 03:04:05.678+00", "2025-01-02T03:04:05.678+00:00"),
        ("2025-01-02 03:04:05+00", "2025-01-02T03:04:05+00:00"),
        ("2025-01-02 03:04:05+05:30", "2025-01-02T03:04:05+05:30"),
        ("2025-01-02T03:04:05+00:00", "2025-01-02T03:04:05+00:00"),
    ],
}
UNREAD: dict[str, list[str]] = {
    "string": [],
    "boolean": ["yes", "no", "2", " true", "null", "on", "wahr"],
    "integer": [
        *["1.0", "1e3", " 1", "1 ", "1_000", "1,000", "0x1", "--1", "-", "\u0663", "a"],
        *["9223372036854775808", "-9223372036854775809"],
    ],
    "number": ["NaN", "nan", "inf", "-Infinity", "1,5", "1_0", " 1", ".", "1.2.3", "1e", "\u0663", "1e9999999999"],
    "date": ["2021-02-29", "2021-1-2", "20210102", "2021-01-02T00:00:00", " 2021-01-02", "2021-W01-1", "0000-01-01"],
    "object": ["[]", "NULL", "1", '"x"', "{'a': 1}", '{"a": NaN}', '{"a": 1}x', "{", '{"a": "\\ud8"}', "{" * 9000],
    "array": ["{}", "nul", "null null", '"null"', "a,b", "[1", "[1,]", "[{}", "[NaN]", '[{"a": NaN}]', "[" * 9000],
    "date-time": [
        *["now", "12:30", "2021", "1609556645", "Fri Jan 02 2026", "2021-02-30", "2021-01-02T25:00:00Z"],
        *["0000-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00", "2021-01-02T03:04:05\n", "2021-01-02T03:04:05+24:00"],
        *["2025-02-30 03:04:05+00", "2025-01-02 03:04:05+00\n", "2025-01-02 03:04:05,5+0", "infinity"],
    ],
}


def test_every_type_has_its_cases() -> None:
    assert set(READ) == set(UNREAD) == set(CONVERTERS) == set(TYPES)


@pytest.mark.parametrize(("kind", "cell", "value"), [(k, *case) for k, cases in READ.items() for case in cases])
def test_a_cell_that_reads_as_its_type(kind: str, cell: str, value: Any) -> None:
    expected = [value, None, value]
    assert list(CONVERTERS[kind]([cell, "", cell])) == expected
    assert list(CONVERTERS[kind]([cell])) == [value]
    assert type(CONVERTERS[kind]([cell])[0]) in {type(value), Decimal}
    assert reads_as(kind, [cell, ""])


@pytest.mark.parametrize(
    ("kind", "cell"), [(k, cell) for k, cells in UNREAD.items() for cell in cells], ids=lambda text: ascii(text)[:40]
)
def test_a_cell_that_does_not_read_as_its_type(kind: str, cell: str) -> None:
    good = READ[kind][-1][0]
    for cells in ([cell], [good, cell], ["", cell, good]):
        assert not reads_as(kind, cells)
        with pytest.raises(UNREADABLE):
            CONVERTERS[kind](cells)


@pytest.mark.parametrize("kind", sorted(JSON_KINDS))
def test_json_over_1_mib_is_refused_with_its_row(kind: str) -> None:
    start, end = ("{", "}") if kind == "object" else ("[", "]")
    cell = start + " " * (MAX_JSON - 2) + end
    assert CONVERTERS[kind]([cell])[0] in ({}, [])
    rows = [["", cell], [cell + " ", ""]]
    with pytest.raises(TapError, match=f"row 8: the cell of column 'x' is over 1 MiB, too large for {kind}"):
        convert_rows("users", [Column("x", 0, kind)], [7, 8], rows)
    (values,) = convert_rows("users", [Column("x", 0, "string")], [7, 8], rows)
    assert values[1] == cell + " "


REPAIRS: list[tuple[str, Any, tuple[int, int]]] = [
    # (cell of an object, its value, NUL characters and unpaired surrogates)
    ('{"a": "\\u0000"}', {"a": ""}, (1, 0)),
    ('{"a": "x\\u0000\\u0000y", "\\u0000": 1}', {"a": "xy", "": 1}, (3, 0)),
    ('{"a": "\\ud83d"}', {"a": "\ufffd"}, (0, 1)),
    ('{"a": "\\uDE00 \\uD83D"}', {"a": "\ufffd \ufffd"}, (0, 2)),
    ('{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}, (0, 0)),
    ('{"a": "\\ud83d\\ud83d\\ude00"}', {"a": "\ufffd\U0001f600"}, (0, 1)),
    ('{"a": "\\ude00\\ud83d"}', {"a": "\ufffd\ufffd"}, (0, 2)),
    ('{"a": "\\ud83d\\u0041"}', {"a": "\ufffdA"}, (0, 1)),
    ('{"a": "\\ud83d\\u0000\\ude00"}', {"a": "\ufffd\ufffd"}, (1, 2)),
    ('{"a": "\\\\ud83d\\\\u0000"}', {"a": "\\ud83d\\u0000"}, (0, 0)),  # escaped backslashes
    ('{"a": "\\\\\\ud83d"}', {"a": "\\\ufffd"}, (0, 1)),
    ('{"\\ud83d": [{"b": "\\udfff"}]}', {"\ufffd": [{"b": "\ufffd"}]}, (0, 2)),
    ("null", None, (0, 0)),
]


@pytest.mark.parametrize(("cell", "value", "counts"), REPAIRS, ids=lambda value: ascii(value)[:40])
def test_what_json_can_escape_and_targets_can_not_write(cell: str, value: Any, counts: tuple[int, int]) -> None:
    assert CONVERTERS["object"]([cell, ""]) == [value, None]
    assert CONVERTERS["array"]([f"[{cell}]"]) == [[value]]
    assert count_repairs(["", cell, "{}", cell]) == tuple(2 * count for count in counts)
    assert CONVERTERS["string"]([cell]) == [cell]


@settings(deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(["\\ud83d", "\\ude00", "\\u0000", "\\\\", "u", "\\n", "d83d", "\\u0041"]), max_size=9
    )
)
def test_repaired_json_can_be_written_everywhere(parts: list[str]) -> None:
    cell = '{"a": "' + "".join(parts) + '"}'
    expected = json.loads(cell)["a"]
    nuls, surrogates = count_repairs([cell])
    found = CONVERTERS["object"]([cell])[0]["a"]
    assert "\0" not in found
    found.encode()
    assert expected.count("\0") == nuls
    assert found.count("\ufffd") == surrogates == sum("\ud800" <= character <= "\udfff" for character in expected)


@pytest.mark.parametrize("kind", CONVERTERS)
def test_columns_without_rows_or_content(kind: str) -> None:
    assert list(CONVERTERS[kind]([])) == []
    assert list(CONVERTERS[kind](["", ""])) == [None, None]
    assert reads_as(kind, [])


@pytest.mark.parametrize("kind", CONVERTERS)
def test_every_value_fits_its_schema_once_encoded(kind: str) -> None:
    validator = Draft7Validator(canonical_schema(TYPES[kind], nullable=True))
    values = CONVERTERS[kind]([cell for cell, _ in READ[kind]])
    for value in json.loads(msgspec.json.Encoder(decimal_format="number").encode(list(values))):
        assert validator.is_valid(value)


def test_numbers_in_json_text_are_as_they_were() -> None:
    cell = '{"a":[0.10,{"b":-1.50}],"c":12345678901234567890.123456789}'
    value = CONVERTERS["object"]([cell])[0]
    assert json_text(value) == cell
    assert fit_value("x", value, {"type": ["string", "null"]}) == cell
    assert fit_value("x", value["a"], {"type": "string"}) == '[0.10,{"b":-1.50}]'


# --- RFC 3339


@settings(deadline=None)
@given(
    moment=st.datetimes(timezones=st.sampled_from([timezone.utc, None])),
    separator=st.sampled_from("T "),
    others=st.lists(st.sampled_from(["", "2021-01-02T03:04:05Z", "2021-01-02 03:04:05+00", "2021-01-02T03:04:05z"])),
)
def test_the_instant_of_a_date_time_is_kept(moment: datetime, separator: str, others: list[str]) -> None:
    text = moment.isoformat(separator)
    values = CONVERTERS["date-time"]([*others, text])
    assert all(value is None or validate_rfc3339(value) for value in values)
    assert parse_datetime(values[-1]) == moment.replace(tzinfo=timezone.utc)


@settings(deadline=None)
@given(cells=st.lists(st.text(max_size=30)), kind=st.sampled_from(sorted(CONVERTERS)))
def test_a_column_reads_as_its_cells_do(cells: list[str], kind: str) -> None:
    assert reads_as(kind, cells) == all(reads_as(kind, [cell]) for cell in cells)
    if reads_as(kind, cells):
        assert list(CONVERTERS[kind](cells)) == [CONVERTERS[kind]([cell])[0] for cell in cells]


# --- what maps and flattening made of a record

NOON = datetime(2021, 1, 2, 12)  # noqa: DTZ001 (what an expression can return)
FITTED: list[tuple[Schema, Any, Any]] = [
    ({}, {"any": 1}, {"any": 1}),
    (TYPES["string"], "a", "a"),
    (TYPES["string"], 5, "5"),
    (TYPES["string"], Decimal("1.50"), "1.50"),
    (TYPES["string"], True, "true"),
    (TYPES["string"], {"a": [1]}, '{"a":[1]}'),
    (TYPES["string"], [1, None], "[1,null]"),
    (TYPES["string"], date(2021, 1, 2), "2021-01-02"),
    (TYPES["string"], NOON, "2021-01-02T12:00:00+00:00"),
    (TYPES["integer"], 5, 5),
    (TYPES["number"], 5, 5),
    (TYPES["number"], 1.5, 1.5),
    (TYPES["boolean"], False, False),
    (TYPES["object"], {}, {}),
    (TYPES["array"], [], []),
    (TYPES["date"], "2021-01-02", "2021-01-02"),
    (TYPES["date"], date(2021, 1, 2), "2021-01-02"),
    (TYPES["date-time"], "2021-01-02", "2021-01-02T00:00:00+00:00"),
    (TYPES["date-time"], NOON, "2021-01-02T12:00:00+00:00"),
    (TYPES["date-time"], NOON.replace(tzinfo=timezone(timedelta(hours=2))), "2021-01-02T12:00:00+02:00"),
    ({"type": ["string", "null"]}, None, None),
    ({"type": ["integer", "string"]}, 5, 5),
]
UNFITTED: list[tuple[Schema, Any]] = [
    (TYPES["string"], None),
    ({"type": ["integer", "null"]}, "5"),
    (TYPES["integer"], 1.5),
    (TYPES["integer"], True),
    (TYPES["number"], True),
    (TYPES["boolean"], 1),
    (TYPES["object"], []),
    (TYPES["array"], {}),
    (TYPES["integer"], date(2021, 1, 2)),
    (TYPES["date"], "2021-01-02T12:00:00Z"),
    (TYPES["date-time"], "noon"),
]


def fitted(schema: Schema, value: Any, key: tuple[str, ...] = ()) -> dict[str, Any]:
    return fit_record({"x": value, "undeclared": 1}, {"properties": {"x": schema}}, key)


@pytest.mark.parametrize(("schema", "value", "expected"), FITTED)
def test_a_value_fits_its_declared_type(schema: Schema, value: Any, expected: Any) -> None:
    result = fitted(schema, value)
    assert result == {"x": expected}
    assert type(result["x"]) is type(expected)


@pytest.mark.parametrize(("schema", "value"), UNFITTED)
def test_a_value_of_another_type_is_refused(schema: Schema, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^property 'x' is declared as|^not a date"):
        fitted(schema, value)


@pytest.mark.parametrize("key", ["x", "missing"])
def test_a_key_is_neither_null_nor_missing(key: str) -> None:
    with pytest.raises(ValueError, match=f"key property '{key}' is null"):
        fitted({"type": ["string", "null"]}, None, (key,))
    assert fitted({"type": "integer"}, 0, ("x",)) == {"x": 0}
