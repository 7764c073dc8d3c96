"""Columns, types and keys: discovered from the file, overridden by the catalog."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import csv_file, to_csv
from sandbox.server import Fault
from tap_dynamic.table.convert import reads_as
from tap_dynamic.table.types import type_of
from tests.conftest import select

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Tap

DAY = "2026-01-02T03:04:05.000Z"


def entry_of(catalog: Message, stream: str = "users") -> Any:
    return next(e for e in catalog["streams"] if e["stream"] == stream)


def types(catalog: Message, stream: str = "users") -> dict[str, str]:
    """Return each column's format, or else its type."""
    return {
        name: schema.get("format") or (schema["type"] if isinstance(schema["type"], str) else schema["type"][0])
        for name, schema in entry_of(catalog, stream)["schema"]["properties"].items()
        if not name.startswith("_sdc_")
    }


DISCOVERED_FILES: dict[str, tuple[list[list[str]], dict[str, str], list[str]]] = {
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


@pytest.mark.parametrize("name", DISCOVERED_FILES)
def test_the_catalog_describes_the_file(sandbox: Sandbox, tap: Tap, name: str) -> None:
    rows, expected, key = DISCOVERED_FILES[name]
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
    (file,) = [request for request in sandbox.requests if request.kind == "file"]
    assert file.headers["Range"] == "bytes=0-262143"
    assert file.status == 206


def test_without_an_export_the_documented_fields_are_the_schema(documented: Message) -> None:
    assert len(types(documented)) == 43
    assert types(documented)["verifiedCredentials"] == "array"
    assert types(documented, "visits").keys() == {
        "id", "address", "chain", "walletName", "provider", "createdAt", "projectEnvironmentId",
    }  # fmt: skip


def test_discovery_falls_back_to_the_documented_fields_if_the_file_is_gone(
    sandbox: Sandbox, tap: Tap, documented: Message
) -> None:
    export = sandbox.add("users", csv_file("users", 5))
    sandbox.faults = [Fault("file", status=404)]
    run = tap("--discover")
    assert run.code == 0
    assert types(json.loads(run.out)) == types(documented)
    (warning,) = run.warnings
    assert warning == (
        f"The columns of users are the documented ones. Discovery of users, export {export.id}:"
        " the file host answered 404: the file is not there. Make a new export."
    )


def test_an_input_catalog_skips_discovery(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    sandbox.add("users", csv_file("users", 5))
    assert tap(_catalog=documented).code == 0
    assert [request.kind for request in sandbox.requests] == ["list", "get", "file"]


def test_discovery_reads_named_exports_without_listing(sandbox: Sandbox, tap: Tap) -> None:
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


def test_cells_are_converted_to_the_catalogs_types(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
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
def test_cells_that_do_not_match_a_type(schema: dict[str, str], cell: str) -> None:
    assert not reads_as(str(type_of(schema)), ["", cell])


@pytest.mark.parametrize(("schema", "cell"), UNREADABLE[:4])
def test_a_cell_that_does_not_match_its_type_fails_the_run(
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


def test_column_drift_between_runs(sandbox: Sandbox, tap: Tap) -> None:
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
    assert f"Export {export.id}: new columns: custom, newUser." in second.log
    assert f"Export {export.id}: columns that the file lacks: team." in second.log


def test_new_columns_are_left_out_with_one_warning_if_the_catalog_selects_columns(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["id", "team"], ["1", "t"]]))
    catalog = select(tap.discover(), "users", without=("team",))
    export = sandbox.add("users", to_csv([["id", "team", "a", "b"], *[[str(n), "t", "x", "y"] for n in range(2000)]]))
    run = tap(_catalog=catalog)
    assert set(run.records("users")[0]) == {"id", "_sdc_export_id", "_sdc_exported_at", "_sdc_row_number"}
    assert run.warnings == [f"Export {export.id}: new columns are left out, because the catalog selects columns: a, b."]


def test_each_snapshot_is_read_with_its_own_header(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["id", "a"], ["1", "x"]]))
    sandbox.add("users", to_csv([["b", "id"], ["y", "1"]]))
    run = tap(snapshots="all")
    rows = [{n: v for n, v in r.items() if not n.startswith("_sdc")} for r in run.records("users")]
    assert rows == [{"id": "1", "b": None, "a": "x"}, {"id": "1", "b": "y"}]
    for schema, record in zip(run.of("SCHEMA", "users"), run.records("users"), strict=True):
        assert set(record) == set(schema["schema"]["properties"])


