"""An independent reading of the specification: what a night may send, and what the table must hold after it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.nights.target import DELETED_AT, Table
from tests.nights.world import KEYS, KINDS, ODD, VALUES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.nights.target import Key, Message, UpsertTarget
    from tests.nights.world import Cells, Snapshot, World

Bookmark = tuple[str, tuple[str, ...]]
"""A completion, and the ids of the exports that were loaded of that moment."""

FALLBACK_KEY = ("_sdc_export_id", "_sdc_row_number")

class Violation(AssertionError):  # noqa: N818 (it is the tap's, or the oracle's)
    """A rule of the specification does not hold."""

    def __init__(self, rule: str, details: object = "") -> None:
        super().__init__(f"{rule}: {details}")
        self.rule = rule


def require(is_true: object, rule: str, details: object = "") -> None:
    """Raise a `Violation` unless something is true."""
    if not is_true:
        raise Violation(rule, details)


@dataclass(frozen=True)
class Load:
    """What the tap can know of the load that made a bookmark.

    Args:
        export_id: The last export with rows.
        is_changes: Whether only its changes were sent, or could have been.
        shape: Columns, types, key, maps.
        version: The version of its rows.
        size: The number of rows of the file.
    """

    export_id: str
    is_changes: bool
    shape: str
    version: int | None
    size: int


@dataclass
class Memory:
    """What the states that the target kept can know of a model."""

    loads: dict[Bookmark, Load] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    """Exports that were read by name since the last load."""
    is_disturbed: bool = False
    """Whether rows of an export arrived since that no bookmark followed."""


@dataclass
class Rules:
    """The settings of a night, as far as a model is concerned.

    Args:
        settings: Those of `histories.Night`.
        model: The model.
        key: The key that the catalog sets.
    """

    settings: dict[str, Any]
    model: str
    key: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        mapping = self.settings.get("map") if self.model == "users" else None
        self.table_name = "people" if mapping == "alias" else self.model
        self.is_lower, self.map = mapping == "lower", mapping
        self.is_changes = bool(self.settings.get("changes_only"))
        self.is_batch = bool(self.settings.get("batch"))
        self.has_versions = bool(self.settings.get("emit_activate_version_messages")) and not self.is_batch
        self.is_full_table, self.is_named = bool(self.settings.get("full_table")), "export_ids" in self.settings
        self.is_request = bool(self.settings.get("request_exports"))
        self.is_all = self.settings.get("snapshots") == "all"
        self.max_deleted = self.settings.get("max_deleted_percent", 50) / 100
        self.without = set(self.settings.get("without", ()))
        self.key = self.key or KEYS[self.model]

    def passes(self, row: Cells) -> bool:
        """Whether the map's filter lets a row through."""
        return self.map not in {"filter", "filter all"} or (self.map == "filter" and row["user_id"] != "u3")

    def key_of(self, row: Cells, names: Iterable[str] = ()) -> Key:
        """The key of a row of a file."""
        cells = {name.casefold(): text for name, text in row.items()}
        if self.is_lower:
            cells["user_id"] = cells["user_id"].lower()
        return tuple(cells[name.casefold()] for name in names or self.key)

    def by_key(self, shot: Snapshot) -> dict[Key, tuple[tuple[str, str], ...]]:
        """The cells of each row that are not empty, by key."""
        return {
            self.key_of(row): tuple(sorted((n, t) for n, t in row.items() if t and n not in self.without))
            for row in shot.rows
            if self.passes(row)
        }

    def is_key_of(self, shot: Snapshot) -> bool:
        """Whether the key identifies each row of a file."""
        return len({self.key_of(row) for row in shot.rows}) == len(shot.rows)


