"""`changes_only`, night after night: what is sent whole, and why. Histories at random are in tests/nights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import to_csv

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Tap

A = [["user_id", "user_email"], ["1", "a"], ["2", "b"]]
B = [["user_id", "user_email"], ["2", "c"], ["3", "d"]]


def run_night(sandbox: Sandbox, tap: Tap, rows: list[list[str]], state: Message, **settings: Any) -> Any:
    sandbox.add("users", to_csv(rows))
    run = tap(_state=state, **{"changes_only": True, **settings})
    assert run.code == 0, run.log
    return run


def sent(run: Any) -> list[tuple[str, bool]]:
    """The keys that are sent, and whether they are deleted."""
    return [(record["user_id"], record["_sdc_deleted_at"] is not None) for record in run.records("users")]


REASONS: list[tuple[dict[str, Any], str]] = [
    ({"stream_maps": {"users": {"user_email": "user_email"}}}, "columns, types, key or maps differ"),
    ({"emit_activate_version_messages": True}, "the last load had no version"),
]


@pytest.mark.parametrize(("settings", "reason"), REASONS)
def test_what_can_not_be_compared_is_sent_whole(
    sandbox: Sandbox, tap: Tap, settings: dict[str, Any], reason: str
) -> None:
    first = run_night(sandbox, tap, A, {})
    assert "all rows are emitted: there is no earlier load to compare with" in first.log
    second = run_night(sandbox, tap, B, first.state, **settings)
    assert f"all rows are emitted: {reason}" in second.log
    assert {("2", False), ("3", False)} <= set(sent(second))


@pytest.mark.parametrize("is_listed", [False, True], ids=["gone", "malformed"])
def test_an_earlier_export_that_can_not_be_compared(sandbox: Sandbox, tap: Tap, *, is_listed: bool) -> None:
    first = run_night(sandbox, tap, A, {})
    if is_listed:
        next(iter(sandbox.exports.values())).data = to_csv([*A, ["1", "again"]])
    else:
        sandbox.exports.clear()
    second = run_night(sandbox, tap, B, first.state)
    assert "all rows are emitted, and older deletions can't be seen" in second.warnings[-1]
    assert sent(second) == [("2", False), ("3", False)]


def test_an_empty_file_changes_nothing(sandbox: Sandbox, tap: Tap) -> None:
    first = run_night(sandbox, tap, A, {})
    second = run_night(sandbox, tap, A[:1], first.state)
    assert sent(second) == []
    assert "the file has no rows: none are deleted from the table" in second.warnings[-1]
    sandbox.add("users", to_csv(A[:1]))  # between, and never loaded
    assert sent(run_night(sandbox, tap, [*A, ["3", "c"]], second.state)) == [("3", False)]


def test_versions_of_full_loads_and_of_changes(sandbox: Sandbox, tap: Tap) -> None:
    first = run_night(sandbox, tap, A, {}, emit_activate_version_messages=True)
    second = run_night(sandbox, tap, B, first.state, emit_activate_version_messages=True)
    (activated,) = first.of("ACTIVATE_VERSION")
    records = [*first.of("RECORD", "users"), *second.of("RECORD", "users")]
    assert {record["version"] for record in records} == {activated["version"]}
    assert not second.of("ACTIVATE_VERSION")
    assert sent(second) == [("1", True), ("2", False), ("3", False)]


def test_a_map_must_keep_the_mark_of_deleted_rows(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv(A))
    run = tap(changes_only=True, stream_maps={"users": {"user_id": "user_id", "__else__": None}})
    assert run.code == 1
    assert "a stream map drops _sdc_deleted_at" in run.errors[0]


def test_deletions_are_found_on_the_night_that_switches_changes_on(sandbox: Sandbox, tap: Tap) -> None:
    first = run_night(sandbox, tap, A, {}, changes_only=False)
    assert "_sdc_deleted_at" not in first.records("users")[0]
    run = run_night(sandbox, tap, B, first.state)
    assert sent(run) == [("1", True), ("2", False), ("3", False)]
    assert "all rows are emitted: the last load was without changes_only" in run.log
