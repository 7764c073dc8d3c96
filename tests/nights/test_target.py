"""The target itself: what it refuses and keeps."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.nights.target import RefusedError, UpsertTarget, merge

if TYPE_CHECKING:
    from pathlib import Path


def line(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode() + b"\n"


USERS = line(
    "SCHEMA",
    stream="users",
    schema={
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "at": {"type": ["string", "null"], "format": "date-time"},
            "_sdc_deleted_at": {"type": ["string", "null"], "format": "date-time"},
        },
    },
    key_properties=["id"],
)
REFUSED = {
    "record before schema": line("RECORD", stream="users", record={"id": "1"}),
    "version before schema": line("ACTIVATE_VERSION", stream="users", version=1),
    "wrong type": USERS + line("RECORD", stream="users", record={"id": 1}),
    "no date-time": USERS + line("RECORD", stream="users", record={"id": "1", "at": "2026-03-01T04:05Z"}),
    "no key": USERS + line("RECORD", stream="users", record={"at": None}),
    "unknown property": USERS + line("RECORD", stream="users", record={"id": "1", "x": None}),
    "unknown message": line("OTHER", stream="users"),
    "another key": USERS + line("STATE", value={}) + USERS.replace(b'["id"]', b'["at"]'),
    "equal columns": USERS.replace(b'"at"', b'"ID"'),
}


@pytest.mark.parametrize("out", REFUSED.values(), ids=REFUSED)
def test_the_target_refuses(out: bytes) -> None:
    with pytest.raises(RefusedError):
        list(UpsertTarget().read(out))


def test_the_target_keeps_whole_lines_and_the_last_whole_state() -> None:
    target = UpsertTarget()
    record = line("RECORD", stream="users", record={"id": "1"})
    list(target.read(USERS + record + line("STATE", value={"a": 1}) + line("STATE", value={"a": 2})[:-1]))
    assert target.state == {"a": 1}
    list(target.read(USERS + record.replace(b'"1"', b'"2"')[:-1]))
    assert list(target.tables["users"].rows) == [("1",)]


def test_the_target_deletes() -> None:
    rows = [line("RECORD", stream="users", record={"id": str(n)}, version=n) for n in range(3)]
    gone = line("RECORD", stream="users", record={"id": "1", "_sdc_deleted_at": "2026-03-01T04:05:06Z"})
    for hard_delete, remaining in ((True, [("0",), ("2",)]), (False, [("0",), ("1",), ("2",)])):
        target = UpsertTarget(hard_delete=hard_delete)
        list(target.read(USERS + b"".join(rows) + gone))
        assert list(target.tables["users"].rows) == remaining
        target.apply(json.loads(line("ACTIVATE_VERSION", stream="users", version=2)))
        assert list(target.tables["users"].rows) == [("2",)]


def test_the_target_loses_the_states_of_the_night_in_which_it_dies() -> None:
    target, rows = UpsertTarget(), [line("RECORD", stream="users", record={"id": str(n)}) for n in range(2)]
    list(target.read(USERS + line("STATE", value={"a": 1})))
    list(target.read(USERS + rows[0] + line("STATE", value={"a": 2}) + rows[1], dies_at=3))
    assert (target.state, list(target.tables["users"].rows)) == ({"a": 1}, [("0",)])


def test_the_target_reads_batch_files(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(gzip.compress(b'{"id": "1"}\n{"id": "2"}'))
    target, batch = UpsertTarget(), line("BATCH", stream="users", manifest=[(tmp_path / "rows").as_uri()])
    assert len(list(target.read(USERS + batch))) == 3
    assert list(target.tables["users"].rows) == [("1",), ("2",)]


def test_states_are_merged_deeply() -> None:
    old, new = {"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [], "e": {"f": None}}}
    assert merge(old, new) == {"a": {"b": 1, "c": [], "e": {"f": None}}, "d": 1}