def test_first_load_uses_text_if_the_file_contradicts_a_documented_type(
    sandbox: Sandbox, tap: Tap, documented: Message
) -> None:
    export = sandbox.add("users", to_csv([["id", "createdAt", "newUser"], ["1", "5 May", "true"]]))
    first = tap(_catalog=documented)
    assert first.code == 0
    assert first.records("users")[0]["createdAt"] == "5 May"
    assert first.of("SCHEMA", "users")[0]["schema"]["properties"]["createdAt"]["type"] == ["string", "null"]
    assert (
        f"Export {export.id}: columns loaded as text, because they do not read as their documented types: createdAt"
        in first.warnings[0]
    )
    assert first.bookmark("users")["text_columns"] == ["createdAt"]


def test_a_column_that_was_text_once_stays_text(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    """Boolean, then text, then boolean again, with nightly discovery and with the catalog of the first night."""
    state: Message = {}
    nights = [("true", ["boolean", "null"]), ("maybe", ["string", "null"]), ("true", ["string", "null"])]
    for catalog in (documented, None):
        state = {}
        for cell, kind in nights:
            sandbox.add("users", to_csv([["id", "newUser"], ["1", cell]]))
            run = tap(_catalog=catalog, _state=state)
            assert run.code == 0
            assert run.of("SCHEMA", "users")[0]["schema"]["properties"]["newUser"]["type"] == kind
            assert run.records("users")[0]["newUser"] == (cell == "true" if "boolean" in kind else cell)
            state = run.state
        assert state["bookmarks"]["users"]["text_columns"] == ["newUser"]


def test_a_type_of_the_user_stays_where_the_head_contradicts_it(
    sandbox: Sandbox, tap: Tap, documented: Message
) -> None:
    export = sandbox.add("users", to_csv([["id", "newUser"], ["1", "maybe"]]))
    run = tap(_catalog=typed(documented, newUser={"type": "integer"}))
    assert run.code == 1
    assert f"export {export.id}, row 1: the cell of column 'newUser' does not read as integer" in run.errors[0]


def test_first_load_uses_the_row_key_if_id_is_not_unique(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    data = to_csv([["id", "wallet"], ["1", "a"], ["1", "b"]])
    export = sandbox.add("users", data)
    first = tap(_catalog=documented)
    assert first.code == 0
    assert first.of("SCHEMA", "users")[0]["key_properties"] == ["_sdc_export_id", "_sdc_row_number"]
    assert (
        f"Export {export.id}: the key is _sdc_export_id, _sdc_row_number, because id is the same in rows 1 and 2"
        in first.warnings[0]
    )


def test_a_later_file_that_contradicts_the_key_fails_the_run(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["id", "wallet"], ["1", "a"], ["2", "b"]]))
    first = tap()
    assert first.of("SCHEMA", "users")[0]["key_properties"] == ["id"]
    export = sandbox.add("users", to_csv([["id", "wallet"], ["1", "a"], ["1", "b"]]))
    second = tap(_state=first.state)
    assert second.code == 1
    assert second.errors[0].startswith(
        f"Stream users, export {export.id}: id can't be the key: id is the same in rows 1 and 2."
        " Set the stream's table-key-properties to [_sdc_export_id, _sdc_row_number]"
    )
    assert not second.of("SCHEMA", "users")
    assert second.bookmark("users") == first.bookmark("users")
    # The fix that the message suggests:
    catalog = select(tap.discover(), "users")
    entry = next(e for e in catalog["streams"] if e["stream"] == "users")
    entry["key_properties"] = ["id"]
    root = next(m for m in entry["metadata"] if not m["breadcrumb"])
    root["metadata"]["table-key-properties"] = ["_sdc_export_id", "_sdc_row_number"]
    third = tap(_state=first.state, _catalog=catalog)
    assert third.code == 0
    assert third.of("SCHEMA", "users")[0]["key_properties"] == ["_sdc_export_id", "_sdc_row_number"]


