"""Parquet BATCH files: one Arrow schema, and the records of RECORD messages in it; read by pyarrow and DuckDB."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from sandbox.data import HEADERS, csv_file, rows, to_csv
from tests.conftest import select

parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Run, Tap

ARROW_TYPES = {
    "string": "string",
    "integer": "int64",
    "number": "double",
    "boolean": "bool",
    "date": "date32[day]",
    "date-time": "timestamp[us, tz=UTC]",
    "object": "string",
    "array": "string",
}
KEPT = {"user_id": "user_id", "verified_credential_id": "verified_credential_id"}
"""What a map needs that keeps only the key."""
MAP_CASES: dict[str, Message] = {
    "none": {},
    "added, dropped, renamed": {
        "stream_maps": {
            "users": {
                "twice": "int(_sdc_row_number) * 2",
                "share": "float(1) / 3",
                "wallet": "verified_credential_address",
                "verified_credential_address": None,
                "user_email": "md5(user_email) if user_email else None",
                "seen": "datetime.datetime(2026, 1, 2, 3, 4, 5)",
            }
        }
    },
    "alias and filter": {
        "stream_maps": {"users": {"__alias__": "people", "__filter__": "verified_credential_signInEnabled"}}
    },
    "two streams of one": {
        "stream_maps": {
            "users": {"user_email": "user_email"},
            "logins": {"__source__": "users", **KEPT, "__else__": None},
        }
    },
    "only some columns": {"stream_maps": {"users": {**KEPT, "user_createdAt": "user_createdAt", "__else__": None}}},
    "flattening": {"flattening_enabled": True, "flattening_max_depth": 3},
    "an untyped expression": {
        "stream_maps": {"users": {"mixed": "1 if verified_credential_signInEnabled else user_email"}}
    },
}


def batch_config(folder: Path, **options: Any) -> Message:
    return {"encoding": {"format": "parquet"}, "storage": {"root": str(folder / "batches")}, **options}


def files_of(run: Run, stream: str) -> list[str]:
    """Return the paths of a stream's files, from the BATCH messages."""
    assert run.code == 0, run.log
    return [urlsplit(url).path for message in run.of("BATCH", stream) for url in message["manifest"]]


def kind_of(schema: Message) -> str:
    """Return the type of a column's SCHEMA: one beside null, with its format; text if there are several."""
    types = [t for t in [schema.get("type", [])] for t in ([t] if isinstance(t, str) else t) if t != "null"]
    kind = types[0] if len(types) == 1 else "string"
    return str(schema["format"]) if kind == "string" and schema.get("format") in {"date", "date-time"} else str(kind)


def parse_json(value: Any, kind: str) -> Any:
    return json.loads(value) if kind in {"object", "array"} and value is not None else value


def expected_value(value: Any, kind: str) -> Any:
    """Return what a Parquet file holds for a value of a RECORD message."""
    if value is None or kind in {"object", "array"}:
        return value
    if kind == "date-time":
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    if kind == "string" and not isinstance(value, str):
        return json.dumps(value)
    if kind == "date":
        return date.fromisoformat(value)
    return float(value) if kind == "number" else value


def assert_same_records(run: Run, plain: Run, stream: str) -> list[Message]:
    """Assert that the files of a stream have one schema, that of SCHEMA, and the rows of the RECORD messages."""
    tables = [parquet.read_table(file) for file in files_of(run, stream)]
    schema = run.of("SCHEMA", stream)[-1]["schema"]["properties"]
    kinds = {name: kind_of(column) for name, column in schema.items()}
    for table in tables:
        assert {field.name: str(field.type) for field in table.schema} == {n: ARROW_TYPES[k] for n, k in kinds.items()}
    found = [
        {name: parse_json(value, kinds[name]) for name, value in row.items()}
        for table in tables
        for row in table.to_pylist()
    ]
    assert plain.code == 0, plain.log
    records = plain.records(stream)
    assert records
    assert found == [{name: expected_value(r.get(name), kind) for name, kind in kinds.items()} for r in records]
    return found


