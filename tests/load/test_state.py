"""Rules of load/state.py: what is read of a state, how it changes, and what is left of it after any merge."""

from __future__ import annotations

import copy
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from tap_dynamic.errors import TapError
from tap_dynamic.load.changes import Rows
from tap_dynamic.load.plan import LoadPlan
from tap_dynamic.load.state import Holding, RowState
from tap_dynamic.table.layout import KnownTable, Layout
from tests.builders import at, bookmark, csv_file, export

if TYPE_CHECKING:
    from tap_dynamic.load.selection import Bookmark

ENVIRONMENT = "11111111-1111-4111-8111-111111111111"
A, B, C = export("a", at(1)), export("b", at(2)), export("c", at(3))
SAME_B = export("b2", "2026-03-02T01:00:00+01:00")
LAYOUT = Layout((), (), ("id",), {}, text_columns=frozenset({"z", "y"}), remembered=("id", "email"))
FULL: dict[str, Any] = {
    "environment_id": ENVIRONMENT,
    "replication_key": "_sdc_exported_at",
    "replication_key_value": at(2),
    "export_ids": ["b", "b2"],
    "requested_export_id": "r",
    "key_properties": ["id"],
    "columns": ["id", "email"],
    "text_columns": ["z"],
    "row_count": 7,
    "table_version": 1_772_000_000,
    "last_version": 7,
    "holdings": [["b", "f1", True], ["p", None, False]],
    "holdings_bookmark": [at(2), "b", "b2"],
    "known_exports": ["a", "b"],
}
OLD: dict[str, Any] = {
    # as 0.1.0 wrote it
    "replication_key": "_sdc_exported_at",
    "replication_key_value": at(2),
    "export_ids": ["b"],
    "requested_export_id": "r",
    "key_properties": ["id"],
    "rejected_key": ["email"],
    "text_columns": ["z"],
    "base_export_id": "b",
    "begun_exports": {"c": "f1"},
    "fingerprint": "f1",
    "table_version": 1_772_000_000,
}

# --- what is read

BOOKMARKS: list[tuple[dict[str, Any], Bookmark | None]] = [
    ({}, None),
    ({"replication_key_value": None}, None),
    ({"export_ids": ["a"]}, None),
    ({"replication_key_value": at(1)}, bookmark(at(1))),
    ({"replication_key_value": at(1), "export_ids": None}, bookmark(at(1))),
    ({"replication_key_value": at(1), "export_ids": ["a", "b"]}, bookmark(at(1), "a", "b")),
    ({"replication_key_value": "2026-03-01T01:00:00+01:00"}, bookmark("2026-03-01T01:00:00+01:00")),
]


@pytest.mark.parametrize(("values", "expected"), BOOKMARKS)
def test_a_bookmark_is_read_from_the_state(values: dict[str, Any], expected: Bookmark | None) -> None:
    assert RowState.parse(values).bookmark == expected


TABLES: list[tuple[dict[str, Any], KnownTable]] = [
    ({}, KnownTable()),
    ({"key_properties": []}, KnownTable()),
    (FULL, KnownTable(("id",), ("id", "email"), frozenset({"z"}))),
    (OLD, KnownTable(("id",), (), frozenset({"z"}))),
]


@pytest.mark.parametrize(("values", "expected"), TABLES, ids=["empty", "no key", "full", "0.1.0"])
def test_the_table_is_read_from_the_state(values: dict[str, Any], expected: KnownTable) -> None:
    assert RowState.parse(values).table == expected


def test_a_state_is_written_as_it_was_read() -> None:
    state = RowState.parse(FULL)
    assert state.values() == FULL
    assert json.loads(json.dumps(state.values())) == FULL
    assert RowState.parse(state.values()) == state


def test_every_field_is_written_always() -> None:
    """A field that is missing would be taken from an older state by a merge."""
    assert RowState().values().keys() == FULL.keys()
    assert RowState.parse(RowState().values()) == RowState()


def test_what_is_the_sdks_or_of_an_earlier_version_is_ignored() -> None:
    state = RowState.parse({**OLD, "starting_replication_value": 5, "progress_markers": {"Note": []}})
    assert (state.bookmark, state.requested_export_id) == (bookmark(at(2), "b"), "r")
    assert not {"base_export_id", "begun_exports", "fingerprint", "rejected_key"} & state.values().keys()
    # What 0.1.0 compared with is not known: the next load emits all rows.
    assert state.held == [Holding("b", is_base=True)]


