"""Rules of load/state.py: what is read of a state, how it changes, and what is left of it after any merge."""

from __future__ import annotations

import copy
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from tap_dynamic.errors import TapError
from tap_dynamic.load.selection import short_id
from tap_dynamic.load.state import Holding, RowState
from tap_dynamic.table.layout import KnownTable, Layout
from tests.builders import at, bookmark, export

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
    "holdings": [["b", "f1"], ["p", None]],
    "unfinished": ["p"],
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
    assert state.held == [Holding("b", None)]


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
    "holdings": ["SECRET", {"SECRET": None}, [[]], ["SECRET"], [[5]], [["SECRET", 5]]],
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


@pytest.mark.parametrize(
    ("name", "is_refused"), [(None, False), (ENVIRONMENT, False), ("22222222-2222-4222-8222-222222222222", True)]
)
def test_the_state_of_another_environment_is_refused(name: str | None, *, is_refused: bool) -> None:
    state = RowState(environment_id=name)
    if not is_refused:
        state.check_environment(ENVIRONMENT)
        return
    with pytest.raises(TapError, match=f"{name}, not to environment_id {ENVIRONMENT}.*--full-refresh"):
        state.check_environment(ENVIRONMENT)


def test_the_name_of_another_environment_is_one_line() -> None:
    with pytest.raises(TapError) as raised:
        RowState(environment_id="a\nb").check_environment(ENVIRONMENT)
    assert "\n" not in str(raised.value)


# --- what the table may hold

HELD: dict[str, tuple[dict[str, Any], list[Holding]]] = {
    "nothing was loaded": ({}, []),
    "of the very bookmark": (FULL, [Holding("b", "f1"), Holding("p")]),
    "of an older bookmark": ({**FULL, "holdings_bookmark": [at(1), "a"]}, [Holding("b"), Holding("b2")]),
    "of the same instant, before one more export": (
        {**FULL, "holdings_bookmark": [at(2), "b"]},
        [Holding("b"), Holding("b2")],
    ),
    "of no bookmark": ({**FULL, "holdings_bookmark": []}, [Holding("b"), Holding("b2")]),
    "0.1.0": (OLD, [Holding("b")]),
    "a bookmark without ids": ({"replication_key_value": at(2), "export_ids": None}, []),
    "the ids of the bookmark in another order": (
        {**FULL, "export_ids": ["b2", "b"]},
        [Holding("b", "f1"), Holding("p")],
    ),
    "a first load was interrupted": ({"holdings": [["a", "f1"]], "holdings_bookmark": [""]}, [Holding("a", "f1")]),
    "of before a full refresh": ({"holdings": [["a", "f1"]], "holdings_bookmark": [at(1), "a"]}, []),
    "the first file was empty: the table has no rows": (
        {**FULL, "holdings": []},
        [],
    ),
}


@pytest.mark.parametrize(("values", "held"), HELD.values(), ids=HELD)
def test_what_the_table_may_hold(values: dict[str, Any], held: list[Holding]) -> None:
    assert RowState.parse(values).held == held


# --- what happens to a state

NOTHING: dict[str, Any] = {}
COMMITS: dict[str, tuple[dict[str, Any], Any, dict[str, Any], dict[str, Any]]] = {
    # name: (state, export, arguments, what changes in the state)
    "first": (NOTHING, B, {}, {"replication_key_value": at(2), "export_ids": ["b"], "holdings_bookmark": [at(2), "b"]}),
    "newer": (
        {"replication_key_value": at(1), "export_ids": ["a"], "row_count": 3},
        B,
        {},
        {"replication_key_value": at(2), "export_ids": ["b"], "holdings_bookmark": [at(2), "b"]},
    ),
    "older: the bookmark and its rows stay": (
        {"replication_key_value": at(3), "export_ids": ["c"], "row_count": 3, "table_version": 4},
        B,
        {},
        {"row_count": 3, "table_version": 4, "replication_key": None, "holdings_bookmark": [at(3), "c"]},
    ),
    "same instant, sorted ids": (
        {"replication_key_value": at(2), "export_ids": ["z"]},
        B,
        {},
        {"replication_key_value": at(2), "export_ids": ["b", "z"], "holdings_bookmark": [at(2), "b", "z"]},
    ),
    "same instant in another spelling": (
        {"replication_key_value": at(2), "export_ids": ["b"]},
        SAME_B,
        {},
        {
            "replication_key_value": "2026-03-02T01:00:00+01:00",
            "export_ids": ["b", "b2"],
            "holdings_bookmark": ["2026-03-02T01:00:00+01:00", "b", "b2"],
        },
    ),
    "the requested one": (
        {"requested_export_id": "b"},
        B,
        {},
        {
            "replication_key_value": at(2),
            "export_ids": ["b"],
            "requested_export_id": None,
            "holdings_bookmark": [at(2), "b"],
        },
    ),
    "another than the requested one": (
        {"requested_export_id": "r"},
        B,
        {},
        {"replication_key_value": at(2), "export_ids": ["b"], "holdings_bookmark": [at(2), "b"]},
    ),
    "without moving the bookmark": (
        {"requested_export_id": "b", "row_count": 3},
        B,
        {"moves_bookmark": False},
        {
            "requested_export_id": None,
            "row_count": 3,
            "table_version": None,
            "replication_key": None,
            "holdings_bookmark": [""],
        },
    ),
    "without rows: the bookmark moves, what the table has stays": (
        {"row_count": 3, "table_version": 4},
        B,
        {"rows": 0},
        {
            "replication_key_value": at(2),
            "export_ids": ["b"],
            "row_count": 3,
            "table_version": 4,
            "holdings_bookmark": [at(2), "b"],
        },
    ),
    "without a version: that of the table ends": (
        {"table_version": 4},
        B,
        {"version": None},
        {
            "replication_key_value": at(2),
            "export_ids": ["b"],
            "table_version": None,
            "last_version": None,
            "holdings_bookmark": [at(2), "b"],
        },
    ),
}


