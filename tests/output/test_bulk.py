"""The bulk path, which overrides a private method of the SDK, emits the same messages as the SDK's own path."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from sandbox.data import csv_file
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


KEPT = {"user_id": "user_id", "verified_credential_id": "verified_credential_id", "__else__": None}
MAPPED: dict[str, dict[str, Any]] = {
    "plain": {},
    "hashed": {
        "users": {
            "user_email": "md5(user_email) if user_email else None",
            "__filter__": "verified_credential_chain == 'EVM'",
            "__alias__": "people",
        },
        "__else__": None,
    },
    "two": {"people": {"__source__": "users", **KEPT}},
    "removed": {"users": None},
}


@pytest.mark.parametrize("maps", MAPPED)
def test_batch_files_hold_what_record_messages_would(sandbox: Sandbox, tap: Tap, tmp_path: Path, maps: str) -> None:
    sandbox.add("users", csv_file("users", 60))
    sandbox.add("users", status="failed")
    catalog = select(tap.discover(), "exports", "users", without=("user_firstName", "downloadUrl"))
    settings: dict[str, Any] = {"stream_maps": MAPPED[maps], "_catalog": catalog}
    config = {"encoding": {"format": "jsonl"}, "storage": {"root": f"file://{tmp_path}/batches"}, "batch_size": 7}
    plain = tap(**settings)
    batched = tap(batch_config=config, emit_activate_version_messages=True, **settings)
    assert (plain.code, batched.code) == (0, 0), batched.log
    for stream in ("exports", "users", "people"):
        files = [urlsplit(url).path for m in batched.of("BATCH", stream) for url in m["manifest"]]
        assert all(file.endswith(".json.gz") for file in files)
        lines = [line for file in files for line in gzip.decompress(Path(file).read_bytes()).splitlines()]
        assert [json.loads(line) for line in lines] == plain.records(stream)
    assert batched.bookmark("users") == plain.bookmark("users")
    # Rows in a batch have no version, so ACTIVATE_VERSION would delete them all.
    assert not batched.of("ACTIVATE_VERSION")
    last = [m["type"] for m in batched.messages if m.get("stream") != "exports"]
    assert "BATCH" not in last[len(last) - 1 - last[::-1].index("STATE") :]
    if maps == "hashed":
        assert {m.get("stream") for m in plain.messages} == {"people", None}
        people = plain.records("people")
        assert 0 < len(people) < 60
        assert all(p["user_email"] is None or len(p["user_email"]) == 32 for p in people)


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