CORRUPT: dict[str, list[Any]] = {
    "replication_key_value": [
        *("", "now", "12:30", "2021", "2021-W01", "2026-02-30", "SECRET", "a\nb", "\ud800"),
        *(5, 0, 1.5, False, True, [], {}, [at(1)]),
    ],
    "export_ids": [5, "SECRET", {"SECRET": 1}, [["SECRET"]], [{}], [None]],
    "requested_export_id": [5, [], {"SECRET": 1}],
    "environment_id": [5, ["SECRET"]],
    "key_properties": ["SECRET", [5], {"SECRET": 1}, None],
    "columns": ["SECRET", [None]],
    "text_columns": ["SECRET", [5]],
    "row_count": ["SECRET", True, 1.5, []],
    "table_version": ["SECRET", False, [5]],
    "holdings": ["SECRET", {"SECRET": None}, [[]], ["SECRET"], [[5]], [["SECRET", 5]], [["a", None, "SECRET"]]],
    "holdings_bookmark": ["SECRET", [None]],
    "known_exports": [5, [5]],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in CORRUPT for value in CORRUPT[field]], ids=ascii
)
def test_a_corrupt_state_is_one_line_without_its_value(field: str, value: Any) -> None:
    with pytest.raises(TapError) as raised:
        RowState.parse({**FULL, field: value}, "bookmarks.users")
    (line,) = raised.value.lines
    assert line.startswith("The state is corrupt: bookmarks.users, ")
    assert field in line
    assert "full refresh" in line
    assert "SECRET" not in line
    assert line.isprintable()


@pytest.mark.parametrize("values", [5, "SECRET", ["SECRET"], None], ids=repr)
def test_what_is_no_object_is_corrupt(values: Any) -> None:
    with pytest.raises(TapError, match=r"^The state is corrupt: bookmarks\.users is not as it must be") as raised:
        RowState.parse(values, "bookmarks.users")
    assert "SECRET" not in str(raised.value)


def test_the_state_of_another_environment_is_refused() -> None:
    for name in (None, ENVIRONMENT):
        RowState(environment_id=name).check_environment(ENVIRONMENT)
    with pytest.raises(TapError, match=f"environment a, not to environment_id {ENVIRONMENT}.*--full-refresh"):
        RowState(environment_id="a\nb").check_environment(ENVIRONMENT)


# --- what the table may hold

WHOLE = [Holding("b", is_base=True), Holding("b2", is_base=True)]
IN_FULL = [Holding("b", "f1", is_base=True), Holding("p")]
HELD: dict[str, tuple[dict[str, Any], list[Holding]]] = {
    "nothing was loaded": ({}, []),
    "of the very bookmark": (FULL, IN_FULL),
    "of an older bookmark": ({**FULL, "holdings_bookmark": [at(1), "a"]}, WHOLE),
    "of the same instant, before one more export": ({**FULL, "holdings_bookmark": [at(2), "b"]}, WHOLE),
    "of no bookmark": ({**FULL, "holdings_bookmark": []}, WHOLE),
    "0.1.0": (OLD, WHOLE[:1]),
    "a bookmark without ids": ({"replication_key_value": at(2), "export_ids": None}, []),
    "the ids of the bookmark in another order": ({**FULL, "export_ids": ["b2", "b"]}, IN_FULL),
    "a state that does not say which loads ended": ({**FULL, "holdings": [["b", "f1"]]}, [Holding("b", "f1")]),
    "a first load was interrupted": ({"holdings": [["a", "f1"]], "holdings_bookmark": [""]}, [Holding("a", "f1")]),
    "of before a full refresh": ({"holdings": [["a", "f1"]], "holdings_bookmark": [at(1), "a"]}, []),
    "the first file was empty: the table has no rows": ({**FULL, "holdings": []}, []),
}


@pytest.mark.parametrize(("values", "held"), HELD.values(), ids=HELD)
def test_what_the_table_may_hold(values: dict[str, Any], held: list[Holding]) -> None:
    state = RowState.parse(values)
    assert state.held == held
    assert state.has_base is any(holding.is_base for holding in held)


# --- what happens to a state

FILE = csv_file("id", "1")


def planned(loaded: Any, *held: Holding, **facts: Any) -> LoadPlan:
    """The plan of a load."""
    return LoadPlan(loaded, LAYOUT, Rows(FILE, ()), holdings=(*held, Holding(loaded.id)), **facts)


def moved(loaded: Any, *others: str) -> dict[str, Any]:
    """The fields of the bookmark after a load."""
    ids = sorted([loaded.id, *others])
    moment = loaded.exported_at
    return {"replication_key_value": moment, "export_ids": ids, "holdings_bookmark": [moment, *ids]}


def before(moment: str, *ids: str, **fields: Any) -> dict[str, Any]:
    """A state with a bookmark."""
    return {"replication_key_value": moment, "export_ids": [*ids], "row_count": 3, **fields}