@pytest.mark.parametrize(("values", "loaded", "arguments", "changed"), COMMITS.values(), ids=COMMITS)
def test_what_a_loaded_export_changes_in_the_state(
    values: dict[str, Any], loaded: Any, arguments: dict[str, Any], changed: dict[str, Any]
) -> None:
    held = [Holding("b", "f1"), Holding("p")]
    state = RowState.parse({"key_properties": ["id"], "known_exports": ["a"], **values})
    arguments = {"rows": 5, "version": 9, "moves_bookmark": True, **arguments}
    after = state.committed(loaded, replication_key="_sdc_exported_at", holdings=held, **arguments)
    usual = {"replication_key": "_sdc_exported_at", "row_count": 5, "table_version": 9, "last_version": 9}
    assert after.values() == {**state.values(), **usual, **changed, "holdings": [["b", "f1"], ["p", None]]}
    assert after.held == held


BEGUN: dict[str, tuple[dict[str, Any], list[Holding], str | None, list[list[str | None]]]] = {
    # name: (state, what the table may hold, fingerprint, holdings)
    "the first load": (NOTHING, [], "f1", [["c", "f1"]]),
    "without comparison": (NOTHING, [], None, [["c", None]]),
    "after one": (FULL, [Holding("b", "f1")], "f1", [["b", "f1"], ["c", "f1"]]),
    "with one between, whose state was lost": (
        FULL,
        [Holding("b", "f1"), Holding("x", "f1")],
        "f1",
        [["b", "f1"], ["x", "f1"], ["c", "f1"]],
    ),
    "interrupted, and begun again": (
        {**FULL, "holdings": [["b", "f1"], ["c", "f1"]]},
        [Holding("b", "f1")],
        "f1",
        [["b", "f1"], ["c", "f1"]],
    ),
    "interrupted, and begun again with other columns: rows of both looks": (
        {**FULL, "holdings": [["b", "f1"], ["c", "f1"]]},
        [Holding("b", "f1")],
        "f2",
        [["b", "f1"], ["c", None]],
    ),
    "loaded before, and begun again with other columns": (
        {**FULL, "holdings": [["c", "f1"]]},
        [],
        "f2",
        [["c", None]],
    ),
    "interrupted without changes_only, and begun again with it: rows of both looks": (
        {**FULL, "holdings": [["b", "f1"], ["c", None]]},
        [Holding("b", "f1")],
        "f1",
        [["b", "f1"], ["c", None]],
    ),
    "of another bookmark": ({**FULL, "holdings": [["c", "f1"]], "holdings_bookmark": []}, [], "f2", [["c", "f2"]]),
}


@pytest.mark.parametrize(("values", "held", "fingerprint", "holdings"), BEGUN.values(), ids=BEGUN)
def test_what_a_load_that_begins_changes_in_the_state(
    values: dict[str, Any], held: list[Holding], fingerprint: str | None, holdings: list[list[str | None]]
) -> None:
    state = RowState.parse({**values, "columns": ["email", "old"]})
    after = state.with_table(LAYOUT).begun(C, held=held, fingerprint=fingerprint)
    assert after.values() == {
        **state.values(),
        "key_properties": ["id"],
        "columns": ["email", "old", "id"],
        "text_columns": ["y", "z"],
        "holdings": holdings,
        "unfinished": after.unfinished,
        "holdings_bookmark": [values["replication_key_value"], "b", "b2"] if values else [""],
    }
    assert after.bookmark == state.bookmark
    assert [[h.export_id, h.fingerprint] for h in after.held] == holdings


UNFINISHED: dict[str, tuple[dict[str, Any], list[str]]] = {
    # name: (state before an export begins, whose loads have not ended then)
    "the first load": ({}, ["c"]),
    "after one": (FULL, ["p", "c"]),
    "once more": ({**FULL, "unfinished": ["p", "c"], "holdings": [["b", "f1"], ["p", None], ["c", "f1"]]}, ["p", "c"]),
    "loaded before": ({**FULL, "unfinished": [], "holdings": [["b", "f1"], ["c", "f1"]]}, []),
    "of another bookmark": ({**FULL, "holdings_bookmark": []}, ["c"]),
}


