"""Rules of exports.py and state.py: which exports are read, which request is reused, how the bookmark moves."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tap_dynamic.api.exports import (
    Bookmark,
    Export,
    RequestPlan,
    bookmark_after,
    find_reusable,
    is_newest,
    nothing_new_reason,
    oldest_first,
    select_unread,
)
from tap_dynamic.datetimes import parse_datetime
from tap_dynamic.errors import TapError
from tap_dynamic.load.state import StreamState

UTC = timezone.utc
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MAX_AGE = timedelta(hours=1)
SIGNATURE = "deadbeefcafe"


def at(day: int, hour: int = 0) -> str:
    """A completion in March 2026."""
    return f"2026-03-{day:02d}T{hour:02d}:00:00.000Z"


def export(name: str, completed_at: str | None = at(1), **fields: Any) -> Export:
    """An export, completed unless `fields` say otherwise."""
    metadata = {
        "id": name,
        "format": "csv",
        "model": "users",
        "status": "completed",
        "createdAt": at(1),
        "startedAt": None,
        "completedAt": completed_at,
        "downloadUrl": None,
        "error": None,
    }
    return Export.parse({**metadata, **fields})


def bookmark(value: str, *ids: str) -> Bookmark:
    """A bookmark after the given exports."""
    return Bookmark(value, parse_datetime(value), frozenset(ids))


# --- parsing metadata

REQUIRED = ("id", "format", "model", "status", "createdAt")
METADATA = {
    "id": "00000000-0000-4000-8000-000000000001",
    "format": "csv",
    "model": "users",
    "status": "completed",
    "createdAt": at(1),
    "startedAt": at(1, 1),
    "completedAt": at(1, 2),
    "downloadUrl": f"https://files.example/x.csv?sig={SIGNATURE}",
    "error": None,
}


def test_an_export_has_the_nine_fields_of_the_api() -> None:
    parsed = Export.parse({**METADATA, "unknown": 1})
    assert parsed.record == METADATA
    assert (parsed.exported_at, parsed.completed_at) == (at(1, 2), datetime(2026, 3, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", ["absent", None, "", 5, True, [], {}], ids=repr)
def test_a_required_field_that_is_missing_or_malformed_is_named(name: str, value: object) -> None:
    metadata = {field: METADATA[field] for field in METADATA if field != name}
    with pytest.raises(ValueError, match=rf"\bits {name} is .*malformed$"):
        Export.parse(metadata if value == "absent" else {**metadata, name: value})


@pytest.mark.parametrize("metadata", [None, [], "x", 5, [METADATA]], ids=repr)
def test_what_is_not_an_object_is_malformed(metadata: object) -> None:
    with pytest.raises(ValueError, match="not an object"):
        Export.parse(metadata)


MALFORMED: list[tuple[str, Any]] = [
    *(("completedAt", value) for value in ("now", "2026", "12:30", "2026-02-30", "\ud800", "2026-03-01\0", 5, True)),
    ("completedAt", "2026-03-01T00:00:00+02:60"),
    *(("createdAt", value) for value in ("now", "2026-02-30")),
    *(("id", value) for value in ("../users", "a/b", "a?b", "a b", "\0", "\ud800", "x" * 65, "\u00e9")),
]


@pytest.mark.parametrize(("name", "value"), MALFORMED, ids=ascii)
def test_a_field_that_decides_something_is_strict(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"its {name} is") as raised:
        Export.parse({**METADATA, name: value})
    assert str(raised.value).isprintable()


RECORDED: list[tuple[str, Any, Any]] = [
    # What decides nothing is null where it is malformed.
    ("startedAt", "now", None),
    ("startedAt", 5, None),
    ("startedAt", "2026-03-01 00:30", "2026-03-01T00:30:00+00:00"),
    ("downloadUrl", 5, None),
    ("downloadUrl", {}, None),
    # Date-times are RFC 3339 whatever Dynamic writes.
    ("createdAt", "2026-03-01", "2026-03-01T00:00:00+00:00"),
    ("completedAt", "2026-03-01 02:00:00", "2026-03-01T02:00:00+00:00"),
    # NUL characters and lone surrogates: no target can hold them.
    ("error", "a\0b", "ab"),
    ("error", "a\ud800 b", "a? b"),
    ("model", "us\0ers", "users"),
    ("status", "comp\0leted", "completed"),
    ("status", "paused\ud800", "paused?"),
    # Dynamic's own text is redacted.
    ("error", f"GET https://files.example/x.csv?a=b&X-Amz-Signature={SIGNATURE} failed\nat x", None),
    ("error", {"url": f"/x.csv?sig={SIGNATURE}"}, None),
    ("error", [f"dyn_{SIGNATURE}"], None),
    ("status", f"failed?sig={SIGNATURE}", None),
    ("model", f"dyn_{SIGNATURE}", None),
]


@pytest.mark.parametrize(("name", "value", "recorded"), RECORDED, ids=ascii)
def test_what_is_recorded_of_a_field(name: str, value: object, recorded: str | None) -> None:
    parsed = Export.parse({**METADATA, name: value})
    if recorded is not None or name in {"startedAt", "downloadUrl"}:
        assert parsed.record[name] == recorded
    texts = [*(str(v) for field, v in parsed.record.items() if field != "downloadUrl"), parsed.error]
    texts += [parsed.failure_reason or "", parsed.model, parsed.status]
    for text in texts:
        assert SIGNATURE not in text
        assert "\0" not in text
        text.encode()


FAILURES: list[tuple[str, str | None, str | None]] = [
    ("completed", None, None),
    ("pending", None, None),
    ("failed", None, "no reason given"),
    ("failed", "Out of memory\n    at Export.run (export.ts:1)", "Out of memory"),
    ("failed", "\n\n  first  \nsecond", "first"),
    ("expired", None, "the status 'expired'"),
    ("Completed", None, "the status 'Completed'"),
    ("a\nb", None, "the status 'a'"),
]


@pytest.mark.parametrize(("status", "error", "reason"), FAILURES)
def test_why_an_export_will_never_have_rows(status: str, error: str | None, reason: str | None) -> None:
    text = export("a", status=status, error=error).failure_reason
    if reason is None:
        assert text is None
    else:
        assert text is not None
        assert "Export a of users" in text
        assert reason in text
        assert "\n" not in text
        assert "second" not in text
        assert "export.ts" not in text


# --- which exports are read

A, B, C = export("a", at(1)), export("b", at(2)), export("c", at(3))
SAME_B = export("b2", "2026-03-02T01:00:00+01:00")
PENDING, FAILED = export("p", None, status="pending"), export("f", at(4), status="failed")
UNKNOWN = export("u", at(5), status="expired")

UNREAD: dict[str, tuple[list[Export], Bookmark | None, str, str | None, list[str]]] = {
    "nothing is listed": ([], None, "latest", None, []),
    "latest: the newest completion": ([A, C, B], None, "latest", None, ["c"]),
    "all: oldest completion first, in whatever order listed": ([C, A, B], None, "all", None, ["a", "b", "c"]),
    "only completed exports": ([A, PENDING, FAILED, UNKNOWN], None, "all", None, ["a"]),
    "latest: newer exports that are not completed do not count": (
        [A, PENDING, FAILED, UNKNOWN],
        None,
        "latest",
        None,
        ["a"],
    ),
    "pending, failed and unknown alone": ([PENDING, FAILED, UNKNOWN], None, "all", None, []),
    "latest: the newest was loaded": ([A, B], bookmark(at(2), "b"), "latest", None, []),
    "latest: a newer one than the bookmark": ([A, B, C], bookmark(at(2), "b"), "latest", None, ["c"]),
    "latest: the bookmark is newer than all": ([A, B], bookmark(at(3), "c"), "latest", None, []),
    "latest: an older one is never read after a newer": ([A], bookmark(at(2), "b"), "latest", None, []),
    "all: since the bookmark": ([A, B, C], bookmark(at(1), "a"), "all", None, ["b", "c"]),
    "all: everything was loaded": ([A, B, C], bookmark(at(3), "c"), "all", None, []),
    "same instant: another id is unread": ([B, SAME_B], bookmark(at(2), "b"), "latest", None, ["b2"]),
    "same instant: both ids were loaded": ([B, SAME_B], bookmark(at(2), "b", "b2"), "all", None, []),
    "same instant: both are the newest": ([A, B, SAME_B], None, "latest", None, ["b", "b2"]),
    "same instant in another spelling": ([SAME_B], bookmark("2026-03-02T00:00:00+00:00", "b"), "all", None, ["b2"]),
    "a bookmark without ids": ([B], bookmark(at(2)), "latest", None, ["b"]),
    "start_date: later ones": ([A, B, C], None, "all", at(2), ["b", "c"]),
    "start_date: none is late enough": ([A, B], None, "latest", at(3), []),
    "start_date in another zone": ([A, B], None, "all", "2026-03-02T01:00:00+01:00", ["b"]),
    "start_date before the bookmark changes nothing": ([A, B, C], bookmark(at(2), "b"), "all", at(1), ["c"]),
    "start_date after the bookmark": ([A, B, C], bookmark(at(1), "a"), "all", at(3), ["c"]),
    "completion decides, not creation": (
        [export("late", at(9), createdAt=at(1)), export("early", at(8), createdAt=at(7))],
        None,
        "latest",
        None,
        ["late"],
    ),
}


@pytest.mark.parametrize(("exports", "loaded", "snapshots", "start", "read"), UNREAD.values(), ids=UNREAD)
def test_which_exports_are_read(
    exports: list[Export], loaded: Bookmark | None, snapshots: str, start: str | None, read: list[str]
) -> None:
    since = parse_datetime(start) if start else None
    assert [e.id for e in select_unread(exports, loaded, snapshots=snapshots, start=since)] == read


def test_oldest_first_compares_instants_not_texts() -> None:
    zoned = export("z", "2026-03-01T23:00:00-05:00")  # on March 2, 04:00 UTC
    assert [e.id for e in oldest_first([C, zoned, B, A])] == ["a", "b", "z", "c"]


NOTHING_NEW: list[tuple[list[Export], Bookmark | None, str | None, str]] = [
    ([], None, None, "no completed export"),
    ([PENDING, FAILED], None, None, "no completed export"),
    ([A, B], bookmark(at(2), "b"), None, "newest completed export, b, was loaded before"),
    ([A], bookmark(at(2), "b"), None, "newer export than a"),
    ([A, B], None, at(3), "b, is older than start_date"),
]


@pytest.mark.parametrize(("exports", "loaded", "start", "reason"), NOTHING_NEW)
def test_why_nothing_is_read(exports: list[Export], loaded: Bookmark | None, start: str | None, reason: str) -> None:
    since = parse_datetime(start) if start else None
    assert select_unread(exports, loaded, snapshots="latest", start=since) == []
    assert reason in nothing_new_reason(exports, loaded, start=since)


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
    "pending, created before the bookmark": (
        "r",
        [requested(createdAt=at(10, 1))],
        bookmark(at(10, 2), "b"),
        "r",
        False,
    ),
    "completed just now": ("r", [requested(at(10, 12), **DONE)], None, "r", False),
    "completed an hour ago": ("r", [requested(at(10, 11), **DONE)], None, "r", False),
    "completed more than an hour ago: read, and a fresh one": (
        "r",
        [requested("2026-03-10T10:59:59.999Z", **DONE)],
        None,
        "r",
        True,
    ),
    "completed weeks ago, newer than the bookmark: read, and a fresh one": (
        "r",
        [requested(at(2), createdAt=at(1), **DONE)],
        bookmark(at(1), "a"),
        "r",
        True,
    ),
    "slower than 24 hours, but completed": ("r", [requested(at(10, 12), createdAt=at(1), **DONE)], None, "r", False),
    "older than the bookmark": ("r", [requested(at(10, 11), **DONE)], bookmark(at(10, 12), "b"), None, True),
    "loaded before": ("r", [requested(at(10, 11), **DONE)], bookmark(at(10, 11), "r"), None, True),
    "of the bookmark's instant, not newer": (
        "r",
        [requested(at(10, 11), **DONE)],
        bookmark(at(10, 11), "b"),
        None,
        True,
    ),
    "a fresh one that nobody requested is not reused": (None, [export("x", at(10, 12))], None, None, True),
    "another export is newer": ("r", [requested(at(10, 11), **DONE), export("x", at(10, 12))], None, "r", False),
}


@pytest.mark.parametrize(("remembered", "exports", "loaded", "read", "is_needed"), PLANS.values(), ids=PLANS)
def test_what_happens_to_a_requested_export(
    remembered: str | None, exports: list[Export], loaded: Bookmark | None, read: str | None, *, is_needed: bool
) -> None:
    plan = find_reusable(remembered, exports, loaded, now=NOW, max_age=MAX_AGE)
    assert plan == RequestPlan(next((e for e in exports if e.id == read), None), is_needed=is_needed)


FORGOTTEN: dict[str, tuple[list[Export], str | None, bool]] = {
    # name: (list, bookmark, whether the id is forgotten)
    "older than the bookmark": ([requested(at(2), **DONE)], at(3), True),
    "of the bookmark's instant": ([requested(at(3), **DONE)], at(3), True),
    "newer than the bookmark": ([requested(at(4), **DONE)], at(3), False),
    "nothing loaded yet": ([requested(at(4), **DONE)], None, False),
    "pending": ([requested(createdAt=at(1))], at(3), False),
    "vanished": ([A], at(3), False),
    "another one is older": ([A, requested(at(4), **DONE)], at(3), False),
}


@pytest.mark.parametrize(("exports", "loaded", "is_forgotten"), FORGOTTEN.values(), ids=FORGOTTEN)
def test_a_remembered_id_is_dropped_when_not_newer_than_the_bookmark(
    exports: list[Export], loaded: str | None, *, is_forgotten: bool
) -> None:
    state = StreamState({"requested_export_id": "r", "replication_key_value": loaded})
    state.forget_request(exports)
    assert state.requested_id == (None if is_forgotten else "r")


def test_no_id_is_remembered_and_nothing_is_forgotten() -> None:
    state = StreamState({"replication_key_value": at(3)})
    state.forget_request([A, B])
    assert state.values == {"replication_key_value": at(3)}


# --- the bookmark

AFTER: dict[str, tuple[Export, Bookmark | None, Bookmark]] = {
    "the first": (B, None, bookmark(at(2), "b")),
    "a newer one": (C, bookmark(at(2), "b", "b2"), bookmark(at(3), "c")),
    "an older one: never backwards": (A, bookmark(at(2), "b"), bookmark(at(2), "b")),
    "of the same instant: one more id": (
        SAME_B,
        bookmark(at(2), "b"),
        Bookmark("2026-03-02T01:00:00+01:00", B.completed_at, frozenset({"b", "b2"})),
    ),
    "the same one again": (B, bookmark(at(2), "b"), bookmark(at(2), "b")),
    "as Dynamic writes it": (
        export("d", "2026-03-06T00:00:00.123456+05:45"),
        None,
        bookmark("2026-03-06T00:00:00.123456+05:45", "d"),
    ),
}


@pytest.mark.parametrize(("loaded", "before", "after"), AFTER.values(), ids=AFTER)
def test_the_bookmark_after_an_export(loaded: Export, before: Bookmark | None, after: Bookmark) -> None:
    assert bookmark_after(loaded, before) == after
    assert is_newest(loaded, before) == (after.instant == loaded.completed_at)
    assert after.covers(loaded)
    assert before is None or after.instant >= before.instant


def test_in_any_order_the_bookmark_ends_at_the_newest() -> None:
    for order in ([A, B, SAME_B, C], [C, B, A, SAME_B], [SAME_B, C, A, B]):
        last: Bookmark | None = None
        for loaded in order:
            last = bookmark_after(loaded, last)
        assert last == bookmark(at(3), "c")


COVERED: list[tuple[Export, bool]] = [(A, True), (B, True), (SAME_B, False), (C, False)]


@pytest.mark.parametrize(("listed", "is_covered"), COVERED, ids=["older", "same id", "same instant", "newer"])
def test_what_a_bookmark_covers(listed: Export, *, is_covered: bool) -> None:
    assert bookmark(at(2), "b").covers(listed) == is_covered


COMMITS: dict[str, tuple[dict[str, Any], Export, bool, dict[str, Any]]] = {
    # name: (state, export, whether the bookmark may move, what changes in the state)
    "first": ({}, B, True, {"replication_key_value": at(2), "export_ids": ["b"]}),
    "newer": (
        {"replication_key_value": at(1), "export_ids": ["a"]},
        B,
        True,
        {"replication_key_value": at(2), "export_ids": ["b"]},
    ),
    "older": ({"replication_key_value": at(3), "export_ids": ["c"]}, B, True, {}),
    "same instant, sorted ids": (
        {"replication_key_value": at(2), "export_ids": ["z"]},
        B,
        True,
        {"replication_key_value": at(2), "export_ids": ["b", "z"]},
    ),
    "the requested one": (
        {"requested_export_id": "b"},
        B,
        True,
        {"replication_key_value": at(2), "export_ids": ["b"], "requested_export_id": None},
    ),
    "another than the requested one": (
        {"requested_export_id": "r"},
        B,
        True,
        {"replication_key_value": at(2), "export_ids": ["b"]},
    ),
    "without moving the bookmark": ({"requested_export_id": "b"}, B, False, {"requested_export_id": None}),
}


@pytest.mark.parametrize(("values", "loaded", "moves", "changed"), COMMITS.values(), ids=COMMITS)
def test_what_a_loaded_export_changes_in_the_state(
    values: dict[str, Any], loaded: Export, changed: dict[str, Any], *, moves: bool
) -> None:
    state = StreamState({"key_properties": ["id"], **values})
    state.commit(loaded, replication_key="_sdc_exported_at", moves_bookmark=moves)
    if "replication_key_value" in changed:
        changed = {**changed, "replication_key": "_sdc_exported_at"}
    expected = {"key_properties": ["id"], **values, **changed}
    assert state.values == {name: value for name, value in expected.items() if value is not None}


STATES: list[tuple[dict[str, Any], Bookmark | None]] = [
    ({}, None),
    ({"replication_key_value": None}, None),
    ({"export_ids": ["a"]}, None),
    ({"replication_key_value": at(1)}, bookmark(at(1))),
    ({"replication_key_value": at(1), "export_ids": ["a", "b"]}, bookmark(at(1), "a", "b")),
    ({"replication_key_value": "2026-03-01T01:00:00+01:00"}, bookmark("2026-03-01T01:00:00+01:00")),
]
CORRUPT_VALUES: list[Any] = [5, 0, False, True, [], {}, [at(1)]]
CORRUPT_IDS: list[Any] = [5, [["a"]], [{}]]
CORRUPT: list[dict[str, Any]] = [
    *({"replication_key_value": value} for value in ("", "now", "12:30", "2021", "2021-W01", "2026-02-30", "SECRET")),
    *({"replication_key_value": value} for value in CORRUPT_VALUES),
    *({"replication_key_value": at(1), "export_ids": value} for value in CORRUPT_IDS),
]


@pytest.mark.parametrize(("state", "expected"), STATES)
def test_a_bookmark_is_read_from_the_state(state: dict[str, Any], expected: Bookmark | None) -> None:
    assert Bookmark.parse(state) == expected


@pytest.mark.parametrize("state", CORRUPT, ids=repr)
def test_a_corrupt_state_is_one_line_without_its_value(state: dict[str, Any]) -> None:
    with pytest.raises(TapError, match="state is corrupt") as raised:
        Bookmark.parse(state)
    assert "\n" not in str(raised.value)
    assert "SECRET" not in str(raised.value)