def test_five_files_with_empty_columns_are_one_table(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    """Types come from SCHEMA, not from the rows of a file: the first files have empty columns."""
    late = {"verified_credential_signInEnabled", "user_lastVisit", "user_metadata", "user_alias"}
    header = HEADERS["users"]
    table = [
        ["" if name in late and number < 600 else cell for name, cell in zip(header, row, strict=True)]
        for number, row in enumerate(rows("users", 1250))
    ]
    sandbox.add("users", to_csv([header, *table]))
    catalog = select(tap.discover(), "exports", "users", without=("user_email", "user_createdAt"))
    run = tap(_catalog=catalog, batch_config=batch_config(tmp_path, batch_size=250))
    assert len(files_of(run, "users")) == 5
    plain = tap(_catalog=catalog)
    assert "user_email" not in assert_same_records(run, plain, "users")[0]
    assert "downloadUrl" not in assert_same_records(run, plain, "exports")[0]
    connection = duckdb.connect()
    pattern = f"{tmp_path}/batches/tap-dynamic--users-*.parquet"
    connection.execute(f"create table users as from read_parquet('{pattern}')")
    kinds = dict(connection.execute("select column_name, data_type from duckdb_columns()").fetchall())
    assert {
        name: kinds[name] for name in ("user_lastVisit", "_sdc_exported_at", "_sdc_row_number", "user_metadata")
    } == {
        "user_lastVisit": "TIMESTAMP WITH TIME ZONE",
        "_sdc_exported_at": "TIMESTAMP WITH TIME ZONE",
        "_sdc_row_number": "BIGINT",
        "user_metadata": "VARCHAR",
    }


TYPES: dict[str, tuple[Message, list[str]]] = {
    "text": ({"type": ["string", "null"]}, ["", "007", "a\nb", "\u00e9\u738b", "null"]),
    "whole": ({"type": ["integer", "null"]}, ["", "9223372036854775807", "-9223372036854775808", "0", "+7"]),
    "digits": ({"type": ["string", "null"]}, ["9223372036854775808", "1" * 40, "", "1", "2"]),
    "number": ({"type": ["number", "null"]}, ["", "0.1", "1e308", "-12345678901234567890.5", "1E-400"]),
    "flag": ({"type": ["boolean", "null"]}, ["", "true", "FALSE", "t", "0"]),
    "nested": ({"type": ["object", "null"]}, ["", '{"a": 1.10}', '{"b": [1, {"c": null}]}', "{}", '{"d": "\\u00e9"}']),
    "list": ({"type": ["array", "null"]}, ["", "[]", "[1, 2.5]", '["x"]', '[{"a": true}]']),
    "day": ({"type": ["string", "null"], "format": "date"}, ["", "0001-01-01", "9999-12-31", "2024-02-29", ""]),
    "moment": (
        {"type": ["string", "null"], "format": "date-time"},
        ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-01-01 12:00", "2026-01-01T00:00:00+05:30", ""],
    ),
    "any": ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, ["", "1", "2", "3", "4"]),
    "one": (
        {"oneOf": [{"type": "null"}, {"type": "string", "format": "date-time"}]},
        ["", "2026-01-01", "", "2026-01-01T00:00:00.000001Z", ""],
    ),
    "several": ({"type": ["integer", "boolean", "null"]}, ["1", "true", "", "x", "y"]),
    "required": ({"type": "integer"}, ["1", "2", "3", "4", "5"]),
}