@pytest.mark.parametrize(("values", "unfinished"), UNFINISHED.values(), ids=UNFINISHED)
def test_a_load_is_unfinished_until_it_ends(values: dict[str, Any], unfinished: list[str]) -> None:
    state = RowState.parse(values)
    begun = state.begun(C, held=state.held, fingerprint="f1")
    assert begun.unfinished == unfinished
    assert begun.has_base == (state != RowState())
    after = begun.committed(C, replication_key="k", holdings=begun.held, rows=1, version=None, moves_bookmark=False)
    assert after.unfinished == [i for i in unfinished if i != "c"]
    assert after.has_base


def test_an_unfinished_load_is_no_base_whatever_the_bookmark() -> None:
    """The first load is interrupted, and then an export without rows is loaded."""
    begun = RowState().begun(A, held=[], fingerprint="f1")
    empty = begun.begun(B, held=begun.held, fingerprint="f1").committed(
        B, replication_key="k", holdings=begun.held, rows=0, version=None, moves_bookmark=True
    )
    assert [h.export_id for h in empty.held] == ["a"]
    assert not empty.has_base


def requested(completed_at: str | None = None, **fields: Any) -> Any:
    """The export that an earlier run requested."""
    return export("r", completed_at, **{"status": "completed" if completed_at else "pending", **fields})


FORGOTTEN: dict[str, tuple[list[Any], str | None, bool]] = {
    # name: (list, bookmark, whether the id is dropped)
    "older than the bookmark": ([requested(at(2))], at(3), True),
    "of the bookmark's instant": ([requested(at(3))], at(3), True),
    "newer than the bookmark": ([requested(at(4))], at(3), False),
    "nothing loaded yet": ([requested(at(4))], None, False),
    "pending": ([requested()], at(3), False),
    "vanished": ([A], at(3), False),
    "another one is older": ([A, requested(at(4))], at(3), False),
    "nothing is listed": ([], at(3), False),
}


@pytest.mark.parametrize(("exports", "loaded", "is_dropped"), FORGOTTEN.values(), ids=FORGOTTEN)
def test_a_remembered_id_is_dropped_when_not_newer_than_the_bookmark(
    exports: list[Any], loaded: str | None, *, is_dropped: bool
) -> None:
    state = RowState(replication_key_value=loaded).requested("r")
    after = state.without_request(exports)
    assert after.requested_export_id == (None if is_dropped else "r")
    assert after.requested("r") == state


def test_no_id_is_remembered_and_nothing_is_dropped() -> None:
    state = RowState(replication_key_value=at(3))
    assert state.without_request([A, B]) == state


@pytest.mark.parametrize(("ids", "known"), [(None, None), ([], []), (["b", "a"], sorted(map(short_id, "ab")))])
def test_the_exports_that_are_listed_are_remembered(ids: list[str] | None, known: list[str] | None) -> None:
    assert RowState(known_exports=["z"]).knowing(ids).values() == {**RowState().values(), "known_exports": known}


def test_the_environment_is_named() -> None:
    assert RowState().of_environment(ENVIRONMENT) == RowState(environment_id=ENVIRONMENT)


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
        state = write(f"{name} begun", state.with_table(LAYOUT).begun(loaded, held=held, fingerprint=fingerprint))
        own = [Holding(loaded.id, fingerprint)] if rows else held
        return write(
            f"{name} loaded",
            state.committed(loaded, replication_key="k", holdings=own, rows=rows, version=None, moves_bookmark=True),
        )

    state = load("a", found["before"], A)
    state = load("b", write("requested", state.requested("b")), B)
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
    assert state.held == (STATES[name].held if STATES[name].bookmark == state.bookmark else [Holding("b")])


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
            assert found == [Holding(export_id) for export_id in state.export_ids or ()]


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("before", []),
        ("a begun", [Holding("a", "f1")]),
        ("a loaded", [Holding("a", "f1")]),
        ("requested", [Holding("a", "f1")]),
        ("b begun", [Holding("a", "f1"), Holding("b", "f1")]),
        ("b loaded", [Holding("b", "f1")]),
        ("b2 begun", [Holding("b", "f1"), Holding("b2", "f2")]),
        ("b2 loaded", [Holding("b2", "f2")]),
        ("c, without rows begun", [Holding("b2", "f2"), Holding("c", "f1")]),
        ("c, without rows loaded", [Holding("b2", "f2")]),
        ("d, without changes_only begun", [Holding("b2", "f2"), Holding("d")]),
        ("d, without changes_only loaded", [Holding("d")]),
    ],
)
def test_what_the_table_may_hold_after_each_state(name: str, held: list[Holding]) -> None:
    assert STATES[name].held == held
