"""The bulk path, which overrides a private method of the SDK, emits the same messages as the SDK's own path."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from singer_sdk.streams import Stream

from sandbox.data import csv_file, to_csv
from tap_dynamic.singer.invalid_settings import describe, find_problems
from tests.conftest import Run, select

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Tap

# An identity stream map makes the tap use the SDK's path.
IDENTITY_MAPS: dict[str, Any] = {"stream_maps": {"users": {"user_email": "user_email"}, "visits": {"chain": "chain"}}}


def without_timestamps(run: Run) -> list[Message]:
    """Return the messages without `time_extracted`; versions, which are times too, are numbered."""
    assert run.code == 0, run.log
    versions: dict[str, list[int]] = {}
    messages = [{k: v for k, v in message.items() if k != "time_extracted"} for message in run.messages]
    for message in messages:
        if "version" in message:
            of_stream = versions.setdefault(message["stream"], [])
            if message["version"] not in of_stream:
                of_stream.append(message["version"])
            message["version"] = of_stream.index(message["version"])
        elif message["type"] == "STATE":
            for bookmark in message["value"]["bookmarks"].values():
                for name in ("table_version", "last_version"):
                    bookmark[name] = bool(bookmark.get(name))
    return messages


def metrics(run: Run) -> list[tuple[str, str, Any]]:
    points = [json.loads(line.split("METRIC: ")[1]) for line in run.log.splitlines() if "METRIC: " in line]
    counted = [p for p in points if p["metric"] in {"record_count", "sync_duration"}]
    return sorted((p["tags"]["stream"], p["metric"], p["value"] if p["type"] == "counter" else 0) for p in counted)


@pytest.mark.parametrize("version", [False, True], ids=["plain", "activate-version"])
def test_both_paths_emit_the_same_messages(sandbox: Sandbox, tap: Tap, *, version: bool) -> None:
    for seed in range(2):
        sandbox.add("users", csv_file("users", 2300, seed))
        sandbox.add("visits", csv_file("visits", 1000, seed))
    settings: dict[str, Any] = {"snapshots": "all", "emit_activate_version_messages": version}
    bulk, sdk = tap(**settings), tap(**settings, **IDENTITY_MAPS)
    messages = without_timestamps(bulk)
    for left, right in zip(messages, without_timestamps(sdk), strict=True):
        if left["type"] == "SCHEMA":  # a map expression drops the description
            assert list(left["schema"]["properties"]) == list(right["schema"]["properties"])
            assert left["key_properties"] == right["key_properties"]
        elif left["type"] == "STATE":
            for stream in left["value"]["bookmarks"]:
                right["value"]["bookmarks"][stream].pop("starting_replication_value", None)
            assert left == right
        else:
            assert left == right
    assert metrics(bulk) == metrics(sdk)
    assert sum(m["type"] == "ACTIVATE_VERSION" for m in messages) == (4 if version else 0)


def test_the_sdk_still_calls_the_method_that_the_bulk_path_overrides(sandbox: Sandbox, tap: Tap) -> None:
    """If a new SDK version stopped calling it, rows would be written one by one, or not at all."""
    assert Stream._sync_records.__code__.co_varnames[:3] == ("self", "context", "write_messages")  # noqa: SLF001
    sandbox.add("users", csv_file("users", 50))
    run = tap()
    assert len(run.records("users")) == 50
    assert len({m["time_extracted"] for m in run.of("RECORD", "users")}) == 1


def test_stream_maps_filter_rename_and_hash(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", csv_file("users", 40))
    maps = {
        "users": {
            "user_email": "md5(user_email) if user_email else None",
            "__filter__": "verified_credential_chain == 'EVM'",
            "__alias__": "people",
        },
        "__else__": None,
    }
    run = tap(stream_maps=maps, stream_map_config={})
    assert run.code == 0, run.log
    people = run.records("people")
    assert len(people) == 14
    assert all(p["user_email"] is None or len(p["user_email"]) == 32 for p in people)
    assert {m.get("stream") for m in run.messages} == {"people", None}


def test_flattening(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", csv_file("users", 10))
    run = tap(flattening_enabled=True, flattening_max_depth=2)
    assert run.code == 0, run.log
    record = run.records("users")[1]
    assert set(record) <= set(run.of("SCHEMA", "users")[0]["schema"]["properties"])
    assert json.loads(record["user_metadata"])["plan"] in {"free", "pro"}


def test_batches_contain_the_same_records(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    sandbox.add("users", csv_file("users", 2500))
    plain = tap()
    storage = {"root": f"file://{tmp_path}/batches", "prefix": "night-"}
    batched = tap(
        batch_config={"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": storage},
        emit_activate_version_messages=True,
    )
    assert batched.code == 0, batched.log
    records = [
        json.loads(line)
        for message in batched.of("BATCH", "users")
        for url in message["manifest"]
        for line in gzip.decompress(Path(urlsplit(url).path).read_bytes()).splitlines()
    ]
    assert records == plain.records("users")
    assert batched.bookmark("users") == plain.bookmark("users")
    # Rows in a batch have no version, so ACTIVATE_VERSION would delete them all.
    assert not batched.of("ACTIVATE_VERSION")
    last = [m["type"] for m in batched.messages if m.get("stream") != "exports"]
    assert last.index("BATCH") < len(last) - 1 - last[::-1].index("STATE")


@pytest.mark.parametrize(
    ("storage", "error"),
    [
        ({"root": "s3://"}, "root must be a folder, or a URL such as s3://bucket/folder"),
        ({"root": "s3:///folder"}, "root must be a folder"),
        ({"root": "S3://bucket/folder"}, "root must be a folder"),
        ({"root": "s3://key:hidden@bucket"}, "root must be a folder"),
        ({"root": "s3://bucket/a b"}, "root must be a folder"),
        ({"root": "/x#1"}, "root must be a folder"),
        ({"root": "/x", "prefix": "night#1-"}, "prefix must be without blanks, #, % or ?"),
        ({"root": "/x", "params": ["key"]}, "params must be of type object"),
        ({"root": "s3://bucket", "prefix": "2026/", "params": {"anon": True}}, None),
        ({"root": "s3://bucket/"}, None),
        ({"root": "/data/b\u00e4tches", "params": None}, None),
    ],
)
def test_storages_that_are_refused(storage: Message, error: str | None) -> None:
    config = {"batch_config": {"encoding": {"format": "jsonl"}, "storage": storage}}
    schema = {"type": "object", "properties": {"batch_config": {"type": "object"}}}
    errors = describe(find_problems(config, schema))
    assert [line.startswith(f"Setting batch_config.storage.{error}") for line in errors] == ([True] if error else [])


def test_deselected_properties_of_an_object_use_the_sdks_path(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", csv_file("users", 10))
    catalog = select(tap.discover(), "users")
    entry = next(e for e in catalog["streams"] if e["stream"] == "users")
    entry["schema"]["properties"]["user_metadata"]["properties"] = {
        "plan": {"type": ["string", "null"]},
        "note": {"type": ["string", "null"]},
    }
    path = ["properties", "user_metadata", "properties", "plan"]
    entry["metadata"].append({"breadcrumb": path, "metadata": {"inclusion": "available", "selected": False}})
    run = tap(_catalog=catalog)
    assert run.code == 0, run.log
    assert set(run.records("users")[1]["user_metadata"]) == {"loyaltyPoints"}


def test_a_test_run_stops_early_and_succeeds(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", csv_file("users", 100))
    sandbox.add("visits", csv_file("visits", 100))
    run = tap("--test")
    assert run.code == 0
    assert not run.out
    assert not run.errors


@pytest.mark.parametrize("maps", [{}, {"users": {"user_email": "user_email"}}], ids=["plain", "mapped"])
def test_parquet_files_hold_the_same_records(sandbox: Sandbox, tap: Tap, tmp_path: Path, maps: Message) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    sandbox.add("users", csv_file("users", 700).replace(b'""free""', b"0.10"))
    plain = tap()
    config = {"encoding": {"format": "parquet"}, "storage": {"root": f"file://{tmp_path}/batches"}, "batch_size": 250}
    run = tap(batch_config=config, stream_maps=maps)
    assert run.code == 0, run.log
    files = [urlsplit(url).path for m in run.of("BATCH", "users") for url in m["manifest"]]
    tables = [parquet.read_table(file) for file in files]
    assert len(tables) == 3
    assert len({str(table.schema) for table in tables}) == 1
    assert str(tables[0].schema.field("user_createdAt").type) == "timestamp[us, tz=UTC]"
    rows = [row for table in tables for row in table.to_pylist()]
    for row, record in zip(rows, plain.records("users"), strict=True):
        for name in ("user_id", "user_email", "verified_credential_signInEnabled", "_sdc_row_number"):
            assert row[name] == record[name]
        assert row["verified_credential_id"] == record["verified_credential_id"]
        assert json.loads(row["user_metadata"] or "null") == record["user_metadata"]


def test_parquet_holds_every_date_time_and_number_of_a_cell(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    seconds, digits = "2026-01-02T03:04:05", "2026-01-02T03:04:05.1234567Z"
    cells = [f"{seconds}Z", "", f"{seconds}.5+02:00", digits]
    rows = [[str(n), cell, f'{{"price": {n}.50}}'] for n, cell in enumerate(cells)]
    sandbox.add("users", to_csv([["user_id", "user_createdAt", "user_metadata"], *rows]))
    config = {"encoding": {"format": "parquet"}, "storage": {"root": f"file://{tmp_path}"}, "batch_size": 3}
    run = tap(batch_config=config)
    assert run.code == 0, run.log
    files = [urlsplit(url).path for m in run.of("BATCH", "users") for url in m["manifest"]]
    written = [row for file in files for row in parquet.read_table(file).to_pylist()]
    times = [row["user_createdAt"] and row["user_createdAt"].isoformat() for row in written]
    assert times == [
        "2026-01-02T03:04:05+00:00",
        None,
        "2026-01-02T01:04:05.500000+00:00",
        "2026-01-02T03:04:05.123456+00:00",
    ]
    assert [row["user_metadata"] for row in written] == [f'{{"price":{n}.50}}' for n in range(4)]


def test_a_large_json_cell_over_several_lines_is_one_record(sandbox: Sandbox, tap: Tap) -> None:
    cell = json.dumps({"list": ["x" * 20] * 40_000}, indent=1)
    sandbox.add("users", to_csv([["user_id", "user_metadata"], ["1", cell], ["2", "{}"]]))
    run = tap()
    assert run.code == 0
    assert [r["user_metadata"] for r in run.records("users")] == [json.loads(cell), {}]