class Judge:
    """Watches the messages of one model in one night.

    Args:
        world: Its exports.
        target: Has applied each message that is judged.
        rules: The settings.
        memory: What earlier nights left in the state that the run got.
        lost: The shapes of the tables in nights whose state was lost, by night and table.
        state: That state.
    """

    def __init__(  # noqa: PLR0913 (the facts of a night)
        self,
        world: World,
        target: UpsertTarget,
        rules: Rules,
        memory: Memory,
        lost: dict[int, dict[str, str]],
        state: Message,
    ) -> None:
        self.world, self.target, self.rules, self.memory, self.lost = world, target, rules, memory, lost
        self.bookmark = self.first_bookmark = bookmark_of(state, rules.model)
        self.first_load = memory.loads.get(self.bookmark)
        self.committed: list[str] = []
        self.alive = self.first_alive = self.table.alive
        self.is_key_known, self.shape = self.table.is_key_final, ""
        self.was_disturbed = memory.is_disturbed
        self.seen: dict[str, set[int]] = {}
        self.began, self.last_version = int(time.time()), (self.first_load and self.first_load.version) or 0
        self.rewind()

    @property
    def table(self) -> Table:
        return self.target.tables.get(self.rules.table_name) or Table()

    @property
    def has_own_key(self) -> bool:
        """Whether the table has the key of the documented columns, or of the catalog."""
        return [name.casefold() for name in self.table.key] == [name.casefold() for name in self.rules.key]

    # --- while messages arrive

    def rewind(self) -> None:
        self.at_hand: str | None = None
        self.sent: set[Key] = set()
        self.deleted: set[Key] = set()
        self.versions: set[int | None] = set()

    def on_schema(self, message: Message) -> None:
        self.rewind()
        self.alive &= set(self.table.rows)  # a table whose key changes is a new one
        rules, self.was_disturbed = self.rules, self.memory.is_disturbed
        self.shape = json.dumps([message["schema"], rules.settings.get("map"), sorted(rules.without)], sort_keys=True)

    def on_record(self, message: Message) -> None:
        record, table = message["record"], self.table
        export_id, number = record["_sdc_export_id"], record["_sdc_row_number"]
        shot, key = self.world.snapshots[export_id], tuple(record[name] for name in table.key)
        require(self.at_hand in {None, export_id}, "rows of two exports follow one SCHEMA")
        require(record["_sdc_exported_at"] == self.world.completion(export_id), "a row has another completion")
        self.at_hand = export_id
        self.versions.add(message.get("version"))
        self.memory.is_disturbed = True
        if self.rules.is_named:
            self.memory.named.add(export_id)
        if record.get(DELETED_AT) is not None:
            require(self.rules.is_changes, "a row is deleted without changes_only")
            require(record[DELETED_AT] == self.world.completion(export_id), "a deletion has another moment")
            is_there = key in self.rules.by_key(shot)
            require(not is_there or self.rules.is_lower, "a row is deleted that is in the file", key)
            require(not self.sent, "a deletion follows a row")
            self.deleted.add(key)
            return
        require(number not in self.seen.setdefault(export_id, set()), "a row is sent twice", number)
        self.seen[export_id].add(number)
        self.sent.add(key)

    def on_version(self, version: int) -> None:
        """All rows of a whole snapshot are there before others are deleted."""
        require(version > self.last_version, "a version is used twice", version)
        require(version >= self.began, "a version is older than its run", version)
        self.last_version = version
        require(self.at_hand, "a version is activated without a row")
        export_id = str(self.at_hand)
        shot = self.world.snapshots[export_id]
        require(not shot.is_filtered, "a filtered export deletes rows")
        require(self.world.completion(export_id) >= self.bookmark[0], "an older export deletes rows")
        self.check_rows(export_id)

    def on_state(self, state: Message) -> None:
        """A bookmark never moves back, and names an export only when the table holds it."""
        bookmark = bookmark_of(state, self.rules.model)
        require(bookmark[0] >= self.bookmark[0], "the bookmark moves back", bookmark)
        is_same = bookmark[0] == self.bookmark[0]
        require(not is_same or set(bookmark[1]) >= set(self.bookmark[1]), "the bookmark forgets an export")
        for export_id in set(bookmark[1]) - (set(self.bookmark[1]) if is_same else set()):
            require(self.world.completion(export_id) == bookmark[0], "the bookmark has another completion")
            require(not self.world.snapshots[export_id].is_filtered, "a filtered export moves the bookmark")
            require(not (self.rules.is_named and self.rules.is_all), "a named export hides those that `all` has to read")
            self.commit(export_id, bookmark)
        self.bookmark = bookmark

    def commit(self, export_id: str, bookmark: Bookmark) -> None:
        shot, load = self.world.snapshots[export_id], self.memory.loads.get(self.bookmark)
        self.committed.append(export_id)
        if shot.rows:
            self.check_rows(export_id)
            self.check_deletions(export_id)
            self.check_number_of_rows(export_id)
            version = max((v for v in self.versions if v), default=None)
            load = Load(export_id, self.rules.is_changes, self.shape, version, len(shot.rows))
        else:
            require(self.table.alive >= self.alive, "a file without rows deletes rows")
        if load:
            self.memory.loads[bookmark] = load
        self.memory.named, self.memory.is_disturbed = set(), False
        self.alive = self.table.alive

    # --- the table

    def check_rows(self, export_id: str) -> None:
        """The table holds each row of an export, as it stands there."""
        shot, table = self.world.snapshots[export_id], self.table
        own = {**dict.fromkeys(KEYS[self.rules.model], "own")} if self.has_own_key else {}
        is_first = not self.is_key_known and not self.rules.is_key_of(shot)
        require(own or is_first or table.is_key_final, "the key is not that of the columns", table.key)
        older = self.comparable(export_id, self.bookmark)
        for number, row in enumerate(shot.rows, 1):
            lineage = {"_sdc_export_id": export_id, "_sdc_row_number": number}
            key = self.rules.key_of({**row, **lineage}, table.key)  # type: ignore[dict-item] # a number in a key
            if not self.rules.passes(row) or self.is_excused(key, [*older, export_id]):
                continue
            stored = table.rows.get(key)
            require(stored, "a row of the export is not in the table", key)
            assert stored
            require(not stored.is_deleted, "a row of the export is marked as deleted", key)
            expected = {n: t for n, t in row.items() if n not in self.rules.without or n in self.rules.key}
            if self.rules.is_lower:
                expected["user_id"] = expected["user_id"].lower()
            kinds = stored.properties if self.is_lost(key) else table.schema["properties"]
            wrong = list(differences(expected, stored.record, kinds, table.key))
            require(not wrong, "a row of the table is not that of the export", wrong)
        for name in set(shot.columns) - set(self.rules.key):
            schema = table.schema["properties"].get(name, {})
            is_odd = any(name in other.odd for other in self.world.snapshots.values())
            is_documented = kind_of(schema) == KINDS.get(name, "string")
            require(is_odd or is_documented or name.startswith("_sdc_"), "a column has not its documented type", name)

    def check_deletions(self, export_id: str) -> None:
        """What an export no longer has is gone from the table, as far as a setting says so and the tap can know."""
        rules, table, shot = self.rules, self.table, self.world.snapshots[export_id]
        rows = rules.by_key(shot)
        if rules.has_versions and not rules.is_changes and not rules.is_named and rows:
            names = {(str(e[0]), *e[1:]) for e in table.alive if table.rows[e].record["_sdc_export_id"] != export_id}
            require(not names, "a version is not activated", names)
        elif rules.is_changes and self.has_own_key:
            everyone = {rules.key_of(row) for row in shot.rows}
            for name, old in self.comparable(export_id, self.bookmark).items():
                stale = (set(rules.by_key(old)) - everyone) & table.alive
                require(not stale, "a deleted row is still in the table", (name, stale))
        elif not rules.has_versions:
            require(table.alive >= self.alive, "rows are deleted without any setting", self.alive - table.alive)

    def check_number_of_rows(self, export_id: str) -> None:
        """With `changes_only`, a row that is equal in all earlier files is not sent."""
        load, rules = self.memory.loads.get(self.bookmark), self.rules
        older = self.comparable(export_id, self.bookmark)
        if not self.is_comparable(load) or self.unavailable(export_id, self.bookmark) or not older:
            return
        rows, earlier = rules.by_key(self.world.snapshots[export_id]), [rules.by_key(shot) for shot in older.values()]
        unchanged = {key for key, cells in rows.items() if all(old.get(key) == cells for old in earlier)}
        require(not self.sent & unchanged, "an unchanged row is sent", self.sent & unchanged)
        assert load
        require(not rules.has_versions or self.versions <= {load.version}, "changes have another version than the table")

    def is_comparable(self, load: Load | None) -> bool:
        """Whether the last load is such that only changes need to be sent."""
        if load is None or self.was_disturbed or self.memory.named or not self.has_own_key:
            return False
        is_changes = self.rules.is_changes and load.is_changes and not self.rules.is_full_table
        has_version = load.version is not None or not self.rules.has_versions
        is_key = self.rules.is_key_of(self.world.snapshots[load.export_id])
        return is_changes and has_version and is_key and load.shape == self.shape

    # --- what the tap can know

    def earlier(self, export_id: str, bookmark: Bookmark) -> set[str]:
        """The exports that may have left rows in the table: the last one, those between, those that were named."""
        at, ids = bookmark
        if not at:
            return set()
        load, until = self.memory.loads.get(bookmark), self.world.completion(export_id)
        between = {
            e.id
            for e in self.world.completed(self.rules.model)
            if at <= str(e.completed_at) <= until and e.id not in ids and not self.world.snapshots[e.id].is_filtered
        }
        return (between | self.memory.named | ({load.export_id} if load else set())) - {export_id}

    def unavailable(self, export_id: str, bookmark: Bookmark) -> set[str]:
        """Those whose file is gone for good."""
        listed = self.world.sandbox.exports
        return {e for e in self.earlier(export_id, bookmark) if e not in listed or e in self.world.unreadable}

    def comparable(self, export_id: str, bookmark: Bookmark) -> dict[str, Snapshot]:
        """Those that can be compared with: with rows, and a key."""
        ids = self.earlier(export_id, bookmark) - self.unavailable(export_id, bookmark)
        shots = {name: self.world.snapshots[name] for name in ids}
        return {name: shot for name, shot in shots.items() if shot.rows and self.rules.is_key_of(shot)}

    def is_lost(self, key: Key) -> bool:
        """Whether a row was written last in a night whose state was lost."""
        return self.table.writers.get(key, ("", 0))[1] in self.lost

    def is_excused(self, key: Key, known: Iterable[str]) -> bool:
        """Whether no state can know who wrote a row last, or what it looks like."""
        export_id, night = self.table.writers.get(key, ("", 0))
        shapes = self.lost.get(night)
        return shapes is not None and (export_id not in known or shapes.get(self.rules.table_name) != self.shape)


