"""Exports requested by the tap: once each, and found again after an aborted run."""

from __future__ import annotations

import copy
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from sandbox.data import csv_file
from sandbox.server import Fault, SandboxExport, format_timestamp
from tests.conftest import select

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Tap


def ago(**duration: float) -> str:
    return format_timestamp(datetime.now(timezone.utc) - timedelta(**duration))


def test_both_exports_are_requested_before_waiting(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", csv_file("users", 99))
    run = tap(request_exports=True)
    assert run.code == 0
    assert (len(run.records("users")), len(run.records("visits"))) == (5, 5)
    kinds = [request.kind for request in sandbox.requests]
    first = kinds.index("create")
    assert kinds[first : first + 3] == ["create", "create", "get"]
    assert kinds.count("create") == 2
    assert len(run.records("exports")) == 3
    assert {r["status"] for r in run.records("exports")} == {"completed"}
    assert run.bookmark("users")["requested_export_id"] is None
    assert run.log.count("Waiting for export") == 1


def test_nothing_is_requested_for_a_deselected_stream(sandbox: Sandbox, tap: Tap) -> None:
    catalog = select(tap.discover(request_exports=True), "exports", "visits")
    run = tap(request_exports=True, _catalog=catalog)
    assert run.code == 0
    assert sandbox.count("create") == 1
    assert b"visits" in next(request.body for request in sandbox.requests if request.kind == "create")


@pytest.mark.parametrize("mode", ["--discover", "--test"])
def test_discovery_and_test_mode_do_not_create_exports(sandbox: Sandbox, tap: Tap, mode: str) -> None:
    sandbox.add("users", csv_file("users", 3))
    assert tap(mode, request_exports=True).code == 0
    assert sandbox.count("create") == 0


def test_the_next_run_waits_for_an_export_that_timed_out(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.export_factory = lambda model: SandboxExport(
        model, csv_file(model, 5), polls_left=10**6 if model == "users" else 1
    )
    run = tap(request_exports=True, export_timeout=0.3)
    assert run.code == 1
    requested_id = run.bookmark("users")["requested_export_id"]
    assert len(run.errors) == 1
    assert run.errors[0].startswith(
        f"Export {requested_id} of users is still pending after 0 seconds (export_timeout)."
    )
    assert len(run.records("visits")) == 5
    sandbox.exports[requested_id].polls_left = 1
    sandbox.export_factory = lambda model: SandboxExport(model, csv_file(model, 6))
    again = tap(request_exports=True, _state=run.state)
    assert again.code == 0
    assert (len(again.records("users")), len(again.records("visits"))) == (5, 6)
    assert sandbox.count("create") == 3
    assert f"Export {requested_id} was requested by an earlier run" in again.log


def test_the_id_is_in_the_state_as_soon_as_dynamic_responds(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.faults = [Fault("get", times=99, status=500, headers={"Retry-After": "0"})]
    run = tap(request_exports=True)
    assert run.code == 1
    assert {run.bookmark(s)["requested_export_id"] for s in ("users", "visits")} == set(sandbox.exports)
    first = run.of("STATE")[0]["value"]["bookmarks"]
    assert first["users"]["requested_export_id"] == run.bookmark("users")["requested_export_id"]
    assert not first.get("visits", {}).get("requested_export_id")  # it was not requested yet


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "pending", "created_at": ago(hours=2), "polls_left": 2}, ([7], 0)),
        ({"status": "completed", "created_at": ago(hours=25), "completed_at": ago(hours=24)}, ([7, 5], 1)),
        (None, ([5], 1)),
    ],
    ids=["pending", "old", "gone"],
)
def test_reuse_of_an_export_requested_by_an_earlier_run(
    sandbox: Sandbox, tap: Tap, documented: Message, fields: dict[str, str] | None, expected: tuple[list[int], int]
) -> None:
    catalog = select(copy.deepcopy(documented), "exports", "users")
    requested_id = sandbox.add("users", csv_file("users", 7), **fields).id if fields else "gone"
    state = {"bookmarks": {"users": {"requested_export_id": requested_id}}}
    run = tap(request_exports=True, _catalog=catalog, _state=state)
    assert run.code == 0
    loaded, requests = expected
    assert len(run.records("users")) == sum(loaded)
    assert len(run.of("SCHEMA", "users")) == len(loaded)
    assert sandbox.count("create") == requests


def test_a_remembered_export_of_another_model_is_not_read(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    other = sandbox.add("visits", csv_file("visits", 3))
    state = {"bookmarks": {"users": {"requested_export_id": other.id}}}
    run = tap(request_exports=True, _catalog=select(copy.deepcopy(documented), "exports", "users"), _state=state)
    assert (run.code, len(run.records("users")), sandbox.count("create")) == (0, 5, 1)


@pytest.mark.parametrize("failure", ["500", "reset", "timeout"])
@pytest.mark.parametrize("created", [True, False], ids=["created", "not-created"])
def test_after_an_ambiguous_failure_the_list_is_searched_first(
    sandbox: Sandbox, tap: Tap, failure: str, *, created: bool
) -> None:
    old = sandbox.add("users", csv_file("users", 9))
    fault = Fault("create", creates_anyway=created, status=500 if failure == "500" else None)
    fault.then = {"500": "close", "reset": "reset", "timeout": "stall"}[failure]
    sandbox.faults = [fault]
    run = tap(request_exports=True, read_timeout=0.3)
    assert run.code == 0
    assert sandbox.count("create") == (2 if created else 3)
    assert [len(run.records(s)) for s in ("users", "visits")] == [5, 5]
    assert len(sandbox.exports) == 3
    assert old.id in sandbox.exports


def test_a_refused_create_request_has_its_own_message(sandbox: Sandbox, tap: Tap) -> None:
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


def test_a_failed_requested_export_fails_the_run_after_the_others_are_read(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.export_factory = lambda model: SandboxExport(
        model,
        csv_file(model, 5),
        polls_left=1,
        final_status="failed" if model == "users" else "completed",
        error="TypeError: cannot read dyn_abc of https://x.y/z?sig=1\n at f",
    )
    started = time.monotonic()
    run = tap(request_exports=True)
    assert time.monotonic() - started < 30
    assert run.code == 1
    assert len(run.records("visits")) == 5
    assert len(run.errors) == 1
    assert "failed at Dynamic: TypeError: cannot read dyn_… of https://x.y/z?…." in run.errors[0]