ASIDE = {"moves_bookmark": False}
STAYS = {"replication_key": None, "row_count": None, "table_version": None, "holdings_bookmark": [""]}
COMMITS: dict[str, tuple[dict[str, Any], Any, dict[str, Any], dict[str, Any]]] = {
    # name: (state, export, facts of its load, what changes in the state)
    "first": ({}, B, {}, moved(B)),
    "newer": (before(at(1), "a"), B, {}, moved(B)),
    "same instant, sorted ids": (before(at(2), "z"), B, {}, moved(B, "z")),
    "same instant in another spelling": (before(at(2), "b"), SAME_B, {}, moved(SAME_B, "b")),
    "the same again": (before(at(2), "b", "z"), B, {}, moved(B, "z")),
    "the requested one": ({"requested_export_id": "b"}, B, {}, {**moved(B), "requested_export_id": None}),
    "another than the requested one": ({"requested_export_id": "r"}, B, {}, moved(B)),
    "without moving the bookmark": ({"requested_export_id": "b"}, B, ASIDE, {**STAYS, "requested_export_id": None}),
    "without rows: what the table has stays": (
        {"row_count": 3, "table_version": 4},
        B,
        {"rows": 0},
        {**moved(B), "row_count": 3, "table_version": 4},
    ),
    "without a version: that of the table ends": (
        {"table_version": 4, "last_version": 4},
        B,
        {"version": None},
        {**moved(B), "table_version": None, "last_version": 4},
    ),
}


@pytest.mark.parametrize(("values", "loaded", "arguments", "changed"), COMMITS.values(), ids=COMMITS)
def test_what_a_loaded_export_changes_in_the_state(
    values: dict[str, Any], loaded: Any, arguments: dict[str, Any], changed: dict[str, Any]
) -> None:
    state = RowState.parse({"key_properties": ["id"], "known_exports": ["a"], **values})
    facts = {"fingerprint": "f1", "version": 9, **arguments}
    plan = planned(loaded, Holding("p"), **{name: fact for name, fact in facts.items() if name != "rows"})
    rows = arguments.get("rows", 5)
    after = state.committed(plan, rows)
    usual = {"replication_key": "_sdc_exported_at", "row_count": 5, "table_version": 9}
    holdings = [[h.export_id, h.fingerprint, h.is_base] for h in plan.holdings_after(rows)]
    assert after.values() == {**state.values(), **usual, **changed, "holdings": holdings}
    assert after.held == [*plan.holdings_after(rows)]


@pytest.mark.parametrize("values", [{}, FULL, {**FULL, "holdings_bookmark": []}])
@pytest.mark.parametrize(
    ("look", "facts", "is_remembered"),
    [
        (None, {}, False),
        (None, {"moves_bookmark": False}, True),
        ("f1", {"fingerprint": "f1"}, True),
        ("f1", {}, True),
    ],
    ids=["never compared", "aside", "compared", "compared until now"],
)
def test_what_a_load_that_begins_changes_in_the_state(
    values: dict[str, Any], look: str | None, facts: dict[str, Any], *, is_remembered: bool
) -> None:
    state = RowState.parse({**values, "columns": ["email", "old"]})
    after = state.begun(planned(C, Holding("b", look), **facts))
    table = {"key_properties": ["id"], "columns": ["email", "old", "id"], "text_columns": ["y", "z"]}
    held = {
        "holdings": [["b", look, False], ["c", None, False]],
        "holdings_bookmark": [values["replication_key_value"], "b", "b2"] if values else [""],
    }
    assert after.values() == {**state.values(), **table, **(held if is_remembered else {})}
    assert after.bookmark == state.bookmark


@pytest.mark.parametrize(
    ("before", "version", "after"), [(None, None, None), (None, 9, 9), (4, None, 4), (4, 9, 9), (20, 9, 20)]
)
def test_the_last_version_is_remembered_before_the_first_row_and_never_falls(
    before: int | None, version: int | None, after: int | None
) -> None:
    assert RowState(last_version=before).begun(planned(C, version=version)).last_version == after


def requested(completed_at: str | None = None, **fields: Any) -> Any:
    """The export that an earlier run requested."""
    return export("r", completed_at, **{"status": "completed" if completed_at else "pending", **fields})


FORGOTTEN: dict[str, tuple[list[Any], bool]] = {
    # name: (list, whether the id is dropped)
    "of the bookmark's instant": ([requested(at(3))], True),
    "newer than the bookmark": ([requested(at(4))], False),
    "vanished": ([A], False),
    "another one is older": ([A, requested(at(4))], False),
}


