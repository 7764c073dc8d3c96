"""Columns, types and keys: discovered from the file, decided by the catalog."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import csv_file, to_csv
from sandbox.server import Fault
from tap_dynamic.rows import reads_as
from tests.conftest import select

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Tap

DAY = "2026-01-02T03:04:05.000Z"


def entry_of(catalog: Message, stream: str = "users") -> Any:
    return next(e for e in catalog["streams"] if e["stream"] == stream)


def types(catalog: Message, stream: str = "users") -> dict[str, str]:
    """Each column's type, in short."""
    return {
        name: schema.get("format") or next(t for t in [schema["type"]] if t)
        if isinstance(schema["type"], str)
        else schema.get("format") or schema["type"][0]
        for name, schema in entry_of(catalog, stream)["schema"]["properties"].items()
        if not name.startswith("_sdc_")
    }


FOUR_FILES: dict[str, tuple[list[list[str]], dict[str, str], list[str]]] = {
    "as documented": (
        [
            ["id", "newUser", "createdAt", "metadata", "lists"],
            ["1", "true", DAY, '{"a": 1}', '["x"]'],
            ["2", "", "", "", ""],
        ],
        {"id": "string", "newUser": "boolean", "createdAt": "date-time", "metadata": "object", "lists": "array"},
        ["id"],
    ),
    "other formats": (
        [["id", "newUser", "createdAt", "metadata", "lists"], ["1", "yes", "Fri Jan 02 2026", "[1]", "x;y"]],
        {"id": "string", "newUser": "string", "createdAt": "string", "metadata": "string", "lists": "string"},
        ["id"],
    ),
    "a row for each wallet": (
        [["id", "wallet", "loyalty points"], ["1", "a", "007"], ["1", "b", "008"]],
        {"id": "string", "wallet": "string", "loyalty points": "string"},
        ["_sdc_export_id", "_sdc_row_number"],
    ),
    "no id": (
        [["email", "createdAt"], ["a", "2026-01-02 03:04:05"]],
        {"email": "string", "createdAt": "date-time"},
        ["_sdc_export_id", "_sdc_row_number"],
    ),
}


@pytest.mark.parametrize("name", FOUR_FILES)
def test_the_catalog_tells_the_file(sandbox: Sandbox, tap: Tap, name: str) -> None:
    rows, expected, key = FOUR_FILES[name]
    sandbox.add("users", b"id\r\n1\r\n")
    sandbox.add("users", to_csv(rows))
    catalog = tap.discover()
    assert types(catalog) == expected
    assert entry_of(catalog)["key_properties"] == key
    run = tap()
    assert run.code == 0
    schema = run.of("SCHEMA", "users")[0]
    assert schema["schema"]["properties"].keys() == entry_of(catalog)["schema"]["properties"].keys()
    assert schema["key_properties"] == key
    assert len(run.records("users")) == len(rows) - 1


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_discovery_reads_only_the_head(sandbox: Sandbox, tap: Tap, *, packed: bool) -> None:
    add = sandbox.add_gzip if packed else sandbox.add
    add("users", csv_file("users", 10_000))
    catalog = tap.discover()
    assert types(catalog)["metadata"] == "object"
    assert types(catalog)["loyalty points"] == "string"
    (file,) = [seen for seen in sandbox.seen if seen.kind == "file"]
    assert file.headers["Range"] == "bytes=0-262143"
    assert file.status == 206


def test_without_an_export_the_documented_fields_are_the_schema(documented: Message) -> None:
    assert len(types(documented)) == 43
    assert types(documented)["verifiedCredentials"] == "array"
    assert types(documented, "visits").keys() == {
        "id", "address", "chain", "walletName", "provider", "createdAt", "projectEnvironmentId",
    }  # fmt: skip


