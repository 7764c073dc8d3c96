"""Columns, types and keys: discovered from the file, overridden by the catalog."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from singer_sdk.singerlib import Catalog

from sandbox.data import csv_file, to_csv
from sandbox.server import Fault
from tap_dynamic.schemas import KEY_CANDIDATES
from tap_dynamic.singer.catalog import user_key
from tests.conftest import select

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Run, Tap

DAY = "2026-01-02T03:04:05.000Z"
PAIR = ["user_id", "verified_credential_id"]
FALLBACK = ["_sdc_export_id", "_sdc_row_number"]
DOUBT = "the first row may be data instead of a header, because it has no two known columns"
TYPED = {
    "user_createdAt": "date-time",
    "verified_credential_signInEnabled": "boolean",
    "user_metadata": "object",
    "verified_credential_walletAdditionalAddresses": "string",
}
"""One documented column of each type."""


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
        [[*PAIR, *TYPED], ["1", "a", DAY, "true", '{"a": 1}', '["x"]'], ["1", "b", *[""] * 4], ["2", *[""] * 5]],
        dict.fromkeys(PAIR, "string") | TYPED,
        PAIR,
    ),
    "as PostgreSQL writes": (
        [
            [*PAIR, *TYPED],
            ["1", "a", "2025-01-02 03:04:05.678+00", "t", '{"a": 1}', "{x,y}"],
            ["1", "b", "", "f", "", ""],
        ],
        dict.fromkeys(PAIR, "string") | TYPED,
        PAIR,
    ),
    "a credential twice": (
        [[*PAIR, "user_email"], ["1", "a", "x"], ["1", "b", "x"], ["1", "a", "x"]],
        dict.fromkeys([*PAIR, "user_email"], "string"),
        FALLBACK,
    ),
    "a row per user": (
        [["user_id", "loyalty points"], ["1", "007"], ["2", "008"]],
        {"user_id": "string", "loyalty points": "string"},
        ["user_id"],
    ),
}


@pytest.mark.parametrize("name", DISCOVERED_FILES)
def test_the_catalog_describes_the_file(sandbox: Sandbox, tap: Tap, name: str) -> None:
    rows, expected, key = DISCOVERED_FILES[name]
    sandbox.add("users", b"user_id\r\n1\r\n")
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
    assert types(catalog)["user_metadata"] == "object"
    assert types(catalog)["user_tShirtSize"] == "string"
    (file,) = [request for request in sandbox.requests if request.kind == "file"]
    assert file.headers["Range"] == "bytes=0-262143"
    assert file.status == 206


def test_without_an_export_the_documented_fields_are_the_schema(documented: Message) -> None:
    kinds = types(documented)
    assert len(kinds) == 38
    assert {name: kinds[name] for name in TYPED} == TYPED
    assert [entry_of(documented, stream)["key_properties"] for stream in ("users", "visits")] == [PAIR, ["id"]]
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
    old = sandbox.add("users", to_csv([["user_id", "old"], ["1", "x"]]))
    sandbox.add("users", to_csv([["user_id", "new"], ["1", "x"]]))
    assert types(tap.discover(export_ids=[old.id])) == {"user_id": "string", "old": "string"}
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
    ({"type": "number"}, "0.1000000000000000055511151231257827", "exact"),
    ({"type": "boolean"}, "TRUE", True),
    ({"type": "string", "format": "date"}, "2026-02-28", "2026-02-28"),
    ({"type": "string", "format": "date-time"}, "2026-02-28 01:02:03", "2026-02-28T01:02:03+00:00"),
    ({"type": "object"}, '{"a": [1.10, null]}', {"a": [1.1, None]}),
    ({"type": "array"}, "[1, {}]", [1, {}]),
    ({"type": "string"}, " 007 ", " 007 "),
    ({"type": "integer"}, "", None),
]


def test_cells_are_converted_to_the_catalogs_types(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    names = [f"x{n}" for n in range(len(CONVERSIONS))]
    sandbox.add("users", to_csv([["user_id", *names], ["1", *(cell for _, cell, _ in CONVERSIONS)]]))
    schemas = {name: schema for name, (schema, _, _) in zip(names, CONVERSIONS, strict=True)}
    run = tap(_catalog=typed(documented, **schemas))
    assert run.code == 0, run.log
    record = run.records("users")[0]
    for name, (_, cell, value) in zip(names, CONVERSIONS, strict=True):
        if value == "exact":
            assert f'"{name}":{cell},' in run.out
        else:
            assert (name, record[name]) == (name, value)


def test_a_cell_that_does_not_match_its_type_fails_the_run(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    export = sandbox.add("users", to_csv([["user_id", "x"], *[[str(n), ""] for n in range(1500)], ["last", "5 May"]]))
    run = tap(_catalog=typed(documented, x={"type": "string", "format": "date-time"}))
    assert run.code == 1
    (error,) = run.errors
    assert error == (
        f"Stream users, export {export.id}, row 1501: the cell of column 'x' does not read as date-time. To load the"
        ' column as text, set its type in the catalog to ["string", "null"] (Meltano: the extractor\'s `schema` extra).'
    )
    assert "5 May" not in run.log


def test_unusual_headers_keep_their_names(sandbox: Sandbox, tap: Tap) -> None:
    header = [" user_id ", "e.mail", "Größe 📏", "a b", "", "a b", "A B", "_sdc_row_number", "", 'q"uote']
    names = [
        "user_id",
        "e.mail",
        "Größe 📏",
        "a b",
        "column_5",
        "a b_2",
        "A B_3",
        "_sdc_row_number_2",
        "column_9",
        'q"uote',
    ]
    sandbox.add("users", to_csv([header, [str(n) for n in range(10)]]))
    catalog = tap.discover()
    assert list(types(catalog)) == names[:7] + names[8:]
    run = tap(_catalog=select(catalog, "users", without=("e.mail", "a b_2")))
    record = run.records("users")[0]
    assert {n: v for n, v in record.items() if n in names and n != "_sdc_row_number"} == {
        name: str(n) for n, name in enumerate(names) if name not in {"e.mail", "a b_2"}
    }


def test_column_drift_between_runs(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["user_id", "team", "alias"], ["1", "t", "a"]]))
    catalog = select(tap.discover(), "users")
    first = tap(_catalog=catalog)
    export = sandbox.add(
        "users", to_csv([["verified_credential_signInEnabled", "alias", "custom", "user_id"], ["true", "a", "c", "1"]])
    )
    second = tap(_catalog=catalog, _state=first.state)
    assert second.code == 0
    record = {n: v for n, v in second.records("users")[0].items() if not n.startswith("_sdc")}
    assert record == {
        "user_id": "1",
        "team": None,
        "alias": "a",
        "verified_credential_signInEnabled": True,
        "custom": "c",
    }
    properties = second.of("SCHEMA", "users")[0]["schema"]["properties"]
    assert properties["verified_credential_signInEnabled"]["type"] == ["boolean", "null"]
    assert properties["custom"]["type"] == ["string", "null"]
    assert f"Export {export.id}: new columns: custom, verified_credential_signInEnabled." in second.log
    assert f"Export {export.id}: columns that the file lacks: team." in second.log


def test_new_columns_are_left_out_with_one_warning_if_the_catalog_selects_columns(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["user_id", "team"], ["1", "t"]]))
    catalog = select(tap.discover(), "users", without=("team",))
    export = sandbox.add(
        "users", to_csv([["user_id", "team", "a", "b"], *[[str(n), "t", "x", "y"] for n in range(2000)]])
    )
    run = tap(_catalog=catalog)
    assert set(run.records("users")[0]) == {"user_id", "_sdc_export_id", "_sdc_exported_at", "_sdc_row_number"}
    assert run.warnings == [f"Export {export.id}: new columns are left out, because the catalog selects columns: a, b."]


def test_each_snapshot_is_read_with_its_own_header(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["user_id", "a"], ["1", "x"]]))
    sandbox.add("users", to_csv([["b", "user_id"], ["y", "1"]]))
    run = tap(snapshots="all")
    rows = [{n: v for n, v in r.items() if not n.startswith("_sdc")} for r in run.records("users")]
    assert rows == [{"user_id": "1", "b": None, "a": "x"}, {"user_id": "1", "b": "y"}]
    for schema, record in zip(run.of("SCHEMA", "users"), run.records("users"), strict=True):
        assert set(record) == set(schema["schema"]["properties"])


def test_a_column_that_was_text_once_stays_text(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    """Boolean, then text, then boolean again, with nightly discovery and with the catalog of the first night."""
    state: Message = {}
    nights = [("true", ["boolean", "null"]), ("maybe", ["string", "null"]), ("true", ["string", "null"])]
    for catalog in (documented, None):
        state = {}
        for cell, kind in nights:
            sandbox.add("users", to_csv([["user_id", "verified_credential_signInEnabled"], ["1", cell]]))
            run = tap(_catalog=catalog, _state=state)
            assert run.code == 0
            assert (
                run.of("SCHEMA", "users")[0]["schema"]["properties"]["verified_credential_signInEnabled"]["type"]
                == kind
            )
            assert run.records("users")[0]["verified_credential_signInEnabled"] == (
                cell == "true" if "boolean" in kind else cell
            )
            state = run.state
        assert state["bookmarks"]["users"]["text_columns"] == ["verified_credential_signInEnabled"]


def test_a_later_file_that_contradicts_the_key_fails_the_run(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["user_id", "chain"], ["1", "a"], ["2", "b"]]))
    first = tap()
    assert first.of("SCHEMA", "users")[0]["key_properties"] == ["user_id"]
    export = sandbox.add("users", to_csv([["user_id", "chain"], ["1", "a"], ["1", "b"]]))
    second = tap(_state=first.state)
    assert second.code == 1
    assert second.errors[0].startswith(
        f"Stream users, export {export.id}: user_id can't be the key: user_id is the same in rows 1 and 2."
        " Set the stream's table-key-properties to [_sdc_export_id, _sdc_row_number]"
    )
    assert not second.of("SCHEMA", "users")
    assert second.bookmark("users") == first.bookmark("users")
    # The fix that the message suggests:
    catalog = pinned(tap, *FALLBACK)
    entry_of(catalog)["key_properties"] = ["user_id"]
    third = tap(_state=first.state, _catalog=catalog)
    assert third.code == 0
    assert third.of("SCHEMA", "users")[0]["key_properties"] == FALLBACK


UNIQUE = [[f"id{n}", "x" * 200] for n in range(3000)]
"""Rows that fill more than the head of a file."""
CONTRADICTIONS = {
    "far apart": ([["id7", "b"]], "user_id is the same in rows 8 and 3001", "is the same in rows 8 and 3001"),
    "empty": ([["", "b"]], "user_id is empty in row 3001", "row 3001: key column 'user_id' is empty"),
}


@pytest.mark.parametrize(("rows", "problem", "error"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_the_key_is_verified_over_the_whole_file(
    sandbox: Sandbox, tap: Tap, rows: list[list[str]], problem: str, error: str
) -> None:
    """The first load chooses another key; a later one fails."""
    export = sandbox.add("users", to_csv([["user_id", "team"], *UNIQUE, *rows]))
    run = tap()
    assert run.code == 0
    assert run.of("SCHEMA", "users")[0]["key_properties"] == FALLBACK
    assert run.warnings == [f"Export {export.id}: the key is _sdc_export_id, _sdc_row_number, because {problem}."]
    assert run.bookmark("users")["key_properties"] == FALLBACK
    sandbox.add("users", to_csv([["user_id", "team"], *UNIQUE]))
    assert tap(_state=run.state).of("SCHEMA", "users")[0]["key_properties"] == FALLBACK
    first = tap()
    assert first.of("SCHEMA", "users")[0]["key_properties"] == ["user_id"]
    sandbox.add("users", to_csv([["user_id", "team"], *UNIQUE, *rows]))
    run = tap(_state=first.state)
    assert run.code == 1
    assert error in run.errors[0]
    assert "table-key-properties" in run.errors[0]
    assert run.bookmark("users") == first.bookmark("users")


def test_one_run_uses_one_key(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    exports = [
        sandbox.add("users", to_csv([["user_id", "team"], *rows])) for rows in ([["1", "a"]], [["1", "a"], ["1", "b"]])
    ]
    run = tap(export_ids=[e.id for e in exports], snapshots="all", _catalog=documented)
    assert run.code == 1
    assert {tuple(m["key_properties"]) for m in run.of("SCHEMA", "users")} == {("user_id",)}
    assert "user_id is the same in rows 1 and 2" in run.errors[0]


def test_a_column_that_differs_in_case_is_the_catalogs_column(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    sandbox.add("users", to_csv([["USER_ID", "User_Email", "VERIFIED_CREDENTIAL_SIGNINENABLED"], ["1", "a", "true"]]))
    run = tap(_catalog=documented)
    assert run.code == 0
    record = run.records("users")[0]
    assert (record["user_id"], record["user_email"], record["verified_credential_signInEnabled"]) == ("1", "a", True)
    assert not {"USER_ID", "User_Email", "VERIFIED_CREDENTIAL_SIGNINENABLED"} & set(
        run.of("SCHEMA", "users")[0]["schema"]["properties"]
    )
    assert run.of("SCHEMA", "users")[0]["key_properties"] == ["user_id"]


def pinned(tap: Tap, *key: str) -> Message:
    catalog = select(tap.discover(), "users")
    root = next(m for m in entry_of(catalog)["metadata"] if not m["breadcrumb"])
    root["metadata"]["table-key-properties"] = list(key)
    return catalog


def test_a_table_without_a_key_keeps_it_so(sandbox: Sandbox, tap: Tap) -> None:
    """Another key would leave the rows of earlier nights beside the new ones."""
    sandbox.add("users", to_csv([["user_id", "chain"], ["1", "a"], ["2", "b"], ["1", "a"]]))
    catalog = pinned(tap, "user_id", "chain")
    run = tap(_catalog=catalog)
    assert "user_id, chain is the same in rows 1 and 3" in run.warnings[0]
    for rows in ([["1", "a"], ["1", "b"]], [["1", "a"], ["1", "a"]]):
        export = sandbox.add("users", to_csv([["user_id", "chain"], *rows]))
        run = tap(_catalog=catalog, _state=run.state)
        assert run.code == 0, run.log
        assert run.of("SCHEMA", "users")[0]["key_properties"] == FALLBACK
        (warning,) = run.warnings
        assert warning.startswith(f"Export {export.id}: the key of the table is {', '.join(FALLBACK)}")
        assert "load into a new table (--full-refresh)" in warning
    sandbox.add("users", to_csv([["user_id", "chain"], ["1", "a"], ["1", "b"]]))
    assert tap(_catalog=catalog).of("SCHEMA", "users")[0]["key_properties"] == ["user_id", "chain"]


def test_cells_of_a_file_without_header_are_not_logged(sandbox: Sandbox, tap: Tap) -> None:
    """ID, the code of Indonesia, looks like the name of a column."""
    sandbox.add("users", to_csv([["id", "region", "firstName"], ["1", "DE", "a"]]))
    first = tap()
    catalog = select(tap.discover(), "users")
    sandbox.add("users", to_csv([["1001", "Budi Santoso", "+62 812 345", "ID", "Jakarta"], ["7", "x", "y", "SG", "z"]]))
    run = tap(_catalog=catalog, _state=first.state)
    assert "Budi" not in run.log
    assert "Jakarta" not in run.log
    assert "new columns: 4, in a file that may have no header" in run.log


HEADERLESS: dict[str, tuple[str, list[str]]] = {
    # name: (stream, a row that stands in the place of the header)
    "a known name twice": ("visits", ["ID", "ID", "SECRET1", "SECRET2", "metamask", "MetaMask"]),
    "a known name in most cells": ("visits", ["ID", "ID", "ID", "SECRET1"]),
    "a cell named id": ("users", ["u1", "c1", "SECRET1", "id"]),
    "no known name": ("users", ["u1", "c1", "SECRET1", "EVM"]),
}


@pytest.mark.parametrize("is_discovered", [False, True], ids=["documented", "discovered"])
@pytest.mark.parametrize(("stream", "row"), HEADERLESS.values(), ids=HEADERLESS)
def test_a_file_that_may_have_no_header_is_one_warning_without_its_cells(  # noqa: PLR0913 (fixtures)
    sandbox: Sandbox, tap: Tap, documented: Message, stream: str, row: list[str], *, is_discovered: bool
) -> None:
    export = sandbox.add(stream, to_csv([row, [*row[:-1], "other"]]))
    run = tap(_catalog=None if is_discovered else select(copy.deepcopy(documented), stream))
    assert run.code == 0, run.log
    assert len(run.records(stream)) == 1
    assert "SECRET" not in run.log
    assert "SECRET" not in json.dumps(run.state)
    assert run.warnings[0] == f"Export {export.id}: {DOUBT}."
    sandbox.add(stream, to_csv([[*row, "SECRET3"], [*row, "SECRET4"]]))
    run = tap(_catalog=select(tap.discover(), stream), _state=run.state)
    assert "SECRET" not in run.log


OLD, OWN = ["id"], ["user_email"]
PINS: dict[str, tuple[list[str] | None, list[str] | None, list[str] | None]] = {
    # name: (key_properties, table-key-properties, the key that the user sets)
    "none": (None, None, None),
    "empty": ([], [], None),
    "as discovery wrote it": (PAIR, PAIR, None),
    "in another case": (["USER_ID", "Verified_Credential_Id"], ["USER_ID", "Verified_Credential_Id"], None),
    "another candidate": (OLD, OLD, None),
    "no key was found": (FALLBACK, FALLBACK, None),
    "only one place has it": (PAIR, None, None),
    "the metadata says another": (PAIR, OWN, OWN),
    "the metadata says the fallback": (PAIR, FALLBACK, FALLBACK),
    "the metadata says another candidate": (PAIR, OLD, OLD),
    "the metadata alone": (None, OWN, OWN),
    "both say another": (OWN, OWN, OWN),
    "the key alone": (OWN, None, OWN),
    "the key says another, the metadata is as discovery wrote it": (OWN, PAIR, OWN),
    "a column twice": (PAIR, [*OWN, *OWN], OWN),
}


@pytest.mark.parametrize(("found", "pinned_key", "expected"), PINS.values(), ids=PINS)
def test_which_key_the_user_sets(
    found: list[str] | None, pinned_key: list[str] | None, expected: list[str] | None
) -> None:
    entry = {"tap_stream_id": "users", "schema": {"type": "object", "properties": {}}, "key_properties": found}
    metadata = {"breadcrumb": [], "metadata": {"selected": True, "table-key-properties": pinned_key}}
    stream = Catalog.from_dict({"streams": [{**entry, "metadata": [metadata]}]})["users"]
    assert user_key(stream, KEY_CANDIDATES["users"]) == (tuple(expected) if expected else None)


# --- documented types are verified over the whole first file

ROWS = 2500
"""Rows that fill more than the head of a file."""
READABLE = {
    "user_createdAt": (DAY, "2025-01-02 03:04:05.678+00", "2025-01-02 03:04:05+00"),
    "verified_credential_signInEnabled": ("true", "t", "f", "false"),
    "user_metadata": ('{"plan": "free"}', "{}"),
}
MISFITS = {
    "user_createdAt": "Fri Jan 02 2026",
    "verified_credential_signInEnabled": "yes",
    "user_metadata": "[object Object]",
}


def typed_rows(misfit: str | None = None, row: int = 0) -> list[list[str]]:
    """A table whose documented columns read as their types, but for one cell."""
    table = [[*PAIR, *READABLE, "user_alias"]]
    for n in range(ROWS):
        cells = {name: spellings[n % len(spellings)] if n % 5 else "" for name, spellings in READABLE.items()}
        if misfit and n == row:
            cells[misfit] = MISFITS[misfit]
        table.append([f"user {n // 2}", f"credential {n}", *cells.values(), "x" * 150])
    return table


def column_types(run: Run) -> dict[str, str]:
    """The types of the typed columns in the last SCHEMA message, which allow null."""
    schemas = run.of("SCHEMA", "users")[-1]["schema"]["properties"]
    assert all(schemas[name]["type"][1] == "null" for name in READABLE)
    return {name: schemas[name].get("format") or schemas[name]["type"][0] for name in READABLE}


AS_DOCUMENTED = {name: TYPED[name] for name in READABLE}


@pytest.mark.parametrize(("name", "row"), list(zip(MISFITS, (0, ROWS // 2, ROWS - 1), strict=True)), ids=MISFITS)
def test_one_cell_anywhere_in_the_first_file_makes_its_column_text(
    sandbox: Sandbox, tap: Tap, name: str, row: int
) -> None:
    export = sandbox.add("users", to_csv(typed_rows(name, row)))
    run = tap()
    assert run.code == 0, run.log
    assert run.warnings == [
        f"Export {export.id}: columns loaded as text, because they do not read as their documented types: {name}."
    ]
    assert column_types(run) == {**AS_DOCUMENTED, name: "string"}
    records = run.records("users")
    assert len(records) == ROWS
    assert records[row][name] == MISFITS[name]
    assert records[3 if row != 3 else 4][name] in READABLE[name]  # as it is written
    # The text is sticky, whatever later files have.
    sandbox.add("users", to_csv(typed_rows()))
    again = tap(_state=run.state)
    assert (again.code, again.warnings) == (0, [])
    assert column_types(again) == {**AS_DOCUMENTED, name: "string"}
    assert again.bookmark("users")["text_columns"] == [name]


def test_a_catalog_by_discovery_does_not_insist_on_a_type(sandbox: Sandbox, tap: Tap) -> None:
    name = "user_createdAt"
    catalog = select(tap.discover(), "users")  # documented
    sandbox.add("users", to_csv(typed_rows(name, ROWS - 1)))
    by_head = select(tap.discover(), "users")
    for found in (catalog, by_head):
        assert types(found)[name] == TYPED[name]
        run = tap(_catalog=found)
        assert run.code == 0, run.log
        assert column_types(run) == {**AS_DOCUMENTED, name: "string"}


def test_a_catalog_that_a_user_changed_insists(sandbox: Sandbox, tap: Tap) -> None:
    name = "user_createdAt"
    table = typed_rows(name, ROWS - 1)
    export = sandbox.add("users", to_csv([table[0], *([*row[:2], row[2][:10], *row[3:]] for row in table[1:])]))
    catalog = select(tap.discover(), "users")
    entry_of(catalog)["schema"]["properties"][name] = {"type": ["string", "null"], "format": "date"}
    run = tap(_catalog=catalog)
    assert run.code == 1
    assert run.errors[0].startswith(
        f"Stream users, export {export.id}, row {ROWS}: the cell of column '{name}' does not read as date."
    )
