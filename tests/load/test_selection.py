"""Rules of load/selection.py: which exports are read, which request is reused, how the bookmark moves."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from tap_dynamic.load.selection import (
    Bookmark,
    RequestPlan,
    between,
    is_obsolete,
    nothing_read_reason,
    plan_request,
    reads_all,
    select_unread,
    short_id,
    snapshots_of,
    unread_notes,
    unread_reason,
    waiting_note,
)
from tests.builders import at, bookmark, export

if TYPE_CHECKING:
    from tap_dynamic.api.exports import Export

NOW = datetime(2026, 3, 10, 12, tzinfo=timezone.utc)
MAX_AGE = timedelta(hours=1)

# --- which exports are read

A, B, C = export("a", at(1)), export("b", at(2)), export("c", at(3))
SAME_B = export("b2", "2026-03-02T01:00:00+01:00")
PENDING, FAILED = export("p", None, status="pending"), export("f", at(4), status="failed")
UNKNOWN = export("u", at(5), status="expired")
ADDRESS = "ann@example.com"
PART = export("part", at(6), filter={"email": ADDRESS})
VISITS = export("v", at(9), model="visits")

AT_A, AT_B, AT_C = bookmark(at(1), "a"), bookmark(at(2), "b"), bookmark(at(3), "c")
EARLY, LATE = export("early", at(8), createdAt=at(7)), export("late", at(9), createdAt=at(1))
UNREAD: dict[str, tuple[list[Export], Bookmark | None, str, str | None, list[str]]] = {
    "nothing is listed": ([], None, "latest", None, []),
    "latest: the newest completion": ([A, C, B], None, "latest", None, ["c"]),
    "all: oldest completion first, in whatever order listed": ([C, A, B], None, "all", None, ["a", "b", "c"]),
    "only completed exports": ([A, PENDING, FAILED, UNKNOWN], None, "all", None, ["a"]),
    "latest: newer ones that are not completed": ([A, PENDING, FAILED, UNKNOWN], None, "latest", None, ["a"]),
    "a part is no snapshot, though it is the newest": ([A, PART], None, "latest", None, ["a"]),
    "all: parts are passed over": ([A, PART], AT_A, "all", None, []),
    "another model": ([A, VISITS], None, "latest", None, ["a"]),
    "pending, failed and unknown alone": ([PENDING, FAILED, UNKNOWN], None, "all", None, []),
    "latest: the newest was loaded": ([A, B], AT_B, "latest", None, []),
    "latest: a newer one than the bookmark": ([A, B, C], AT_B, "latest", None, ["c"]),
    "latest: the bookmark is newer than all": ([A, B], AT_C, "latest", None, []),
    "latest: an older one is never read after a newer": ([A], AT_B, "latest", None, []),
    "all: since the bookmark": ([A, B, C], AT_A, "all", None, ["b", "c"]),
    "all: everything was loaded": ([A, B, C], AT_C, "all", None, []),
    "same instant: another id is unread": ([B, SAME_B], AT_B, "latest", None, ["b2"]),
    "same instant: both ids were loaded": ([B, SAME_B], bookmark(at(2), "b", "b2"), "all", None, []),
    "same instant: both are the newest": ([A, B, SAME_B], None, "latest", None, ["b", "b2"]),
    "same instant in another spelling": ([SAME_B], bookmark("2026-03-02T00:00:00+00:00", "b"), "all", None, ["b2"]),
    "a bookmark without ids": ([B], bookmark(at(2)), "latest", None, ["b"]),
    "start_date: later ones": ([A, B, C], None, "all", at(2), ["b", "c"]),
    "start_date: none is late enough": ([A, B], None, "latest", at(3), []),
    "start_date in another zone": ([A, B], None, "all", "2026-03-02T01:00:00+01:00", ["b"]),
    "start_date before the bookmark changes nothing": ([A, B, C], AT_B, "all", at(1), ["c"]),
    "start_date after the bookmark": ([A, B, C], AT_A, "all", at(3), ["c"]),
    "completion decides, not creation": ([LATE, EARLY], None, "latest", None, ["late"]),
    # What was loaded is read again, but never over a newer one.
    "FULL_TABLE: nothing was loaded": ([A, B], None, "latest", None, ["b"]),
    "FULL_TABLE: the newest was loaded": ([A, B], AT_B, "latest", None, ["b"]),
    "FULL_TABLE, all: the newest was loaded": ([A, B, C], AT_B, "all", None, ["b", "c"]),
    "FULL_TABLE, same instant: both again": ([A, B, SAME_B], AT_B, "all", None, ["b", "b2"]),
    "FULL_TABLE: the newest vanished": ([A, B], AT_C, "latest", None, []),
    "FULL_TABLE, all: the newest vanished": ([A, B], AT_C, "all", None, []),
    "FULL_TABLE: start_date": ([A, B], AT_B, "latest", at(3), []),
}


@pytest.mark.parametrize("name", UNREAD)
def test_which_exports_are_read(name: str) -> None:
    exports, loaded, snapshots, start, read = UNREAD[name]
    config, listed = {"snapshots": snapshots, "start_date": start}, snapshots_of("users", exports)
    assert [e.id for e in select_unread(listed, loaded, config, is_full_table="FULL_TABLE" in name)] == read


@pytest.mark.parametrize(
    ("snapshots", "request_exports", "is_all"),
    [("latest", False, False), ("all", False, True), ("latest", True, False), ("all", True, False)],
)
def test_when_every_snapshot_is_read(snapshots: str, *, request_exports: bool, is_all: bool) -> None:
    assert reads_all({"snapshots": snapshots, "request_exports": request_exports}) is is_all


# --- which lie between the one loaded last and the one to be read

LATEST, ALL = ({"snapshots": snapshots, "request_exports": False} for snapshots in ("latest", "all"))
BETWEEN: dict[str, tuple[list[Export], Bookmark | None, Export, list[str]]] = {
    "nothing was loaded: nothing is known": ([A, B, C], None, C, []),
    "the next one": ([A, B], AT_A, B, []),
    "one between": ([A, B, C], AT_A, C, ["b"]),
    "two of one instant": ([A, B, SAME_B, C], AT_A, C, ["b", "b2"]),
    "of the bookmark's instant, not loaded": ([A, B, SAME_B, C], AT_B, C, ["b2"]),
    "of the export's instant": ([A, B, SAME_B], AT_A, SAME_B, []),
    "newer ones are not between": ([A, B, C], AT_A, B, []),
    "the export is older than the bookmark": ([A, B, C], AT_C, A, []),
    "the bookmark's export is gone": ([B, C], AT_A, C, ["b"]),
}


@pytest.mark.parametrize(("exports", "loaded", "read", "ids"), BETWEEN.values(), ids=BETWEEN)
def test_which_snapshots_are_between(
    exports: list[Export], loaded: Bookmark | None, read: Export, ids: list[str]
) -> None:
    assert between(exports, loaded, read) == ids


# --- what the log says

NOTHING_READ: dict[str, tuple[list[Export], Bookmark | None, str | None, str, bool]] = {
    # name: (list, bookmark, start_date, part of the line, whether it is a warning)
    "nothing is listed": ([], None, None, "no completed export of users yet", True),
    "none is completed": ([PENDING, FAILED], None, None, "no completed export of users yet", True),
    "only a part": ([PART], None, None, "no completed export of users yet", True),
    "loaded before": ([A, B], AT_B, None, "newest completed export, b, was loaded before", False),
    "a newer part does not count": ([A, B, PART], AT_B, None, "newest completed export, b, was loaded before", False),
    "a newer one was loaded": ([A], AT_B, None, "newer export than a", False),
    "older than start_date": ([A, B], None, at(3), "b, is older than start_date", True),
    "loaded before, completed at start_date": ([A, B], AT_B, at(2), "was loaded before", False),
    "loaded before, and older than start_date": ([A, B], AT_B, at(3), "older than start_date", True),
}


@pytest.mark.parametrize(
    ("exports", "loaded", "start", "reason", "is_warning"), NOTHING_READ.values(), ids=NOTHING_READ
)
def test_why_nothing_is_read(
    exports: list[Export], loaded: Bookmark | None, start: str | None, reason: str, *, is_warning: bool
) -> None:
    config, listed = {"snapshots": "latest", "start_date": start}, snapshots_of("users", exports)
    assert select_unread(listed, loaded, config, is_full_table=False) == []
    text, is_found_warning = nothing_read_reason("users", listed, loaded, config)
    assert reason in text
    assert is_found_warning is is_warning


PARTS = [export(f"p{day}", at(day), filter="x") for day in (3, 1, 2)]
MORE_PARTS = [export(f"p{day}", at(day), filter="x") for day in range(1, 6)]
LATE_ONES = [export(f"l{day}", at(day)) for day in (3, 4, 5, 6, 7)]
PENDING_PART = export("p", None, status="pending", filter="x")
OF_VISITS = [export("v", at(4), model="visits", filter="x"), export("w", at(9), model="visits", status="failed")]
FAILS, UNKNOWN_STATUS = "Export f of users failed at Dynamic", "Export u of users has the status 'expired'"
ONE_LATE = "1 export of users appeared after a newer one was loaded, and is not read: a. "
UNREAD_NOTES: dict[str, tuple[list[Export], Bookmark | None, list[str] | None, list[str]]] = {
    # name: (list, bookmark, ids listed in the run before, parts of the lines)
    "nothing is listed": ([], None, None, []),
    "snapshots alone": ([A, B], AT_A, None, []),
    "a part before the first load": ([A, PART], None, None, ["1 export of users passed over"]),
    "a part newer than the bookmark": ([A, PART], AT_A, None, ["filter made only a part: part. "]),
    "a part that was named once": ([A, PART], bookmark(at(9), "x"), None, []),
    "a part of the bookmark's instant": ([PART], bookmark(at(6), "x"), None, []),
    "not completed, or of visits": ([PENDING_PART, *OF_VISITS], None, None, []),
    "parts, oldest first": (PARTS, None, None, ["3 exports of users passed over, because a filter made"]),
    "parts are named, oldest first": (PARTS, None, None, ["only a part: p1, p2, p3. "]),
    "more parts: the newest three": (MORE_PARTS, None, None, ["only a part: p3, p4, p5 and 2 more. "]),
    "all: what was there before is not late": ([A, B], AT_B, [short_id("a"), short_id("b")], []),
    "all: an older one that was not there": ([A, B], AT_B, ["b"], [ONE_LATE]),
    "all: of the bookmark's instant, not loaded: it is read": ([B, SAME_B], AT_B, ["b"], []),
    "all: loaded, although not listed in the run before": ([B], AT_B, [], []),
    "all: a newer one is read": ([B, C], AT_B, ["b"], []),
    "all: nothing was loaded": ([A], None, [], []),
    "latest: nothing is late": ([A, B], AT_B, None, []),
    "all: a late part is not late": ([export("p", at(1), filter="x")], AT_B, [], []),
    "all: many": (LATE_ONES, bookmark(at(8), "x"), [], ["l5, l6, l7 and 2 more"]),
    "all: a part and a late one": (
        [A, PART],
        AT_B,
        [],
        ["1 export of users passed", "1 export of users appeared"],
    ),
    "one failed, before the first load": ([A, FAILED], None, None, [FAILS]),
    "some failed, before the first load: one line": (
        [FAILED, UNKNOWN],
        None,
        None,
        [f"2 exports of users can't be read. The newest: {UNKNOWN_STATUS}"],
    ),
    "one of an older night failed": ([FAILED], bookmark(at(5), "x"), None, []),
    "one of the bookmark's instant failed": ([FAILED], bookmark(at(4), "x"), None, []),
    "some newer than the bookmark failed: a line each": ([UNKNOWN, FAILED], AT_C, None, [FAILS, UNKNOWN_STATUS]),
}


@pytest.mark.parametrize(("exports", "loaded", "known", "parts"), UNREAD_NOTES.values(), ids=UNREAD_NOTES)
def test_which_exports_are_named_because_they_are_not_read(
    exports: list[Export], loaded: Bookmark | None, known: list[str] | None, parts: list[str]
) -> None:
    notes = unread_notes("users", exports, loaded, known)
    assert len(notes) == len(parts)
    assert all(part in note and note.endswith(".") for part, note in zip(parts, notes))
    assert ADDRESS not in "".join(notes)


# --- requested exports: the present is March 10, 12:00; a completed export is fresh for an hour


def requested(completed_at: str | None = None, **fields: Any) -> Export:
    """The export that an earlier run requested."""
    return export("r", completed_at, **{"status": "pending", "createdAt": at(10, 11), **fields})


DONE: dict[str, Any] = {"status": "completed"}
PLANS: dict[str, tuple[str | None, list[Export], Bookmark | None, str | None, bool]] = {
    # name: (remembered id, list, bookmark, id that is read, whether a fresh one is requested)
    "nothing is remembered": (None, [A], None, None, True),
    "nothing is remembered or listed": (None, [], None, None, True),
    "vanished": ("r", [A, B], None, None, True),
    "failed": ("r", [requested(status="failed")], None, None, True),
    "failed long ago": ("r", [requested(status="failed", createdAt=at(1))], None, None, True),
    "unknown status": ("r", [requested(status="expired")], None, None, True),
    "pending": ("r", [requested()], None, "r", False),
    "pending, after a bookmark": ("r", [requested()], bookmark(at(10), "b"), "r", False),
    "pending for longer than export_timeout": ("r", [requested(createdAt=at(10, 1))], None, "r", False),
    "pending for 24 hours": ("r", [requested(createdAt=at(9, 12))], None, "r", False),
    "pending for more than 24 hours": ("r", [requested(createdAt="2026-03-09T11:59:59.999Z")], None, None, True),
    "pending, created before the bookmark": ("r", [requested(createdAt=at(10, 1))], bookmark(at(10, 2)), "r", False),
    "completed just now": ("r", [requested(at(10, 12), **DONE)], None, "r", False),
    "completed an hour ago": ("r", [requested(at(10, 11), **DONE)], None, "r", False),
    "completed more than an hour ago: read, and a fresh one": (
        "r",
        [requested("2026-03-10T10:59:59.999Z", **DONE)],
        None,
        "r",
        True,
    ),
    "completed weeks ago, newer than the bookmark": ("r", [requested(at(2), **DONE)], AT_A, "r", True),
    "slower than 24 hours, but completed": ("r", [requested(at(10, 12), createdAt=at(1), **DONE)], None, "r", False),
    "older than the bookmark": ("r", [requested(at(10, 11), **DONE)], bookmark(at(10, 12), "b"), None, True),
    "a part": ("r", [requested(at(10, 11), filter={"q": 1}, **DONE)], None, None, True),
    "loaded before": ("r", [requested(at(10, 11), **DONE)], bookmark(at(10, 11), "r"), None, True),
    "of the bookmark's instant": ("r", [requested(at(10, 11), **DONE)], bookmark(at(10, 11), "b"), None, True),
    "a fresh one that nobody requested is not reused": (None, [export("x", at(10, 12))], None, None, True),
    "another export is newer": ("r", [requested(at(10, 11), **DONE), export("x", at(10, 12))], None, "r", False),
}


@pytest.mark.parametrize(("remembered", "exports", "loaded", "read", "is_needed"), PLANS.values(), ids=PLANS)
def test_what_happens_to_a_requested_export(
    remembered: str | None, exports: list[Export], loaded: Bookmark | None, read: str | None, *, is_needed: bool
) -> None:
    plan = plan_request(remembered, exports, loaded, now=NOW, max_age=MAX_AGE)
    assert plan == RequestPlan(next((e for e in exports if e.id == read), None), is_needed=is_needed)


# --- the bookmark

OBSOLETE: dict[str, tuple[Export, Bookmark | None, bool]] = {
    "older": (A, AT_B, True),
    "loaded": (B, AT_B, True),
    "of the same instant": (SAME_B, AT_B, True),
    "newer": (C, AT_B, False),
    "nothing was loaded": (A, None, False),
    "pending: its completion is not known": (PENDING, AT_B, False),
    "failed": (export("f", at(1), status="failed"), AT_B, False),
}


@pytest.mark.parametrize(("requested", "loaded", "is_dropped"), OBSOLETE.values(), ids=OBSOLETE)
def test_which_requested_exports_are_obsolete(requested: Export, loaded: Bookmark | None, *, is_dropped: bool) -> None:
    assert is_obsolete(requested, loaded) is is_dropped


# --- exports that were requested or named

REFUSED: dict[str, tuple[Export, dict[str, Any], str | None, bool]] = {
    # name: (export, facts, the end of the reason, whether the run fails)
    "completed": (B, {}, None, False),
    "newer": (C, {"bookmark": AT_B}, None, False),
    "failed": (FAILED, {}, "read others with export_ids.", True),
    "failed, and not selected": (FAILED, {"is_selected": False}, "read others with export_ids.", True),
    "not selected": (VISITS, {"is_selected": False}, "visits is not selected.", False),
    "pending": (PENDING, {}, "still pending after 60 seconds (export_timeout). Run again later: it is read", True),
    "pending, and not selected": (PENDING, {"is_selected": False}, "users is not selected.", False),
    "a part": (PART, {}, "a filter made only a part.", False),
    "a named part": (PART, {"is_named": True}, None, False),
    "not newer": (B, {"bookmark": AT_B}, "a newer one was loaded before.", False),
    "named, and not newer": (B, {"bookmark": AT_C, "is_named": True}, None, False),
}


@pytest.mark.parametrize("name", REFUSED)
def test_why_an_export_that_was_requested_or_named_is_not_read(name: str) -> None:
    found, facts, text, is_failure = REFUSED[name]
    reason = unread_reason(found, **{"bookmark": None, "is_selected": True, "is_named": False, "timeout": 60, **facts})
    assert (reason is None) is (text is None)
    if reason and text:
        assert text in reason.text
        assert reason.is_failure is is_failure
        assert ADDRESS not in reason.text


START = "To go on without it, set start_date to"
WAITING: dict[str, tuple[Export, list[Export], str | None]] = {
    "none": (C, [A, B, C], None),
    "one": (B, [A, B, C], f"1 later export of users waits for export b. {START} {at(3)}."),
    "one of the same instant, too": (
        B,
        [B, SAME_B, C],
        f"2 later exports of users wait for export b. {START} {at(3)}.",
    ),
    "its sibling alone": (B, [A, B, SAME_B], "1 later export of users waits for export b."),
    "two": (A, [A, B, C], f"2 later exports of users wait for export a. {START} {at(2)}."),
    "of another model": (A, [A, VISITS], None),
}


@pytest.mark.parametrize(("failed", "unread", "note"), WAITING.values(), ids=WAITING)
def test_which_exports_wait_for_one_that_failed(failed: Export, unread: list[Export], note: str | None) -> None:
    assert waiting_note(failed, unread) == note
