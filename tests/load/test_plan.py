"""Rules of load/plan.py: what a file is compared with, and what a load emits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tap_dynamic.errors import TapError
from tap_dynamic.load.changes import Changes, Rows, fingerprint_of
from tap_dynamic.load.index import Counts
from tap_dynamic.load.plan import (
    MAX_COMPARED,
    Comparison,
    LoadPlan,
    PartError,
    check_deleted,
    has_versions,
    plan_comparison,
    plan_load,
)
from tap_dynamic.load.state import Holding, RowState
from tap_dynamic.table.columns import FALLBACK_KEY
from tap_dynamic.table.fit import fit_layout
from tap_dynamic.table.layout import KnownTable, Layout, StreamCatalog
from tests.builders import CONFIG, SDC, at, csv_file, export, load

if TYPE_CHECKING:
    from collections.abc import Sequence

# --- what a file is compared with

A, B, C = export("a", at(1)), export("b", at(2)), export("c", at(3))
PROPERTIES: dict[str, dict[str, Any]] = {"id": {"type": "string"}, "x": {"type": ["string", "null"]}}
FILE, EMPTY = csv_file("id,x", "1,a", "2,b"), csv_file("id,x")


def fit(key: tuple[str, ...], properties: Any = PROPERTIES, deselected: str = "") -> Layout:
    """The layout of the file with a key."""
    return fit_layout(FILE.sample, StreamCatalog(properties, frozenset({deselected})), KnownTable(), SDC, key)


LAYOUT, ROWS_WITHOUT_KEY = fit(("id",)), fit(FALLBACK_KEY)
LISTED = ("a", "b", "c", "p", "q")
LOADED: dict[str, Any] = {
    "replication_key_value": at(1),
    "export_ids": ["a"],
    "key_properties": ["id"],
    "table_version": 7,
    "row_count": 20,
    "holdings": [["a", "f", True]],
    "holdings_bookmark": [at(1), "a"],
}
NO_LOAD = "there is no earlier load to compare with"
NO_KEY = "rows without a unique key can't be compared"
NO_VERSION = "the last load had no version for ACTIVATE_VERSION messages"
OTHER_KEY = "the key is not the one that the state knows"
OTHER_SHAPE = "columns, types, key or maps differ from those of the last load"
NOT_COMPARED = "the last load was without changes_only"
FULL_TABLE = "the replication method is FULL_TABLE"
LOST = "and older deletions can't be seen"
GONE = "1 of 2 earlier exports no longer exist"
ALL_GONE = "1 of 1 earlier exports no longer exist"
TOO_MANY = "31 earlier exports may have left rows, of which 30 are compared"
UNVERSIONED = {**LOADED, "table_version": None}
OFF = {**LOADED, "holdings": [["a", None, True]]}
FIRST = {"key_properties": ["id"], "holdings_bookmark": [""]}
OLD = {name: LOADED[name] for name in ("replication_key_value", "export_ids", "key_properties")}
MANY = [f"n{number:02}" for number in range(40)]
WITH_MANY = ("a", *MANY)


def held(*others: list[Any]) -> dict[str, Any]:
    """A state that names more exports."""
    return {**LOADED, "holdings": [["a", "f", True], *others]}


# name: (state, arguments, ids of the holdings, ids of the files, why all rows are emitted, what is lost)
COMPARISONS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str, str | None, str | None]] = {
    "one night after another": (LOADED, {}, "a", "a", None, None),
    "the first load": ({}, {}, "", "", NO_LOAD, None),
    "the first load, again": ({**FIRST, "holdings": [["c", "f"]]}, {}, "", "", NO_LOAD, None),
    "the first load was of an older one: its rows may be there": (
        {**FIRST, "holdings": [["a", "f"]]},
        {},
        "a",
        "a",
        NO_LOAD,
        None,
    ),
    "interrupted before": (held(["c", "f"]), {}, "a", "a", None, None),
    "an older night was interrupted": (held(["p", "f"]), {}, "a p", "a p", None, None),
    "one between, whose state may be lost": (LOADED, {"between": "b"}, "a b", "a b", None, None),
    "one between that is remembered": (held(["b", "f"]), {"between": "b"}, "a b", "a b", None, None),
    "one between, of another look": (held(["b", "g"]), {"between": "b"}, "a b", "a b", OTHER_SHAPE, None),
    "the last night was without comparison: keys that are gone are found": (OFF, {}, "a", "a", NOT_COMPARED, None),
    "a named one in between was without comparison": (held(["p", None]), {}, "a p", "a p", NOT_COMPARED, None),
    "0.1.0": (OLD, {}, "a", "a", NOT_COMPARED, None),
    "other columns": (LOADED, {"fingerprint": "g"}, "a", "a", OTHER_SHAPE, None),
    "interrupted, with other columns": (held(["c", "g"]), {}, "a", "a", OTHER_SHAPE, None),
    "another key: nothing is compared": (
        {**LOADED, "key_properties": ["email"]},
        {"fingerprint": "g"},
        "a",
        "",
        OTHER_KEY,
        OTHER_KEY,
    ),
    "the state does not say the key": ({**LOADED, "key_properties": []}, {}, "a", "", OTHER_KEY, OTHER_KEY),
    "no key": (LOADED, {"layout": ROWS_WITHOUT_KEY}, "a", "", NO_KEY, None),
    "a part": (LOADED, {"loaded": export("c", at(3), filter="x")}, "a", "", "a filter made only a part", None),
    "the key in another order": (
        {**LOADED, "key_properties": ["x", "id"]},
        {"layout": fit(("id", "x")), "fingerprint": "g"},
        "a",
        "a",
        OTHER_SHAPE,
        None,
    ),
    "more than thirty, of which thirty are left": (
        {**LOADED, "holdings": [["a", "f", True], *([name, "f"] for name in MANY[:31])]},
        {"listed": WITH_MANY[:31]},
        " ".join(WITH_MANY[:32]),
        " ".join(WITH_MANY[:31]),
        "1 of 32 earlier exports no longer exist",
        "1 of 32 earlier exports no longer exist",
    ),
    "full table": (LOADED, {"is_full_table": True}, "a", "a", FULL_TABLE, None),
    "full table: the same export": (
        {**LOADED, "holdings": [["c", "f", True]]},
        {"is_full_table": True},
        "",
        "",
        FULL_TABLE,
        None,
    ),
    "versions": (LOADED, {"needs_version": True}, "a", "a", None, None),
    "versions, and the last load had none": (UNVERSIONED, {"needs_version": True}, "a", "", NO_VERSION, None),
    "no versions, and the last load had none": (UNVERSIONED, {}, "a", "a", None, None),
    "versions, all rows: the target deletes what is gone": (
        LOADED,
        {"needs_version": True, "fingerprint": "g"},
        "a",
        "",
        OTHER_SHAPE,
        None,
    ),
    "the one loaded last is gone": (LOADED, {"between": "b", "listed": "bc"}, "a b", "b", GONE, GONE),
    "one between is gone": (held(["p", "f"]), {"listed": "ac"}, "a p", "a", GONE, GONE),
    "all are gone": (LOADED, {"listed": "c"}, "a", "", ALL_GONE, ALL_GONE),
    "gone, and versions": (LOADED, {"between": "b", "listed": "b", "needs_version": True}, "a b", "", GONE, None),
    "gone, and no key": (LOADED, {"listed": "", "layout": ROWS_WITHOUT_KEY}, "a", "", NO_KEY, None),
    "gone, and without comparison before": (OFF, {"listed": ""}, "a", "", NOT_COMPARED, ALL_GONE),
    "thirty, and the one loaded last": (
        LOADED,
        {"between": MANY[:30], "listed": WITH_MANY},
        " ".join(WITH_MANY[:31]),
        " ".join(WITH_MANY[:31]),
        None,
        None,
    ),
    "thirty-one: the newest, and the one loaded last": (
        LOADED,
        {"between": MANY[:31], "listed": WITH_MANY},
        " ".join(WITH_MANY[:32]),
        " ".join(["a", *MANY[1:31]]),
        TOO_MANY,
        TOO_MANY,
    ),
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_what_a_file_is_compared_with(name: str) -> None:
    values, arguments, holdings, wanted, reason, lost = COMPARISONS[name]
    facts = {"between": (), "listed": LISTED, "fingerprint": "f", "layout": LAYOUT, "is_empty": False, **arguments}
    # Those between have completions between that of the bookmark and the one of C; the others are older, or C.
    days = {"c": 3, **dict.fromkeys(facts.pop("between"), 2)}
    listed = [export(i, at(days[i]) if i in days else "2026-02-01T00:00:00Z") for i in facts.pop("listed")]
    found = plan_comparison(
        load(
            facts.pop("loaded", C),
            listed=listed,
            state=RowState.parse(values),
            is_full_table=facts.pop("is_full_table", False),
            config={**CONFIG, "emit_activate_version_messages": facts.pop("needs_version", False)},
        ),
        **facts,
    )
    assert [h.export_id for h in found.holdings] == holdings.split()
    assert list(found.wanted) == wanted.split()
    assert (found.reason, found.lost) == (reason, lost)
    assert len(found.wanted) <= MAX_COMPARED + 1
    assert not any(h.is_base for h in found.holdings if h.export_id in MANY)


def test_without_changes_only_nothing_is_compared() -> None:
    state = RowState.parse(LOADED)
    found = plan_comparison(load(C, state=state), LAYOUT, None, is_empty=False)
    assert found == Comparison((Holding("a", "f", is_base=True),))


@pytest.mark.parametrize("reason", [None, "so"])
def test_a_file_that_is_gone_for_good_leads_to_all_rows(reason: str | None) -> None:
    found = Comparison((Holding("a"),), "f", ("a",), reason).losing("why")
    assert found == Comparison((Holding("a"),), "f", ("a",), reason or "why", "why")


# --- what a load emits

VERSIONS = {**CONFIG, "emit_activate_version_messages": True}


def plan(
    values: dict[str, Any] | None = None,
    *,
    config: dict[str, Any] = CONFIG,
    loaded: Any = C,
    counts: Counts | None = None,
    **facts: Any,
) -> LoadPlan:
    """Plan a load; with counts, of a file that was compared."""
    state = RowState.parse(LOADED if values is None else values)
    file, layout = facts.get("file", FILE), facts.get("layout", LAYOUT)
    changed, gone = Rows(file, layout.columns, None, 1), (Rows(FILE, layout.columns),)
    changes = Changes(changed, gone, counts, facts.get("of_base")) if counts else None
    held = tuple(h for h in state.held if h.export_id != loaded.id)
    comparison = facts.get("comparison", Comparison(held, facts.get("fingerprint", "f")))
    listed = facts.get("listed", [])
    return plan_load(load(loaded, listed=listed, config=config, state=state), file, layout, comparison, changes)


SAME = Counts(unchanged=20)
HELD_TWO = (Holding("a", "f", is_base=True), Holding("b", "f"))
COMPARED = Comparison(HELD_TWO, "f", ("a", "b"))


def whole(reason: str, lost: str | None = None) -> Comparison:
    """A comparison that leads to all rows."""
    return Comparison(HELD_TWO, "f", ("a", "b"), reason, lost)


def after(time: str, *ids: str) -> dict[str, Any]:
    """A state with another bookmark."""
    return {**LOADED, "replication_key_value": time, "export_ids": [*ids]}


PART = export("p", at(3), filter="x")
NAMED, ALL = {**VERSIONS, "export_ids": ["c"]}, {"snapshots": "all", "export_ids": []}
MOVES: dict[str, tuple[LoadPlan, int | None, bool]] = {
    # name: (plan, version, whether it moves the bookmark)
    "no versions": (plan(), None, True),
    "the first load": (plan({}, config=VERSIONS), 1000, True),
    "a full load": (plan(config=VERSIONS), 1000, True),
    "the second of the last version": (plan({**LOADED, "table_version": 1000}, config=VERSIONS), 1001, True),
    "a clock that was set back": (plan({**LOADED, "last_version": 5000}, config=VERSIONS), 5001, True),
    "changes repeat the last version": (plan(config=VERSIONS, counts=SAME), 7, True),
    "all rows for a reason": (plan(config=VERSIONS, counts=SAME, comparison=whole("so")), 1000, True),
    "BATCH files have no version": (plan(config={**VERSIONS, "batch_config": {"x": 1}}), None, True),
    "the same again": (plan(after(at(3), "c"), config=VERSIONS), 1000, True),
    "another of the same instant": (plan(after(at(3), "d"), config=VERSIONS), 1000, True),
    "an older one": (plan(after(at(4)), config=VERSIONS), 1000, False),
    "a part": (plan(loaded=PART, config=VERSIONS), 1000, False),
    "a part before the first load": (plan({}, loaded=PART), None, False),
    "an empty filter": (plan(loaded=export("c", at(3), filter={}), config=VERSIONS), 1000, True),
    "a named one": (plan(config=NAMED), 1000, True),
    "a named one, older": (plan(after(at(4)), config=NAMED), 1000, False),
    "a named one, where all are read": (plan(config={**NAMED, "snapshots": "all"}), 1000, False),
    "all are read": (plan(config={**VERSIONS, **ALL}), 1000, True),
    "an empty file": (plan(file=EMPTY), None, True),
}


@pytest.mark.parametrize(("planned", "version", "moves"), MOVES.values(), ids=MOVES)
def test_which_version_a_load_has_and_whether_it_moves_the_bookmark(
    planned: LoadPlan, version: int | None, *, moves: bool
) -> None:
    assert (planned.version, planned.moves_bookmark) == (version, moves)
    assert planned.replaces_table is (version is not None and moves and planned.is_full)


@pytest.mark.parametrize(
    ("emits", "batch", "has"), [(False, None, False), (True, None, True), (True, {"x": 1}, False), (True, {}, True)]
)
def test_whether_messages_have_versions(batch: Any, *, emits: bool, has: bool) -> None:
    assert has_versions({"emit_activate_version_messages": emits, "batch_config": batch}) is has


A_HELD, C_HELD = Holding("a", "f", is_base=True), Holding("c", "f", is_base=True)
C_OFF, P_ASIDE = Holding("c", is_base=True), Holding("p")
A_BEFORE = Holding("a", "f")
LAST = {**LOADED, "holdings": [["a", "f"], ["c", "f", True]]}
OLDER = {**LOADED, "replication_key_value": at(4), "holdings_bookmark": [at(4), "a"]}
AFTER: dict[str, tuple[LoadPlan, int, list[Holding]]] = {
    # name: (plan, rows of the file, the exports whose rows the table may hold)
    "changes": (plan(counts=SAME, comparison=COMPARED), 20, [C_HELD]),
    "all rows": (plan(comparison=COMPARED), 20, [C_HELD]),
    "without comparison, after changes": (plan(fingerprint=None), 20, [A_BEFORE, C_OFF]),
    "without comparison, as ever": (plan(OFF, fingerprint=None), 20, [C_OFF]),
    "an empty file changes nothing": (plan(file=EMPTY, comparison=COMPARED), 0, [*HELD_TWO]),
    "an empty file before any other": (plan({}, file=EMPTY), 0, []),
    "an empty file without comparison": (plan(file=EMPTY, fingerprint=None), 0, [A_HELD]),
    "a part: its rows are beside the others": (plan(loaded=PART, fingerprint=None), 5, [A_HELD, P_ASIDE]),
    "a part, again": (plan(held(["p"], ["q"]), loaded=PART, fingerprint=None), 5, [A_HELD, Holding("q"), P_ASIDE]),
    "an empty part": (plan(loaded=PART, file=EMPTY, fingerprint=None), 0, [A_HELD]),
    "an older one": (plan(OLDER, fingerprint=None), 5, [A_HELD, Holding("c")]),
    "the same again": (plan(held(["c", "f"]), fingerprint=None), 5, [A_BEFORE, C_OFF]),
}


@pytest.mark.parametrize(("planned", "rows", "held"), AFTER.values(), ids=AFTER)
def test_what_the_table_may_hold_afterwards(planned: LoadPlan, rows: int, held: list[Holding]) -> None:
    assert list(planned.holdings_after(rows)) == held


C_BEGUN, C_UNCLEAR = Holding("c", "f"), Holding("c")
OTHER_BOOKMARK = {**LOADED, "holdings": [["c", "g"]], "holdings_bookmark": []}
DURING: dict[str, tuple[LoadPlan, list[Holding]]] = {
    # name: (plan, the exports whose rows the table may hold)
    "the first load": (plan({}), [C_BEGUN]),
    "without comparison": (plan({}, fingerprint=None), [C_UNCLEAR]),
    "after one": (plan(), [A_HELD, C_BEGUN]),
    "what the file is compared with": (plan(comparison=COMPARED), [*HELD_TWO, C_BEGUN]),
    "interrupted": (plan(held(["c", "f"])), [A_HELD, C_BEGUN]),
    "interrupted, with other columns: rows of both looks": (plan(held(["c", "g"])), [A_HELD, C_UNCLEAR]),
    "interrupted without changes_only: rows of both looks": (plan(held(["c"])), [A_HELD, C_UNCLEAR]),
    "loaded last": (plan(LAST), [A_BEFORE, C_HELD]),
    "loaded last, with other columns": (plan(LAST, fingerprint="g"), [A_BEFORE, C_OFF]),
    "a state of an earlier version: all loads that ended": (plan(held(["c", "f", True])), [A_HELD, C_BEGUN]),
    "the state is of another bookmark": (plan(OTHER_BOOKMARK), [Holding("a", is_base=True), C_BEGUN]),
}


@pytest.mark.parametrize(("planned", "held"), DURING.values(), ids=DURING)
def test_what_the_table_may_hold_during_a_load(planned: LoadPlan, held: list[Holding]) -> None:
    assert list(planned.holdings) == held


SOME = Counts(1, 2, 3, 14)
EMITTED: dict[str, tuple[LoadPlan, bool, bool, list[str]]] = {
    # name: (plan, whether all rows are emitted, whether some are gone, notes)
    "changes": (plan(counts=SOME, comparison=COMPARED), False, True, []),
    "no comparison": (plan(), True, False, []),
    "nothing to compare with": (plan(comparison=whole(NO_LOAD)), True, False, [f": {NO_LOAD}"]),
    "all rows, and some are gone": (plan(counts=SOME, comparison=whole(NO_KEY)), True, True, [f": {NO_KEY}"]),
    "lost": (plan(counts=SOME, comparison=whole(GONE, GONE)), True, True, [f", {LOST}: {GONE}"]),
    "lost, and another reason": (plan(comparison=whole(NO_KEY, GONE)), True, False, [f", {LOST}: {GONE}"]),
    "an empty file": (plan(file=EMPTY, comparison=whole(GONE, GONE)), True, False, []),
}


@pytest.mark.parametrize(("planned", "is_full", "has_gone", "notes"), EMITTED.values(), ids=EMITTED)
def test_what_a_load_emits(planned: LoadPlan, notes: list[str], *, is_full: bool, has_gone: bool) -> None:
    assert planned.is_full is is_full
    assert planned.emitted.place == (0 if is_full else 1)  # the rows that differ, or all of the file
    assert bool(planned.gone) is has_gone
    # Notes of the layout come first.
    found = planned.notes[len(LAYOUT.notes) :]
    assert [(note.text, note.is_warning) for note in found] == [
        (f"all rows are emitted{text}", LOST in text) for text in notes
    ]


VERIFIED: dict[str, tuple[LoadPlan, bool]] = {
    "the first load: the whole file was verified": (plan({}), True),
    "a later load": (plan(), False),
    "a comparison verifies it": (plan(counts=SAME), True),
    "row numbers need no proof": (plan(layout=ROWS_WITHOUT_KEY), True),
}


@pytest.mark.parametrize(("planned", "is_verified"), VERIFIED.values(), ids=VERIFIED)
def test_whether_the_key_is_verified_before(planned: LoadPlan, *, is_verified: bool) -> None:
    assert planned.is_key_verified is is_verified


@pytest.mark.parametrize(
    ("planned", "read", "rows"),
    [
        (plan(), 20, 20),
        (plan(counts=Counts(1, 2, 3, 14)), 3, 17),
        (plan(counts=Counts(1, 2, 3, 14), comparison=whole("x")), 17, 17),
        (plan(file=EMPTY), 0, 0),
    ],
    ids=["all", "changes", "all after a comparison", "empty"],
)
def test_how_many_rows_a_file_has(planned: LoadPlan, read: int, rows: int) -> None:
    assert planned.rows(read) == rows


# --- a part that passes for a whole

DELETIONS: list[tuple[int, int, float, bool]] = [
    # (rows that are gone, rows before, max_deleted_percent, whether that is too many)
    (0, 0, 0, False),
    (-5, 10, 50, False),
    (10, 10, 0, False),
    (11, 11, 50, True),
    (10, 11, 50, False),
    (11, 22, 50, False),
    (11, 21, 50, True),
    (50, 100, 50, False),
    (51, 100, 50, True),
    (11, 1_000_000, 0, True),
    (11, 11, 100, False),
    (1_000_000, 1_000_000, 100, False),
    (999, 1000, 99.9, False),
    (1000, 1000, 99.9, True),
    (125, 1000, 12.5, False),
    (126, 1000, 12.5, True),
    (11, 0, 50, True),
]


@pytest.mark.parametrize(("deleted", "before", "percent", "is_too_many"), DELETIONS)
def test_how_many_rows_may_be_gone(deleted: int, before: int, percent: float, *, is_too_many: bool) -> None:
    if not is_too_many:
        check_deleted("x", deleted, before, percent)
        return
    with pytest.raises(TapError) as raised:
        check_deleted("x", deleted, before, percent)
    (text,) = raised.value.lines
    assert text.startswith(f"x: {deleted:,} of {before:,} rows are gone")
    assert f"max_deleted_percent ({percent:g})" in text
    assert "set max_deleted_percent to 100 for one run" in text


@pytest.mark.parametrize("reason", [None, OTHER_SHAPE])
def test_a_load_fails_where_too_many_rows_are_gone(reason: str | None) -> None:
    """Those of the file that was loaded last count, not those that another load may have left."""
    comparison = Comparison(HELD_TWO, "f", ("a", "b"), reason)
    facts: dict[str, Any] = {"counts": Counts(deleted=500, unchanged=10), "comparison": comparison}
    with pytest.raises(
        PartError, match=r"^Stream users, export x: 11 of 21 rows are gone, .* for one run\.$"
    ) as raised:
        plan(**facts, of_base=(11, 21))
    assert len(raised.value.lines) == 1
    assert plan(**facts, of_base=(11, 21), config={**CONFIG, "max_deleted_percent": 53}).gone
    assert plan(**facts, of_base=(11, 22)).gone
    assert plan({**LOADED, "holdings": [["a", "f"]]}, **facts, of_base=(11, 21)).gone


def test_without_the_file_that_was_loaded_last_the_number_of_its_rows_counts() -> None:
    comparison = Comparison(HELD_TWO, "f", ("b",))
    assert plan(counts=Counts(deleted=500, unchanged=12), comparison=comparison).gone
    with pytest.raises(PartError, match="11 of 20 rows are gone"):
        plan(counts=Counts(deleted=500, added=2, changed=3, unchanged=4), comparison=comparison)


# --- what the rows look like


def shape(layout: Layout = LAYOUT, parts: Sequence[tuple[str, ...]] = (), **config: Any) -> str:
    """The fingerprint of a file."""
    return fingerprint_of(layout, config, parts)


SHAPES: dict[str, str] = {
    "usual": shape(),
    "a column less": shape(fit(("id",), deselected="x")),
    "another type": shape(fit(("id",), {**PROPERTIES, "x": {"type": ["object", "null"]}})),
    "another key": shape(fit(("x",))),
    "a map": shape(stream_maps={"users": {"x": None}}),
    "flattening": shape(flattening_enabled=True),
    "a part of an object is not selected": shape(parts=[("properties", "x", "properties", "y")]),
}


def test_rows_that_look_otherwise_have_another_fingerprint() -> None:
    assert len(set(SHAPES.values())) == len(SHAPES)


def test_what_does_not_change_the_look_of_rows() -> None:
    assert shape(read_timeout=5, export_ids=["x"], start_date="2026-01-01") == SHAPES["usual"]
    parts = [("properties", "x", "a"), ("properties", "x", "b")]
    assert shape(parts=parts) == shape(parts=parts[::-1])
