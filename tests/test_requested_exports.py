"""Exports that the tap asks for: once each, found again after a run that died."""

from __future__ import annotations

import copy
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from sandbox.data import csv_file
from sandbox.server import Export, Fault, stamp
from tests.conftest import select

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Tap


def ago(**span: float) -> str:
    return stamp(datetime.now(timezone.utc) - timedelta(**span))


def test_both_are_requested_first_then_waited_for(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", csv_file("users", 99))
    run = tap(request_exports=True)
    assert run.code == 0
    assert (len(run.records("users")), len(run.records("visits"))) == (5, 5)
    kinds = [seen.kind for seen in sandbox.seen]
    first = kinds.index("create")
    assert kinds[first : first + 3] == ["create", "create", "get"]
    assert kinds.count("create") == 2
    assert len(run.records("exports")) == 3
    assert {r["status"] for r in run.records("exports")} == {"completed"}
    assert "requested_export_id" not in run.bookmark("users")
    assert run.log.count("Waiting for export") == 1


def test_nothing_is_requested_for_a_deselected_stream(sandbox: Sandbox, tap: Tap) -> None:
    catalog = select(tap.discover(request_exports=True), "exports", "visits")
    run = tap(request_exports=True, _catalog=catalog)
    assert run.code == 0
    assert sandbox.count("create") == 1
    assert b"visits" in sandbox.seen[[s.kind for s in sandbox.seen].index("create")].body


@pytest.mark.parametrize("mode", ["--discover", "--test"])
def test_discovery_and_test_create_no_export(sandbox: Sandbox, tap: Tap, mode: str) -> None:
    sandbox.add("users", csv_file("users", 3))
    assert tap(mode, request_exports=True).code == 0
    assert sandbox.count("create") == 0


def test_a_timed_out_export_is_named_and_the_next_run_waits_for_the_same(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.make = lambda model: Export(model, csv_file(model, 5), looks=10**6 if model == "users" else 1)
    run = tap(request_exports=True, export_timeout=0.3)
    assert run.code == 1
    asked = run.bookmark("users")["requested_export_id"]
    assert len(run.errors) == 1
    assert run.errors[0].startswith(f"Export {asked} of users is still pending after 0 seconds (export_timeout).")
    assert len(run.records("visits")) == 5
    sandbox.exports[asked].looks = 1
    sandbox.make = lambda model: Export(model, csv_file(model, 6))
    again = tap(request_exports=True, _state=run.state)
    assert again.code == 0
    assert (len(again.records("users")), len(again.records("visits"))) == (5, 6)
    assert sandbox.count("create") == 3
    assert f"Export {asked} was requested by an earlier run" in again.log


def test_the_id_is_in_the_state_from_the_moment_dynamic_answered(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.faults = [Fault("get", times=99, status=500, headers={"Retry-After": "0"})]
    run = tap(request_exports=True)
    assert run.code == 1
    assert {run.bookmark(s)["requested_export_id"] for s in ("users", "visits")} == set(sandbox.exports)


@pytest.mark.parametrize(
    ("fields", "is_reused"),
    [
        ({"status": "pending", "created_at": ago(hours=2), "looks": 2}, True),
        ({"status": "completed", "created_at": ago(minutes=20), "completed_at": ago(minutes=10)}, True),
        ({"status": "completed", "created_at": ago(hours=25), "completed_at": ago(hours=24)}, False),
        ({"status": "pending", "created_at": ago(hours=25), "looks": 2}, False),
        ({"status": "failed", "created_at": ago(minutes=20)}, False),
        (None, False),
    ],
    ids=["pending", "fresh", "old", "stuck", "failed", "gone"],
)
def test_what_an_earlier_run_requested(
    sandbox: Sandbox, tap: Tap, documented: Message, fields: dict[str, str] | None, *, is_reused: bool
) -> None:
    catalog = select(copy.deepcopy(documented), "exports", "users")
    asked = sandbox.add("users", csv_file("users", 7), **fields).id if fields else "gone"
    state = {"bookmarks": {"users": {"requested_export_id": asked}}}
    run = tap(request_exports=True, _catalog=catalog, _state=state)
    assert run.code == 0
    assert len(run.records("users")) == (7 if is_reused else 5)
    assert sandbox.count("create") == (0 if is_reused else 1)


@pytest.mark.parametrize("how", ["500", "reset", "timeout"])
@pytest.mark.parametrize("acts", [True, False], ids=["created", "not-created"])
def test_after_an_ambiguous_failure_the_list_is_looked_through_first(
    sandbox: Sandbox, tap: Tap, how: str, *, acts: bool
) -> None:
    old = sandbox.add("users", csv_file("users", 9))
    fault = Fault("create", acts=acts, status=500 if how == "500" else None)
    fault.then = {"500": "close", "reset": "reset", "timeout": "stall"}[how]
    sandbox.faults = [fault]
    run = tap(request_exports=True, read_timeout=0.3)
    assert run.code == 0
    assert sandbox.count("create") == (2 if acts else 3)
    assert [len(run.records(s)) for s in ("users", "visits")] == [5, 5]
    assert len(sandbox.exports) == 3
    assert old.id in sandbox.exports


def test_a_refused_create_has_its_own_advice(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.create_allowed = False
    sandbox.add("users", csv_file("users", 3))
    run = tap(request_exports=True)
    assert run.code == 1
    (error,) = run.errors
    assert error == (
        "Dynamic does not let this token create an export (403). Make the export in Dynamic's dashboard and set"
        " request_exports to false: the tap then reads the newest one. Dynamic says: Forbidden"
    )
    assert len(run.records("exports")) == 1


def test_a_failed_request_ends_the_run_after_the_others(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.make = lambda model: Export(
        model,
        csv_file(model, 5),
        looks=1,
        ends="failed" if model == "users" else "completed",
        error="TypeError: cannot read dyn_abc of https://x.y/z?sig=1\n at f",
    )
    began = time.monotonic()
    run = tap(request_exports=True)
    assert time.monotonic() - began < 30
    assert run.code == 1
    assert len(run.records("visits")) == 5
    assert len(run.errors) == 1
    assert "failed at Dynamic: TypeError: cannot read dyn_… of https://x.y/z?…." in run.errors[0]
