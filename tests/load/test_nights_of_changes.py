"""`changes_only`: after any sequence of nights the table equals the newest snapshot, and only what changed was sent."""

from __future__ import annotations

import copy
import io
import json
import random
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from sandbox.data import to_csv
from sandbox.server import Sandbox
from tap_dynamic.errors import TapError
from tap_dynamic.tap import TapDynamic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.server import SandboxExport
    from tests.conftest import Message, Tap

SEQUENCES = 200
NIGHTS = 3
PAIR = ["user_id", "verified_credential_id"]
Key = tuple[str, str]


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@dataclass
class Night:
    """What a run wrote, as far as it was received."""

    messages: list[Message]
    is_whole: bool = True

    @property
    def records(self) -> list[Message]:
        return [m["record"] for m in self.messages if m["type"] == "RECORD" and m["stream"] == "users"]

    @property
    def state(self) -> Message | None:
        states = [m["value"] for m in self.messages if m["type"] == "STATE"]
        return dict(states[-1]) if states else None


def run_in_process(sandbox: Sandbox, state: Message, cut: random.Random | None = None, **settings: Any) -> Night:
    """Run the tap in this process, for speed; a run that is cut was killed at that message."""
    out = io.TextIOWrapper(io.BytesIO(), write_through=True)
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        tap = TapDynamic(
            config={**sandbox.config, "changes_only": True, **settings}, state=json.loads(json.dumps(state))
        )
        try:
            tap.sync_all()
        except TapError as error:
            pytest.fail(str(error))
    messages = [json.loads(line) for line in out.buffer.getvalue().splitlines()]
    if cut is None:
        return Night(messages)
    return Night(messages[: cut.randrange(len(messages))], is_whole=False)


def key_of(record: Message) -> Key:
    return record["user_id"], record["verified_credential_id"]


@dataclass
class Target:
    """A target that upserts, and marks the rows that have `_sdc_deleted_at`."""

    rows: dict[Key, Message] = field(default_factory=dict)
    state: Message = field(default_factory=dict)

    def receive(self, night: Night) -> None:
        validator = None
        for message in night.messages:
            if message["type"] == "SCHEMA" and message["stream"] == "users":
                validator = jsonschema.Draft202012Validator(message["schema"])
                assert message["key_properties"] == PAIR
            elif message["type"] == "RECORD" and message["stream"] == "users":
                assert validator
                validator.validate(message["record"])
                self.rows[key_of(message["record"])] = message["record"]
            elif message["type"] == "ACTIVATE_VERSION":
                pytest.fail("a version is activated")
        self.state = night.state or self.state

    def table(self) -> dict[Key, tuple[tuple[str, Any], ...]]:
        """The rows that are not marked: their own columns that have a value."""
        return {
            key: tuple((n, v) for n, v in sorted(row.items()) if not n.startswith("_sdc_") and v is not None)
            for key, row in self.rows.items()
            if row["_sdc_deleted_at"] is None
        }


