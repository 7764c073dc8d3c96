"""Which exports are read, and the resulting bookmarks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sandbox.data import csv_file, to_csv
from sandbox.server import API_TOKEN
from tests.conftest import select

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Run, Tap

SMALL = csv_file("users", 3)
KEY = ["user_id", "verified_credential_id"]
BROKEN = to_csv([KEY, ["1"]])


def read(run: Run, stream: str = "users") -> list[str]:
    """Return the ids of the exports whose rows were emitted, in order."""
    return list(dict.fromkeys(r["_sdc_export_id"] for r in run.records(stream)))


def test_latest_reads_the_newest_and_the_second_run_nothing(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", SMALL)
    newest = sandbox.add("users", SMALL)
    first = tap()
    assert read(first) == [newest.id]
    second = tap(_state=first.state)
    assert second.code == 0
    assert not second.of("RECORD", "users")
    assert not second.of("SCHEMA", "users")
    assert second.bookmark("users") == first.bookmark("users")
    assert sandbox.count("file") == 3  # one download, and one head per discovery


def test_start_date_ignores_older_exports(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", SMALL, completed_at="2026-10-02T00:00:00.000Z")
    new = sandbox.add("users", SMALL, completed_at="2026-10-05T00:00:00.000Z")
    assert read(tap(snapshots="all", start_date="2026-10-03T00:00:00Z")) == [new.id]
    assert read(tap(start_date="2026-10-06T00:00:00Z")) == []


def test_named_exports_are_always_read_and_never_move_the_bookmark_back(sandbox: Sandbox, tap: Tap) -> None:
    old, new = sandbox.add("users", SMALL), sandbox.add("users", SMALL)
    first = tap()
    second = tap(export_ids=[old.id], _state=first.state)
    assert read(second) == [old.id]
    assert second.bookmark("users")["replication_key_value"] == first.bookmark("users")["replication_key_value"]
    assert second.bookmark("users")["export_ids"] == [new.id]
    third = tap(export_ids=[new.id, old.id], _state=first.state)
    assert read(third) == [old.id, new.id]
    assert {r["id"] for r in third.records("exports")} == {old.id, new.id}
    assert not sandbox.requests[-1].path.endswith("/exports")


def test_a_named_pending_export_is_waited_for(sandbox: Sandbox, tap: Tap) -> None:
    done = sandbox.add("users", SMALL)
    pending = sandbox.add("users", SMALL, status="pending", polls_left=3)
    run = tap(export_ids=[pending.id, done.id])
    assert run.code == 0
    assert read(run) == [done.id, pending.id]
    assert {r["status"] for r in run.records("exports")} == {"completed"}


def test_awaited_exports_of_a_model_are_read_in_order_of_completion(sandbox: Sandbox, tap: Tap) -> None:
    """The first export reported as completed has the latest completion time."""
    late = sandbox.add("users", SMALL, status="pending", polls_left=2, completed_at="2026-10-09T00:00:00.000Z")
    early = sandbox.add("users", SMALL, status="pending", polls_left=4, completed_at="2026-10-08T00:00:00.000Z")
    assert read(tap(export_ids=[late.id, early.id])) == [early.id, late.id]


def test_state_stays_small_and_contains_no_secrets(sandbox: Sandbox, tap: Tap) -> None:
    for _ in range(12):
        sandbox.add("users", SMALL)
    state = json.dumps(tap(snapshots="all").state)
    assert len(state) < 1000
    assert not any(word in state for word in (API_TOKEN, "http", "Signature", "example.com"))


def test_the_bookmark_moves_only_after_the_last_row(sandbox: Sandbox, tap: Tap) -> None:
    good = sandbox.add("users", SMALL)
    sandbox.add("users", to_csv([KEY, *[[str(i), "x"] for i in range(2500)], ["too", "many", "cells"]]))
    run = tap(snapshots="all")
    assert run.code == 1
    assert len(run.records("users")) == 2503
    assert run.bookmark("users")["export_ids"] == [good.id]
    last_good = max(i for i, m in enumerate(run.messages) if m.get("record", {}).get("_sdc_export_id") == good.id)
    states = [(i, m["value"]["bookmarks"]["users"]) for i, m in enumerate(run.messages) if m["type"] == "STATE"]
    moved = next(i for i, users in states if users["export_ids"] == [good.id])
    assert moved > last_good


def test_a_failure_of_users_does_not_prevent_visits_from_loading(sandbox: Sandbox, tap: Tap) -> None:
    bad = sandbox.add("users", BROKEN)
    visits = sandbox.add("visits", csv_file("visits", 5))
    run = tap()
    assert run.code == 1
    assert len(run.records("visits")) == 5
    assert run.bookmark("visits")["export_ids"] == [visits.id]
    assert run.bookmark("users").get("replication_key_value") is None
    assert run.errors == [f"Stream users, export {bad.id}, row 1: 1 field, where the header has 2."]
    assert len(run.records("exports")) == 2


def test_all_reads_in_order_of_completion_and_stops_at_a_bad_export(sandbox: Sandbox, tap: Tap) -> None:
    last = sandbox.add("users", SMALL, completed_at="2026-10-09T00:00:00.000Z")
    first = sandbox.add("users", SMALL, completed_at="2026-10-02T00:00:00.000Z")
    bad = sandbox.add("users", BROKEN, completed_at="2026-10-03T02:00:00+02:00")
    run = tap(snapshots="all")
    assert run.code == 1
    waits = f"1 later export of users waits for export {bad.id}. To go on without it, set start_date to "
    assert run.errors[1] == f"{waits}{last.completed_at}."
    assert read(run) == [first.id]
    assert read(tap(snapshots="all", _state=run.state, start_date=last.completed_at)) == [last.id]
    bad.data = SMALL
    assert read(tap(snapshots="all", _state=run.state)) == [bad.id, last.id]


def test_valid_named_exports_are_read_despite_failures_of_others(sandbox: Sandbox, tap: Tap) -> None:
    first, bad, last = sandbox.add("users", SMALL), sandbox.add("users", BROKEN), sandbox.add("users", SMALL)
    gone = "99999999-9999-4999-8999-999999999999"
    failed = sandbox.add("users", status="failed", error="Error: broken\n at x")
    odd = sandbox.add("visits", status="paused")
    run = tap(export_ids=[last.id, bad.id, gone, failed.id, odd.id, first.id])
    assert run.code == 1
    assert read(run) == [first.id, last.id]
    assert run.bookmark("users")["export_ids"] == [last.id]
    for text in (
        f"Stream users, export {bad.id}, row 1",
        f"There is no such export (404): export {gone}",
        f"Export {failed.id} of users failed at Dynamic: Error: broken.",
        f"Export {odd.id} of visits has the status 'paused', which",
    ):
        assert [e for e in run.errors if e.startswith(text)], run.errors
    assert len(run.errors) == 4


def test_pending_exports_of_a_deselected_stream_are_not_waited_for(sandbox: Sandbox, tap: Tap) -> None:
    pending = sandbox.add("visits", SMALL, status="pending", polls_left=10**6)
    catalog = select(tap.discover(export_ids=[pending.id]), "exports", "users")
    run = tap(export_ids=[pending.id], _catalog=catalog)
    assert run.code == 0
    assert run.records("exports")[0]["status"] == "pending"