def test_the_catalog_sets_the_key(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["id", "wallet"], ["1", "a"], ["2", "b"]]))
    catalog = select(tap.discover(), "users")
    entry = next(e for e in catalog["streams"] if e["stream"] == "users")
    root = next(m for m in entry["metadata"] if not m["breadcrumb"])
    root["metadata"]["table-key-properties"] = ["id", "wallet"]
    assert tap(_catalog=catalog).of("SCHEMA", "users")[0]["key_properties"] == ["id", "wallet"]


UNIQUE = [[f"id{n}", "x" * 200] for n in range(3000)]
"""Rows that fill more than the head of a file."""
CONTRADICTIONS = {
    "adjacent": ([["z", "a"], ["z", "b"]], "id is the same in rows 3001 and 3002"),
    "far apart": ([["id7", "b"]], "id is the same in rows 8 and 3001"),
    "empty": ([["", "b"]], "id is empty in row 3001"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_on_the_first_load_the_key_is_verified_over_the_whole_file(sandbox: Sandbox, tap: Tap, name: str) -> None:
    rows, problem = CONTRADICTIONS[name]
    export = sandbox.add("users", to_csv([["id", "team"], *UNIQUE, *rows]))
    run = tap()
    assert run.code == 0
    assert run.of("SCHEMA", "users")[0]["key_properties"] == ["_sdc_export_id", "_sdc_row_number"]
    assert run.warnings == [f"Export {export.id}: the key is _sdc_export_id, _sdc_row_number, because {problem}."]
    assert run.bookmark("users")["key_properties"] == ["_sdc_export_id", "_sdc_row_number"]
    again = tap(_state=run.state)
    assert again.code == 0
    sandbox.add("users", to_csv([["id", "team"], *UNIQUE]))
    later = tap(_state=run.state)
    assert later.of("SCHEMA", "users")[0]["key_properties"] == ["_sdc_export_id", "_sdc_row_number"]


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_on_a_later_load_a_key_that_is_not_unique_fails_the_stream(sandbox: Sandbox, tap: Tap, name: str) -> None:
    rows, problem = CONTRADICTIONS[name]
    sandbox.add("users", to_csv([["id", "team"], *UNIQUE]))
    first = tap()
    assert first.of("SCHEMA", "users")[0]["key_properties"] == ["id"]
    export = sandbox.add("users", to_csv([["id", "team"], *UNIQUE, *rows]))
    run = tap(_state=first.state)
    assert run.code == 1
    (error,) = run.errors
    assert error.startswith(f"Stream users, export {export.id}")
    assert "table-key-properties" in error
    assert (problem if name != "empty" else "row 3001: key column 'id' is empty") in error
    assert run.bookmark("users") == first.bookmark("users")


def test_composite_keys_are_verified_as_a_whole(sandbox: Sandbox, tap: Tap) -> None:
    def load(*rows: list[str]) -> Any:
        sandbox.add("users", to_csv([["id", "wallet"], ["1", "a"], ["1", "b"], *rows]))
        catalog = select(tap.discover(), "users")
        root = next(m for m in entry_of(catalog)["metadata"] if not m["breadcrumb"])
        root["metadata"]["table-key-properties"] = ["id", "wallet"]
        return tap(_catalog=catalog)

    assert load(["2", "a"]).of("SCHEMA", "users")[0]["key_properties"] == ["id", "wallet"]
    repeated = load(["2", "a"], ["1", "a"])
    assert repeated.of("SCHEMA", "users")[0]["key_properties"] == ["_sdc_export_id", "_sdc_row_number"]
    assert "id, wallet is the same in rows 1 and 4" in repeated.warnings[0]


def test_one_run_uses_one_key(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    exports = [
        sandbox.add("users", to_csv([["id", "team"], *rows])) for rows in ([["1", "a"]], [["1", "a"], ["1", "b"]])
    ]
    run = tap(export_ids=[e.id for e in exports], snapshots="all", _catalog=documented)
    assert run.code == 1
    assert {tuple(m["key_properties"]) for m in run.of("SCHEMA", "users")} == {("id",)}
    assert "id is the same in rows 1 and 2" in run.errors[0]


def test_a_column_that_differs_in_case_is_the_catalogs_column(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    sandbox.add("users", to_csv([["ID", "EMail", "NEWUSER"], ["1", "a", "true"]]))
    run = tap(_catalog=documented)
    assert run.code == 0
    record = run.records("users")[0]
    assert (record["id"], record["email"], record["newUser"]) == ("1", "a", True)
    assert not {"ID", "EMail", "NEWUSER"} & set(run.of("SCHEMA", "users")[0]["schema"]["properties"])
    assert run.of("SCHEMA", "users")[0]["key_properties"] == ["id"]


def pinned(tap: Tap, *key: str) -> Message:
    catalog = select(tap.discover(), "users")
    root = next(m for m in entry_of(catalog)["metadata"] if not m["breadcrumb"])
    root["metadata"]["table-key-properties"] = list(key)
    return catalog


def test_a_key_that_the_first_file_contradicted_is_not_tried_again(sandbox: Sandbox, tap: Tap) -> None:
    fallback = ["_sdc_export_id", "_sdc_row_number"]
    sandbox.add("users", to_csv([["id", "wallet"], ["1", "a"], ["1", ""]]))
    catalog = pinned(tap, "id", "wallet")
    run = tap(_catalog=catalog)
    assert "id, wallet is empty in row 2" in run.warnings[0]
    for rows in ([["1", "a"], ["1", "b"]], [["1", "a"], ["1", ""]]):
        sandbox.add("users", to_csv([["id", "wallet"], *rows]))
        run = tap(_catalog=catalog, _state=run.state)
        assert run.code == 0, run.log
        assert run.of("SCHEMA", "users")[0]["key_properties"] == fallback
    # Another key is the user's answer to the warning.
    run = tap(_catalog=pinned(tap, "wallet"), _state={"bookmarks": {"users": {"rejected_key": ["id", "wallet"]}}})
    assert run.of("SCHEMA", "users")[0]["key_properties"] == fallback  # it is empty in a row, too
    assert run.bookmark("users")["rejected_key"] == ["wallet"]


def test_one_run_uses_one_key_where_the_first_file_contradicts_the_users(sandbox: Sandbox, tap: Tap) -> None:
    for rows in ([["1", "a"], ["2", "a"]], [["1", "a"], ["2", "b"]]):
        sandbox.add("users", to_csv([["id", "n"], *rows]))
    run = tap(_catalog=pinned(tap, "n"), snapshots="all")
    assert run.code == 0, run.log
    keys = [m["key_properties"] for m in run.of("SCHEMA", "users")]
    assert keys == [["_sdc_export_id", "_sdc_row_number"]] * len(keys)
    assert len(keys) == 2


def test_cells_of_a_file_without_header_are_not_logged(sandbox: Sandbox, tap: Tap) -> None:
    """ID, the code of Indonesia, looks like the name of a column."""
    sandbox.add("users", to_csv([["id", "country", "firstName"], ["1", "DE", "a"]]))
    first = tap()
    catalog = select(tap.discover(), "users")
    sandbox.add("users", to_csv([["1001", "Budi Santoso", "+62 812 345", "ID", "Jakarta"], ["7", "x", "y", "SG", "z"]]))
    run = tap(_catalog=catalog, _state=first.state)
    assert "Budi" not in run.log
    assert "Jakarta" not in run.log
    assert "new columns: 4, in a file that may have no header" in run.log
