"""Nights whose state was lost, exports that lie between, settings that change: the table equals the newest export."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import to_csv
from sandbox.exports import SandboxExport
from sandbox.faults import Fault
from tests.nights.target import UpsertTarget

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Run, Tap

ENABLED = "verified_credential_signInEnabled"
HEADER = ["user_id", "user_email", ENABLED]
Users = dict[str, str]
"""The e-mail address of each user; one that ends in ? has a cell that is no boolean."""


class Nights:
    """Loads exports with `changes_only` into a target that upserts."""

    def __init__(self, sandbox: Sandbox, tap: Tap) -> None:
        self.sandbox, self.tap = sandbox, tap
        self.target = UpsertTarget()
        self.state: Message = {}

    def export(self, users: Users, header: list[str] = HEADER) -> SandboxExport:
        rows = [[user, email, "maybe" if email.endswith("?") else "true"] for user, email in users.items()]
        return self.sandbox.add("users", to_csv([header, *(row[: len(header)] for row in rows)]))

    def run(self, *, is_lost: bool = False, code: int = 0, **settings: Any) -> Run:
        """Run a night; its rows reach the target even if its state does not."""
        run = self.tap(_state=self.state, **{"changes_only": True, **settings})
        assert run.code == code, run.log
        list(self.target.read(run.out.encode()))
        if not is_lost:
            self.state = run.state
        return run

    @property
    def table(self) -> dict[str, tuple[Any, ...]]:
        table = self.target.tables["users"]
        records = (table.rows[key].record for key in table.alive)
        return {record["user_id"]: (record["user_email"], record[ENABLED]) for record in records}


@pytest.fixture
def nights(sandbox: Sandbox, tap: Tap) -> Nights:
    return Nights(sandbox, tap)


def typed(users: Users) -> dict[str, tuple[Any, ...]]:
    return {user: (email, True) for user, email in users.items()}


A, X = {"1": "a", "2": "b", "3": "c"}, {"1": "A", "2": "b", "4": "d"}


def test_a_column_that_was_text_in_the_lost_night_only(nights: Nights) -> None:
    nights.export(A)
    nights.run()
    nights.export({**A, "3": "?"})
    assert "loaded as text" in nights.run(is_lost=True).log
    nights.export(A)
    assert "an export since the last load does not read as the types of this one" in nights.run().log
    assert nights.table == typed(A)


@pytest.mark.parametrize("settings", [{}, {"changes_only": False}], ids=["compared", "not compared"])
def test_an_empty_file_after_a_lost_night(nights: Nights, settings: dict[str, Any]) -> None:
    nights.export(A)
    nights.run()
    nights.export(X)
    nights.run(is_lost=True)
    nights.export({}, HEADER[:2])
    nights.run(**settings)
    nights.export(A)
    nights.run()
    assert nights.table == typed(A)


def test_an_empty_file_leads_to_nothing_that_is_not_needed(nights: Nights) -> None:
    nights.export(A)
    nights.run()
    unread = nights.export({**A, "3": "C"})
    nights.export({}, HEADER[:2])
    nights.run()
    nights.sandbox.exports.pop(unread.id)
    nights.export({**A, "3": "C"})
    assert len(nights.run().records("users")) == 1
    assert nights.table == typed({**A, "3": "C"})


def test_an_interrupted_night_after_an_export_that_is_gone(nights: Nights) -> None:
    nights.export(A)
    nights.run()
    unread = nights.export({**A, "3": "C"})
    nights.export({**A, "3": "CC"})
    run = nights.run(is_lost=True)
    nights.state = run.of("STATE")[-2]["value"]  # before its rows
    nights.sandbox.exports.pop(unread.id)
    nights.export({**A, "3": "CCC"})
    assert len(nights.run().records("users")) == 1
    assert nights.table == typed({**A, "3": "CCC"})


def test_a_start_date_after_a_lost_night(nights: Nights) -> None:
    nights.export(A)
    nights.run(snapshots="all")
    nights.export(X)
    nights.run(snapshots="all", is_lost=True)
    newest = nights.export(A)
    nights.run(snapshots="all", start_date=newest.completed_at)
    assert nights.table == typed(A)


@pytest.mark.parametrize("is_named", [True, False])
def test_rows_of_an_older_export_that_was_named(nights: Nights, *, is_named: bool) -> None:
    older = nights.export({"1": "a", "9": "z"})
    nights.export(A)
    nights.run()
    nights.run(changes_only=False, export_ids=[older.id])
    assert "9" in nights.table
    newer = nights.export(A)
    nights.run(changes_only=False, export_ids=[newer.id] if is_named else None)
    nights.export(A)
    nights.run()
    assert nights.table == typed(A)


def test_a_load_that_failed_without_changes_only_leaves_rows_of_another_look(nights: Nights) -> None:
    users = {"1": "5", "2": "6", "3": "seven"}
    nights.export(users)
    nights.run()
    nights.export(users)
    nights.run(changes_only=False, stream_maps={"users": {"user_email": "str(int(user_email) + 1)"}}, code=1)
    assert nights.table == typed({"1": "6", "2": "7", "3": "seven"})
    nights.run()
    assert nights.table == typed(users)


@pytest.mark.parametrize("named", ["an older one", "the newest"])
def test_what_a_run_by_name_does_not_read_is_not_forgotten(nights: Nights, named: str) -> None:
    older = nights.export({"1": "0"})
    nights.export(A)
    nights.run()
    nights.export({**A, "9": "z"})
    nights.run(is_lost=True)
    newest = nights.export({})
    if named == "an older one":
        nights.run()
    nights.run(changes_only=False, export_ids=[older.id if named == "an older one" else newest.id])
    assert "9" in nights.table
    nights.export(A)
    nights.run()
    assert nights.table == typed(A)


def test_deletions_of_nights_without_changes_only_are_seen_afterwards(nights: Nights) -> None:
    nights.export({**A, "8": "y"})
    nights.run()
    nights.export({**A, "9": "z"})
    nights.run(changes_only=False)
    nights.export(A)
    nights.run(changes_only=False)
    assert {"8", "9"} < set(nights.table)
    nights.export(A)
    nights.run()
    assert nights.table == typed(A)


def numbered(count: int, prefix: str = "u") -> Users:
    return {f"{prefix}{number}": "e" for number in range(count)}


@pytest.mark.parametrize(
    "between", [{**numbered(20), **numbered(30, "x")}, numbered(30, "x")], ids=["unread", "refused"]
)
def test_rows_that_were_never_loaded_are_not_missed(nights: Nights, between: Users) -> None:
    nights.export(numbered(20))
    nights.run()
    nights.export(between)
    if "u0" not in between:
        assert "20 of 20 rows are gone" in nights.run(code=1).errors[0]
    nights.export(numbered(21))
    nights.run()
    assert nights.table == typed(numbered(21))


@pytest.mark.parametrize("settings", [{}, {"changes_only": False, "emit_activate_version_messages": True}])
def test_a_part_does_not_hold_up_what_follows(nights: Nights, settings: dict[str, Any]) -> None:
    nights.export(numbered(20))
    nights.run(snapshots="all", **settings)
    nights.export(numbered(3))
    nights.run(snapshots="all", code=1, **settings)
    nights.export(numbered(21))
    nights.run(snapshots="all", code=1, **settings)
    assert nights.table == typed(numbered(21))
    nights.run(snapshots="all", **settings)


@pytest.mark.parametrize("polls", [0, 2], ids=["at once", "waited for"])
def test_a_requested_export_that_is_a_part_deletes_nobody(nights: Nights, polls: int) -> None:
    nights.export(A)
    nights.run()
    part = to_csv([HEADER, ["1", "A", "true"]])
    nights.sandbox.export_factory = lambda model: SandboxExport(model, part, filter={"q": "A"}, polls_left=polls)
    nights.run(request_exports=True, poll_interval=0.01, is_lost=True)
    assert set(nights.table) == set(A)
    nights.export(A)
    nights.run()
    assert set(nights.table) == set(A)


@pytest.mark.parametrize("is_requested", [False, True])
def test_a_filter_that_only_the_export_itself_shows(nights: Nights, *, is_requested: bool) -> None:
    """Neither the list nor the answer to a request has it."""
    nights.export(A)
    nights.run()
    newer = nights.export({**A, "5": "e"})
    part = nights.export({"1": "A"})
    nights.sandbox.faults = [
        Fault("list", 99, callback=lambda: setattr(part, "filter", None)),
        Fault("get", 99, callback=lambda: setattr(part, "filter", {"q": "A"}), path_contains=part.id),
    ]
    nights.state["bookmarks"]["users"]["requested_export_id"] = part.id
    nights.sandbox.export_factory = lambda model: SandboxExport(model, newer.data if model == "users" else b"id\n")
    run = nights.run(request_exports=is_requested)
    assert f"Export {part.id} is not read: a filter made only a part." in run.warnings
    assert "The columns of users" not in run.log
    assert run.bookmark("users")["requested_export_id"] is None
    assert is_requested or run.bookmark("users")["export_ids"] == [newer.id]
    nights.export(A)
    nights.run()
    assert nights.table == typed(A)


def test_a_requested_export_that_was_refused_is_not_read_again(nights: Nights) -> None:
    nights.export(numbered(20))
    nights.run()
    part = to_csv([HEADER, ["u1", "e", "true"]])
    nights.sandbox.export_factory = lambda model: SandboxExport(model, part)
    assert "19 of 20 rows are gone" in nights.run(request_exports=True, code=1).errors[0]
    whole = to_csv([HEADER, *([user, "e", "true"] for user in numbered(21))])
    nights.sandbox.export_factory = lambda model: SandboxExport(model, whole)
    nights.run(request_exports=True)
    assert nights.table == typed(numbered(21))


@pytest.mark.parametrize("is_between", [False, True])
def test_rows_are_counted_with_those_of_the_last_file_that_had_any(nights: Nights, *, is_between: bool) -> None:
    nights.export(numbered(40))
    nights.run()
    if is_between:
        nights.export({})
        nights.run()
    nights.export({**numbered(5), **numbered(16, "x")})
    assert "35 of 40 rows are gone" in nights.run(code=1).errors[0]


def test_a_version_is_not_used_again_even_if_its_load_failed_or_its_state_is_lost(nights: Nights) -> None:
    nights.export(A)
    nights.export({**A, "5": "e"}).data += b"a row of one field\n"
    environment: dict[str, str] = {}  # a process of its own, whose waits are not cut short
    run = nights.tap(emit_activate_version_messages=True, snapshots="all", environment=environment)
    versions = [message["version"] for message in run.of("RECORD") if message["stream"] == "users"]
    state = run.bookmark("users")
    assert state["last_version"] == max(versions) > state["table_version"]
    assert max(versions) <= time.time()  # later runs begin later


BROKEN_BASES: dict[str, tuple[dict[str, Any], str]] = {
    # name: (a fault of the file of the export that was loaded last, why deletions can't be seen)
    "a message": ({"body": b"upstream connect error", "status": 200}, "it is text, not CSV"),
    "no rows": ({"body": b"user_id,user_email\n", "status": 200}, "has other rows than when it was loaded"),
    "fewer rows": ({"body": b"user_id,user_email\n1,a\n", "status": 200}, "has other rows than when it was loaded"),
}


@pytest.mark.parametrize(("fault", "reason"), BROKEN_BASES.values(), ids=BROKEN_BASES)
def test_the_file_that_was_loaded_last_is_another_one(nights: Nights, fault: dict[str, Any], reason: str) -> None:
    base = nights.export(A, HEADER[:2])
    nights.run()
    nights.export(A, HEADER[:2])
    nights.sandbox.faults = [Fault("file", 9, path_contains=base.id, **fault)]
    run = nights.run()
    assert len(run.records("users")) == len(A)
    assert [w for w in run.warnings if "older deletions can't be seen" in w and reason in w], run.warnings


STUCK: dict[str, dict[str, Any]] = {
    "the file host": {"kind": "file", "status": 451},
    "Dynamic": {"kind": "get", "status": 403},
}


@pytest.mark.parametrize("fault", STUCK.values(), ids=STUCK)
def test_an_earlier_export_that_is_never_readable_is_named(nights: Nights, fault: dict[str, Any]) -> None:
    base = nights.export(A)
    nights.run()
    newest = nights.export({**A, "3": "C"})
    nights.sandbox.faults = [Fault(times=99, path_contains=base.id, **fault)]
    error = nights.run(code=1).errors[0]
    assert error.startswith(f"Stream users, export {newest.id}: it can't be compared with earlier export {base.id}. ")
    assert error.endswith(" If later runs fail alike, run a full refresh, which compares nothing.")
    assert "new export" not in error
    nights.state = {}
    nights.run()
    assert nights.table == typed({**A, "3": "C"})


def test_thirty_exports_after_the_one_that_was_loaded_last(nights: Nights) -> None:
    nights.export(A)
    nights.run()
    nights.export(X)
    nights.run(is_lost=True)
    for _ in range(30):
        nights.export(A)
    run = nights.run()
    assert "all rows" not in run.log
    assert nights.table == typed(A)


def test_the_first_file_with_rows_decides_the_types(nights: Nights) -> None:
    nights.export({})
    nights.run()
    nights.export({**numbered(30_000), "last": "?"})
    run = nights.run()
    assert "loaded as text" in run.log
    assert nights.table["last"] == ("?", "maybe")