def test_a_file_host_that_is_down_leaves_the_documented_fields(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    export = sandbox.add("users", csv_file("users", 5))
    sandbox.faults = [Fault("file", status=503)]
    run = tap("--discover")
    assert run.code == 0
    assert types(json.loads(run.out)) == types(documented)
    assert run.warnings == [
        f"The columns of users are the documented ones: export {export.id}: the file host answered 503"
    ]


def test_an_input_catalog_means_no_discovery(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    sandbox.add("users", csv_file("users", 5))
    assert tap(_catalog=documented).code == 0
    assert [seen.kind for seen in sandbox.seen] == ["list", "get", "file"]


def test_named_exports_tell_the_columns_without_a_list_call(sandbox: Sandbox, tap: Tap) -> None:
    old = sandbox.add("users", to_csv([["id", "old"], ["1", "x"]]))
    sandbox.add("users", to_csv([["id", "new"], ["1", "x"]]))
    assert types(tap.discover(export_ids=[old.id])) == {"id": "string", "old": "string"}
    assert sandbox.count("list") == 0


def typed(documented: Message, **schemas: dict[str, str]) -> Message:
    """Set types as a user does with Meltano's `schema` extra."""
    catalog = copy.deepcopy(documented)
    entry_of(catalog)["schema"]["properties"] |= {
        name: {**schema, "type": [schema["type"], "null"]} for name, schema in schemas.items()
    }
    return select(catalog, "users")


CONVERSIONS: list[tuple[dict[str, str], str, Any]] = [
    ({"type": "integer"}, "-0042", -42),
    ({"type": "integer"}, "9223372036854775807", 2**63 - 1),
    ({"type": "number"}, "0.1000000000000000055511151231257827", "exact"),
    ({"type": "number"}, "1e3", 1000),
    ({"type": "boolean"}, "TRUE", True),
    ({"type": "boolean"}, "0", False),
    ({"type": "string", "format": "date"}, "2026-02-28", "2026-02-28"),
    ({"type": "string", "format": "date-time"}, "2026-02-28 01:02:03", "2026-02-28T01:02:03+00:00"),
    ({"type": "string", "format": "date-time"}, "2026-02-28T01:02:03+02:00", "2026-02-28T01:02:03+02:00"),
    ({"type": "string", "format": "date-time"}, "2026-02-28T01:02:03.5Z", "2026-02-28T01:02:03.5Z"),
    ({"type": "object"}, '{"a": [1.10, null]}', {"a": [1.1, None]}),
    ({"type": "array"}, "[1, {}]", [1, {}]),
    ({"type": "string"}, " 007 ", " 007 "),
    ({"type": "integer"}, "", None),
]


def test_the_catalogs_type_is_what_a_cell_becomes(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    names = [f"x{n}" for n in range(len(CONVERSIONS))]
    sandbox.add("users", to_csv([["id", *names], ["1", *(cell for _, cell, _ in CONVERSIONS)]]))
    schemas = {name: schema for name, (schema, _, _) in zip(names, CONVERSIONS, strict=True)}
    run = tap(_catalog=typed(documented, **schemas))
    assert run.code == 0, run.log
    record = run.records("users")[0]
    for name, (_, cell, value) in zip(names, CONVERSIONS, strict=True):
        if value == "exact":
            assert f'"{name}":{cell},' in run.out
        else:
            assert (name, record[name]) == (name, value)


UNREADABLE = [
    ({"type": "integer"}, "1.5"),
    ({"type": "string", "format": "date-time"}, "5 May"),
    ({"type": "object"}, "[1]"),
    ({"type": "array"}, "[" * 100_000),
    ({"type": "integer"}, "1_000"),
    ({"type": "integer"}, "9223372036854775808"),
    ({"type": "number"}, "NaN"),
    ({"type": "number"}, "7,25"),
    ({"type": "boolean"}, "yes"),
    ({"type": "string", "format": "date"}, "2026-02-30"),
    ({"type": "object"}, '{"a": NaN}'),
    ({"type": "array"}, '{"b": 1}'),
]


@pytest.mark.parametrize(("schema", "cell"), UNREADABLE)
def test_what_does_not_read_as_a_type(schema: dict[str, str], cell: str) -> None:
    assert not reads_as(schema, ["", cell])


@pytest.mark.parametrize(("schema", "cell"), UNREADABLE[:4])
def test_a_cell_that_does_not_read_as_its_type_stops_the_run(
    sandbox: Sandbox, tap: Tap, documented: Message, schema: dict[str, str], cell: str
) -> None:
    export = sandbox.add("users", to_csv([["id", "x"], *[[str(n), ""] for n in range(1500)], ["last", cell]]))
    kind = schema.get("format") or schema["type"]
    run = tap(_catalog=typed(documented, x=schema))
    assert run.code == 1
    (error,) = run.errors
    assert error == (
        f"Stream users, export {export.id}, row 1501: the cell of column 'x' does not read as {kind}. To load the"
        ' column as text, set its type in the catalog to ["string", "null"] (Meltano: the extractor\'s `schema` extra).'
    )
    assert cell not in run.log


def test_unusual_headers_keep_their_names(sandbox: Sandbox, tap: Tap) -> None:
    header = [" id ", "e.mail", "Größe 📏", "a b", "", "a b", "A B", "_sdc_row_number", "", 'q"uote']
    names = ["id", "e.mail", "Größe 📏", "a b", "column_5", "a b_2", "A B_3", "_sdc_row_number_2", "column_9", 'q"uote']
    sandbox.add("users", to_csv([header, [str(n) for n in range(10)]]))
    catalog = tap.discover()
    assert list(types(catalog)) == names[:7] + names[8:]
    run = tap(_catalog=select(catalog, "users", without=("e.mail", "a b_2")))
    record = run.records("users")[0]
    assert {n: v for n, v in record.items() if n in names and n != "_sdc_row_number"} == {
        name: str(n) for n, name in enumerate(names) if name not in {"e.mail", "a b_2"}
    }


def test_drift_between_nights(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["id", "team", "alias"], ["1", "t", "a"]]))
    catalog = select(tap.discover(), "users")
    first = tap(_catalog=catalog)
    export = sandbox.add("users", to_csv([["newUser", "alias", "custom", "id"], ["true", "a", "c", "1"]]))
    second = tap(_catalog=catalog, _state=first.state)
    assert second.code == 0
    record = {n: v for n, v in second.records("users")[0].items() if not n.startswith("_sdc")}
    assert record == {"id": "1", "team": None, "alias": "a", "newUser": True, "custom": "c"}
    properties = second.of("SCHEMA", "users")[0]["schema"]["properties"]
    assert properties["newUser"]["type"] == ["boolean", "null"]
    assert properties["custom"]["type"] == ["string", "null"]
    assert f"Export {export.id}: new columns: newUser, custom." in second.log
    assert f"Export {export.id}: columns that the file lacks: team." in second.log


def test_where_the_user_picks_columns_new_ones_are_left_out_with_one_warning(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["id", "team"], ["1", "t"]]))
    catalog = select(tap.discover(), "users", without=("team",))
    export = sandbox.add("users", to_csv([["id", "team", "a", "b"], *[[str(n), "t", "x", "y"] for n in range(2000)]]))
    run = tap(_catalog=catalog)
    assert set(run.records("users")[0]) == {"id", "_sdc_export_id", "_sdc_exported_at", "_sdc_row_number"}
    assert run.warnings == [f"Export {export.id}: new columns are left out, because the catalog selects columns: a, b."]