def bookmark_of(state: Message, model: str) -> Bookmark:
    """The bookmark of a model in a state."""
    known = state.get("bookmarks", {}).get(model, {})
    return (known.get("replication_key_value") or "", tuple(known.get("export_ids") or ()))


def kind_of(schema: Message) -> str:
    """The type of a column in one word."""
    types = schema.get("type", "string")
    named = [types] if isinstance(types, str) else [kind for kind in types if kind != "null"]
    return str(schema.get("format", named[0]))


def differences(cells: Cells, record: Message, properties: Message, key: Iterable[str]) -> Iterator[str]:
    """Describe the columns of a record that do not hold what the cells of a row mean."""
    values = {name.casefold(): (value, properties.get(name, {}), name in key) for name, value in record.items()}
    for name, text in cells.items():
        if name.casefold() not in values:
            yield f"{name} lacks"
        elif not is_value(text, *values[name.casefold()]):
            yield f"{name}: {text!r} -> {values[name.casefold()][0]!r}"
    names = {name.casefold() for name in cells}
    for name, (value, _, _) in values.items():
        if name not in names and not name.startswith("_sdc_") and value is not None:
            yield f"{name}: nothing -> {value!r}"


def is_value(text: str, value: Any, schema: Message, is_key: bool) -> bool:  # noqa: FBT001 (of a generator)
    """Whether a value is what a cell means under a schema."""
    kind = kind_of(schema)
    if is_key or kind == "string":
        return bool(value == (text if is_key else text or None))
    meaning = VALUES[kind].get(text, ODD)
    if kind == "date-time" and isinstance(value, str) and isinstance(meaning, datetime):
        return datetime.fromisoformat(value.replace("Z", "+00:00")) == meaning
    return bool(value == meaning)