@pytest.mark.parametrize(("exports", "is_dropped"), FORGOTTEN.values(), ids=FORGOTTEN)
def test_a_remembered_id_is_dropped_when_not_newer_than_the_bookmark(exports: list[Any], *, is_dropped: bool) -> None:
    state = RowState(replication_key_value=at(3), requested_export_id="r")
    assert state.without_request(exports, ()) == (RowState(replication_key_value=at(3)) if is_dropped else state)


def test_no_id_is_remembered_and_nothing_is_dropped() -> None:
    state = RowState(replication_key_value=at(3))
    assert state.without_request([A, B], {"a"}) == state


def test_a_remembered_id_is_dropped_when_the_export_is_unusable() -> None:
    state = RowState(replication_key_value=at(3), requested_export_id="r")
    assert state.without_request([], {"q"}) == state
    assert state.without_request([], {"r"}) == RowState(replication_key_value=at(3))


# --- merges


def merged(state: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """Merge states as Meltano does: objects deeply, all else is replaced."""
    result = copy.deepcopy(state)
    for name, value in update.items():
        both = isinstance(result.get(name), dict) and isinstance(value, dict)
        result[name] = merged(result[name], value) if both else copy.deepcopy(value)
    return result


def states() -> dict[str, RowState]:
    """The states of some nights: each that is written while exports are loaded, in order."""
    found = {"before": RowState()}

    def write(name: str, state: RowState) -> RowState:
        found[name] = state
        return state

    def load(name: str, state: RowState, loaded: Any, *, rows: int = 5, fingerprint: str | None = "f1") -> RowState:
        held = [h for h in state.held if h.export_id != loaded.id]
        own = Holding(loaded.id, fingerprint)
        plan = LoadPlan(loaded, LAYOUT, Rows(FILE, ()), holdings=(*held, own), fingerprint=fingerprint)
        return write(f"{name} loaded", write(f"{name} begun", state.begun(plan)).committed(plan, rows))

    state = load("a", found["before"], A)
    state = load("b", write("requested", RowState.parse({**state.values(), "requested_export_id": "b"})), B)
    state = load("b2", state, SAME_B, fingerprint="f2")
    state = load("c, without rows", state, C, rows=0)
    load("d, without changes_only", state, export("d", at(4)), fingerprint=None)
    return found


STATES = states()


def test_a_state_that_is_merged_into_another_replaces_it() -> None:
    for older, newer in itertools.product([OLD, FULL, *(state.values() for state in STATES.values())], STATES.values()):
        assert RowState.parse(merged(older, newer.values())) == newer


@pytest.mark.parametrize("name", STATES)
def test_a_state_of_an_earlier_version_is_merged_into_one(name: str) -> None:
    """The bookmark moves without the holdings: what is left of them counts only where that bookmark is theirs."""
    state = RowState.parse(merged(STATES[name].values(), OLD))
    assert state.bookmark == bookmark(at(2), "b")
    assert state.held == (STATES[name].held if STATES[name].bookmark == state.bookmark else [WHOLE[0]])


@pytest.mark.parametrize("name", STATES)
def test_holdings_count_only_with_the_bookmark_they_belong_to(name: str) -> None:
    """Whatever parts of two states come together."""
    holdings = {field: STATES[name].values()[field] for field in ("holdings", "holdings_bookmark")}
    for state in STATES.values():
        found = RowState.parse({**state.values(), **holdings}).held
        is_same = STATES[name].bookmark == state.bookmark
        if is_same and STATES[name].holdings_bookmark:
            assert found == STATES[name].held
        else:
            assert found == [Holding(export_id, is_base=True) for export_id in state.export_ids or ()]


A_HELD, B_HELD = Holding("a", "f1", is_base=True), Holding("b", "f1", is_base=True)
B2_HELD, D_HELD = Holding("b2", "f2", is_base=True), Holding("d", is_base=True)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("before", []),
        ("a begun", [Holding("a", "f1")]),
        ("a loaded", [A_HELD]),
        ("requested", [A_HELD]),
        ("b begun", [A_HELD, Holding("b", "f1")]),
        ("b loaded", [B_HELD]),
        ("b2 begun", [B_HELD, Holding("b2", "f2")]),
        ("b2 loaded", [B2_HELD]),
        ("c, without rows begun", [B2_HELD, Holding("c", "f1")]),
        ("c, without rows loaded", [B2_HELD]),
        ("d, without changes_only begun", [B2_HELD, Holding("d")]),
        ("d, without changes_only loaded", [D_HELD]),
    ],
)
def test_what_the_table_may_hold_after_each_state(name: str, held: list[Holding]) -> None:
    assert STATES[name].held == held