def test_each_snapshot_is_read_by_its_own_header(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["id", "a"], ["1", "x"]]))
    sandbox.add("users", to_csv([["b", "id"], ["y", "1"]]))
    run = tap(snapshots="all")
    rows = [{n: v for n, v in r.items() if not n.startswith("_sdc")} for r in run.records("users")]
    assert rows == [{"id": "1", "b": None, "a": "x"}, {"id": "1", "b": "y"}]
    for schema, record in zip(run.of("SCHEMA", "users"), run.records("users"), strict=True):
        assert set(record) == set(schema["schema"]["properties"])


def test_first_load_takes_text_where_the_file_contradicts_a_documented_type(
    sandbox: Sandbox, tap: Tap, documented: Message
) -> None:
    export = sandbox.add("users", to_csv([["id", "createdAt", "newUser"], ["1", "5 May", "true"]]))
    first = tap(_catalog=documented)
    assert first.code == 0
    assert first.records("users")[0]["createdAt"] == "5 May"
    assert first.of("SCHEMA", "users")[0]["schema"]["properties"]["createdAt"]["type"] == ["string", "null"]
    assert f"Export {export.id}: these columns are loaded as text" in first.warnings[0]
    later = sandbox.add("users", to_csv([["id", "newUser"], ["1", "maybe"]]))
    second = tap(_catalog=documented, _state=first.state)
    assert second.code == 1
    assert f"export {later.id}, row 1: the cell of column 'newUser'" in second.errors[0]