@pytest.mark.parametrize("maps", [{}, {"stream_maps": {"users": {"user_id": "user_id"}}}], ids=["plain", "mapped"])
def test_every_type_that_can_be_set(sandbox: Sandbox, tap: Tap, tmp_path: Path, maps: Message) -> None:
    header = ["user_id", *TYPES]
    sandbox.add("users", to_csv([header, *([str(n), *(cells[n] for _, cells in TYPES.values())] for n in range(5))]))
    catalog = select(tap.discover(), "users")
    properties = next(e for e in catalog["streams"] if e["stream"] == "users")["schema"]["properties"]
    properties.update({name: schema for name, (schema, _) in TYPES.items()})
    plain = tap(_catalog=catalog, **maps)
    run = tap(_catalog=catalog, batch_config=batch_config(tmp_path, batch_size=2), **maps)
    assert_same_records(run, plain, "users")
    # Decimals inside of JSON keep their digits.
    assert parquet.read_table(files_of(run, "users")[0])["nested"].to_pylist()[1] == '{"a":1.10}'


def test_fractions_finer_than_microseconds_are_cut(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    moments = ["2026-01-01T00:00:00.1234567Z", "9999-12-31T23:59:59.999999999Z", "2026-01-01T00:00:00.000000001+01:00"]
    sandbox.add(
        "users", to_csv([["user_id", "user_createdAt"], *([str(n), moment] for n, moment in enumerate(moments))])
    )
    run = tap(batch_config=batch_config(tmp_path))
    assert [str(m) for m in parquet.read_table(files_of(run, "users")[0])["user_createdAt"].to_pylist()] == [
        "2026-01-01 00:00:00.123456+00:00",
        "9999-12-31 23:59:59.999999+00:00",
        "2025-12-31 23:00:00+00:00",
    ]


@pytest.mark.parametrize("case", MAP_CASES)
def test_maps_and_flattening(sandbox: Sandbox, tap: Tap, tmp_path: Path, case: str) -> None:
    sandbox.add("users", csv_file("users", 300))
    settings = MAP_CASES[case]
    plain, run = tap(**settings), tap(batch_config=batch_config(tmp_path, batch_size=70), **settings)
    assert plain.code == 0, plain.log
    streams = {m["stream"] for m in plain.of("RECORD")}
    assert len(streams) == (3 if case == "two streams of one" else 2)
    for stream in streams:
        assert_same_records(run, plain, stream)
    if case == "none":
        assert len(files_of(run, "users")) == 5


def test_nights_with_changes_only(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    """The newest row of each key that is not deleted: what docs/bulk.md reads from the files of all nights."""
    nights = [
        [["1", "x", "a"], ["1", "y", "a"], ["2", "", "b"], ["3", "", "c"]],
        [["1", "x", "a"], ["2", "z", "b"], ["3", "", "changed"], ["4", "", "d"]],
        [["1", "x", "a"], ["1", "y", "back"], ["2", "", "b"], ["4", "", "d"]],
    ]
    state: Message = {}
    for table in nights:
        sandbox.add("users", to_csv([["user_id", "verified_credential_id", "user_email"], *table]))
        run = tap(_state=state, changes_only=True, batch_config=batch_config(tmp_path, batch_size=2))
        files_of(run, "users")
        state = run.state
        query = (
            "select user_id, verified_credential_id, user_email"
            f" from read_parquet('{tmp_path}/batches/*--users-*.parquet', union_by_name = true)"
            " qualify row_number() over"
            " (partition by user_id, verified_credential_id order by _sdc_exported_at desc) = 1"
            " and _sdc_deleted_at is null order by user_id, verified_credential_id"
        )
        assert duckdb.sql(query).fetchall() == [tuple(row) for row in table]


def test_large_cells_end_a_row_group(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    """Memory stays bounded whatever the size of the cells."""
    notes = [str(n) * 250_000 for n in range(100, 200)]
    sandbox.add("users", to_csv([["user_id", "note"], *([str(n), note] for n, note in enumerate(notes))]))
    cases: tuple[Message, ...] = ({}, {"stream_maps": {"users": {"user_id": "user_id"}}})
    for maps in cases:
        run = tap(batch_config=batch_config(tmp_path), **maps)
        (file,) = files_of(run, "users")
        assert parquet.ParquetFile(file).metadata.num_row_groups == 2
        assert parquet.read_table(file)["note"].to_pylist() == notes


def test_large_rows_are_row_groups_of_their_own(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    """Two of them would fill the memory of one group."""
    notes = [c * (9 << 20) for c in "abc"]
    sandbox.add("users", to_csv([["user_id", "note"], *([str(n), note] for n, note in enumerate(notes))]))
    (file,) = files_of(tap(batch_config=batch_config(tmp_path)), "users")
    assert parquet.ParquetFile(file).metadata.num_row_groups == 3
    assert parquet.read_table(file)["note"].to_pylist() == notes


@pytest.mark.parametrize(
    ("kind", "cell", "maps"),
    [
        ("number", "1e999", {}),
        ("number", "1e999", {"user_id": "user_id"}),
        ("integer", "1", {"points": "int(2 ** 63) if user_id == '3' else 1"}),
    ],
)
def test_a_value_that_does_not_fit(  # noqa: PLR0913, PLR0917 (fixtures)
    sandbox: Sandbox, tap: Tap, tmp_path: Path, kind: str, cell: str, maps: Message
) -> None:
    sandbox.add("users", to_csv([["user_id", "points"], ["1", "1"], ["2", ""], ["3", cell], ["4", "2"]]))
    catalog = select(tap.discover(), "users")
    users = next(e for e in catalog["streams"] if e["stream"] == "users")
    users["schema"]["properties"]["points"] = {"type": [kind, "null"]}
    stream_maps: Message = {"stream_maps": {"users": maps}} if maps else {}
    run = tap(_catalog=catalog, batch_config=batch_config(tmp_path), **stream_maps)
    assert run.code == 1
    (error,) = run.errors
    assert "row 3: column 'points' holds" in error
    assert 'Set its type in the catalog or the stream map to ["string", "null"]' in error
    assert cell not in error or cell == "1"
    assert run.bookmark("users").get("replication_key_value") is None


def test_not_a_number_is_null_as_in_json(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    sandbox.add("users", to_csv([["user_id"], ["1"], ["2"]]))
    maps: Message = {"stream_maps": {"users": {"ratio": "float('nan') if user_id == '1' else float('inf')"}}}
    found = assert_same_records(tap(batch_config=batch_config(tmp_path), **maps), tap(**maps), "users")
    assert [row["ratio"] for row in found] == [None, None]


def test_files_appear_whole_in_a_folder_of_the_prefix(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    """URLs are not quoted: targets built with the SDK do not unquote them."""
    sandbox.add("users", csv_file("users", 30))
    storage = {"root": str(tmp_path / "b\u00e4tches"), "prefix": "2026-01-01/night-"}
    run = tap(batch_config=batch_config(tmp_path, storage=storage))
    (file,) = files_of(run, "users")
    assert Path(file).name.startswith("night-tap-dynamic--users-")
    assert sorted((tmp_path / "b\u00e4tches" / "2026-01-01").iterdir()) == sorted(
        Path(f) for stream in ("exports", "users") for f in files_of(run, stream)
    )


def test_a_dry_run_leaves_no_files(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    sandbox.add("users", csv_file("users", 30))
    run = tap("--test", batch_config=batch_config(tmp_path))
    assert run.code == 0
    assert not run.out
    assert not (tmp_path / "batches").exists()


def test_a_folder_that_can_not_be_made(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    sandbox.add("users", csv_file("users", 30))
    (tmp_path / "file").write_text("")
    run = tap(batch_config=batch_config(tmp_path, storage={"root": str(tmp_path / "file" / "batches")}))
    assert run.code == 1
    for stream, error in zip(("exports", "users"), sorted(run.errors), strict=True):
        assert error.startswith(f"Stream {stream}, BATCH file can't be stored in ")
        assert error.endswith(": not a directory. Check batch_config.storage.")
    assert not run.of("BATCH", "users")
    assert run.bookmark("users").get("replication_key_value") is None