@dataclass
class World:
    """Credentials of users, and users without any, who come, change, leave and return; columns that come and go."""

    rng: random.Random
    columns: list[str] = field(default_factory=lambda: [*PAIR, "user_email", "team"])
    rows: dict[Key, dict[str, str]] = field(default_factory=dict)

    def live(self) -> None:
        for _ in range(self.rng.randrange(1, 6)):
            key = str(self.rng.randrange(5)), self.rng.choice(["", "a", "b"])
            action = self.rng.choice(["add", "add", "change", "remove"])
            if action == "add" or key not in self.rows:
                self.rows[key] = {
                    name: self.rng.choice(["", "a", "b,c", "d\ne"]) for name in ("user_email", "team", "tier")
                }
            elif action == "change":
                self.rows[key][self.rng.choice(["user_email", "team", "tier"])] = self.rng.choice(["", "a", "z"])
            else:
                del self.rows[key]
        if self.rng.random() < 0.15:
            self.columns = [*PAIR, "user_email", "team"] + (["tier"] if "tier" not in self.columns else [])

    def snapshot(self) -> bytes:
        """A file in any order of rows and columns, and with either quoting."""
        columns, keys = self.columns[:], [*self.rows]
        self.rng.shuffle(columns)
        self.rng.shuffle(keys)
        rows = [{**dict(zip(PAIR, key)), **self.rows[key]} for key in keys]
        table = [columns, *([row[name] for name in columns] for row in rows)]
        if self.rng.random() < 0.5:
            return to_csv(table)
        quoted = (",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in table)
        return "\n".join(quoted).encode()

    def table(self) -> dict[Key, tuple[tuple[str, Any], ...]]:
        return {
            key: tuple(sorted([*zip(PAIR, key), *((n, row[n]) for n in self.columns if n not in PAIR and row[n])]))
            for key, row in self.rows.items()
        }


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_the_table_equals_the_newest_snapshot(shared: Sandbox, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 (test data)
    shared.exports.clear()
    world, target = World(rng), Target()
    before: dict[Key, Any] = {}
    base: SandboxExport | None = None
    lost = set[Key]()
    columns: list[str] | None = None
    for _ in range(NIGHTS):
        world.live()
        export = shared.add("users", world.snapshot())
        has_gone = base is not None and rng.random() < 0.1
        if has_gone and base:
            shared.exports.pop(base.id, None)
        while rng.random() < 0.25:  # killed, and perhaps a newer export before the next run
            target.receive(run_in_process(shared, target.state, rng))
            columns = None
            if rng.random() < 0.5:
                world.live()
                export = shared.add("users", world.snapshot())
        night = run_in_process(shared, target.state)
        target.receive(night)
        wanted = world.table()
        if not world.rows:  # an empty file deletes nobody
            assert not night.records
            continue
        # Who left while nothing could be compared is not known.
        lost = (lost | (set(target.table()) - set(wanted) if has_gone else set())) - set(wanted)
        assert {k: v for k, v in target.table().items() if k not in lost} == wanted
        if columns == world.columns and not has_gone:
            assert {key_of(r) for r in night.records} == {
                key for key in {*before, *wanted} if before.get(key) != wanted.get(key)
            } - lost
        gone = [r for r in night.records if r["_sdc_deleted_at"]]
        assert all(r["_sdc_deleted_at"] == r["_sdc_exported_at"] == export.completed_at for r in gone)
        assert all(r["_sdc_row_number"] is None and r["_sdc_export_id"] == export.id for r in gone)
        before, base, columns = wanted, export, world.columns


def run_night(sandbox: Sandbox, tap: Tap, rows: list[list[str]], state: Message, **settings: Any) -> Any:
    sandbox.add("users", to_csv(rows))
    run = tap(_state=state, **{"changes_only": True, **settings})
    assert run.code == 0, run.log
    return run


A = [["user_id", "user_email"], ["1", "a"], ["2", "b"]]
B = [["user_id", "user_email"], ["2", "c"], ["3", "d"]]


def ids(run: Any) -> list[str]:
    return sorted(record["user_id"] for record in run.records("users"))


REASONS: list[tuple[dict[str, Any], list[list[str]], str]] = [
    ({}, [["user_id", "user_email", "x"], ["2", "c", ""]], "columns, types, key or maps differ"),
    ({"stream_maps": {"users": {"user_email": "user_email"}}}, B, "columns, types, key or maps differ"),
    ({"emit_activate_version_messages": True}, B, "the last load had no version"),
]


@pytest.mark.parametrize(("settings", "rows", "reason"), REASONS)
def test_what_can_not_be_compared_is_sent_whole(
    sandbox: Sandbox, tap: Tap, settings: dict[str, Any], rows: list[list[str]], reason: str
) -> None:
    first = run_night(sandbox, tap, A, {})
    assert "all rows are emitted: there is no earlier load to compare with" in first.log
    second = run_night(sandbox, tap, rows, first.state, **settings)
    assert f"all rows are emitted: {reason}" in second.log
    assert {row[0] for row in rows[1:]} <= set(ids(second))


def test_a_base_that_is_gone(sandbox: Sandbox, tap: Tap) -> None:
    first = run_night(sandbox, tap, A, {})
    sandbox.exports.clear()
    second = run_night(sandbox, tap, B, first.state)
    assert "all rows are emitted, and older deletions can't be seen" in second.warnings[-1]
    assert ids(second) == ["2", "3"]


def test_versions_of_full_loads_and_of_changes(sandbox: Sandbox, tap: Tap) -> None:
    first = run_night(sandbox, tap, A, {}, emit_activate_version_messages=True)
    second = run_night(sandbox, tap, B, first.state, emit_activate_version_messages=True)
    (activated,) = first.of("ACTIVATE_VERSION")
    assert {m["version"] for m in [*first.of("RECORD", "users"), *second.of("RECORD", "users")]} == {
        activated["version"]
    }
    assert not second.of("ACTIVATE_VERSION")
    assert ids(second) == ["1", "2", "3"]


def test_a_load_without_the_setting_forgets_the_base(sandbox: Sandbox, tap: Tap) -> None:
    first = run_night(sandbox, tap, A, {})
    second = run_night(sandbox, tap, B, first.state, changes_only=False)
    assert "base_export_id" not in second.bookmark("users")
    assert "_sdc_deleted_at" not in second.records("users")[0]
    third = run_night(sandbox, tap, A, second.state)
    assert "all rows are emitted: the last load was without changes_only" in third.log


def test_an_old_cell_that_no_longer_reads_is_null(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    """The deletion needs only the key and the mark."""
    catalog = copy.deepcopy(documented)
    first = run_night(sandbox, tap, [["user_id", "score"], ["1", "7"], ["2", "n/a"]], {}, _catalog=catalog)
    for entry in catalog["streams"]:
        if entry["stream"] == "users":
            entry["schema"]["properties"]["score"] = {"type": ["integer", "null"]}
    second = run_night(sandbox, tap, [["user_id", "score"], ["1", "7"]], first.state, _catalog=catalog)
    gone = [record for record in second.records("users") if record["_sdc_deleted_at"]]
    assert [(record["user_id"], record["score"]) for record in gone] == [("2", None)]


def test_a_map_must_keep_the_mark_of_deleted_rows(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv(A))
    run = tap(
        changes_only=True, stream_maps={"users": {"user_id": "user_id", "user_email": "user_email", "__else__": None}}
    )
    assert run.code == 1
    assert "a stream map drops _sdc_deleted_at" in run.errors[0]


def test_deletions_are_found_on_the_night_that_switches_changes_on(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", to_csv([["user_id", "n"], ["1", "a"], ["2", "a"], ["3", "a"]]))
    first = tap()
    sandbox.add("users", to_csv([["user_id", "n"], ["1", "a"], ["3", "b"]]))
    run = tap(changes_only=True, _state=first.state)
    assert run.code == 0, run.log
    assert [(r["user_id"], bool(r["_sdc_deleted_at"])) for r in run.records("users")] == [
        ("2", True),
        ("1", False),
        ("3", False),
    ]
    assert "all rows are emitted: the last load was without changes_only" in run.log