def test_a_key_that_the_file_contradicts(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    twice = to_csv([["id", "wallet"], ["1", "a"], ["1", "b"]])
    export = sandbox.add("users", twice)
    first = tap(_catalog=documented)
    assert first.code == 0
    assert first.of("SCHEMA", "users")[0]["key_properties"] == ["_sdc_export_id", "_sdc_row_number"]
    assert (
        f"Export {export.id}: the key is _sdc_export_id, _sdc_row_number, because id is the same in several"
        in first.warnings[0]
    )


def test_a_key_that_a_later_file_contradicts_stops_the_run(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["id", "wallet"], ["1", "a"], ["2", "b"]]))
    first = tap()
    assert first.of("SCHEMA", "users")[0]["key_properties"] == ["id"]
    export = sandbox.add("users", to_csv([["id", "wallet"], ["1", "a"], ["1", "b"]]))
    second = tap(_state=first.state)
    assert second.code == 1
    assert second.errors[0].startswith(
        f"Stream users, export {export.id}: id can't be the key: id is the same in several rows."
        " Set the stream's table-key-properties to [_sdc_export_id, _sdc_row_number]"
    )
    assert not second.of("SCHEMA", "users")
    assert second.bookmark("users") == first.bookmark("users")
    # The way out that the message tells:
    catalog = select(tap.discover(), "users")
    entry = next(e for e in catalog["streams"] if e["stream"] == "users")
    entry["key_properties"] = ["id"]
    root = next(m for m in entry["metadata"] if not m["breadcrumb"])
    root["metadata"]["table-key-properties"] = ["_sdc_export_id", "_sdc_row_number"]
    third = tap(_state=first.state, _catalog=catalog)
    assert third.code == 0
    assert third.of("SCHEMA", "users")[0]["key_properties"] == ["_sdc_export_id", "_sdc_row_number"]


def test_users_set_the_key(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["id", "wallet"], ["1", "a"], ["2", "b"]]))
    catalog = select(tap.discover(), "users")
    entry = next(e for e in catalog["streams"] if e["stream"] == "users")
    root = next(m for m in entry["metadata"] if not m["breadcrumb"])
    root["metadata"]["table-key-properties"] = ["id", "wallet"]
    assert tap(_catalog=catalog).of("SCHEMA", "users")[0]["key_properties"] == ["id", "wallet"]


def test_rows_that_repeat_the_key_further_down_are_counted_in_one_warning(sandbox: Sandbox, tap: Tap) -> None:
    unique = [[f"id{n}", "x" * 200] for n in range(3000)]
    export = sandbox.add("users", to_csv([["id", "team"], *unique, ["z", "a"], ["z", "b"], ["z", "c"]]))
    run = tap()
    assert run.code == 0
    assert run.warnings == [
        f"Export {export.id}: 2 rows repeat the key of the row before; a target that upserts keeps one: id."
    ]


def test_an_empty_key_further_down_stops_the_run(sandbox: Sandbox, tap: Tap) -> None:
    unique = [[f"id{n}", "x" * 200] for n in range(3000)]
    sandbox.add("users", to_csv([["id", "team"], *unique, ["", "a"]]))
    run = tap()
    assert run.code == 1
    assert "row 3001: key column 'id' is empty. Set table-key-properties" in run.errors[0]
