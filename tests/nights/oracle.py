"""An independent reading of the specification: what a night may send, and what the table must hold after it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from tests.nights.cells import KEYS, KINDS, differences, kind_of
from tests.nights.rules import Load, bookmark_of, require
from tests.nights.target import DELETED_AT, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.nights.rules import Bookmark, Memory, Rules
    from tests.nights.target import Key, Message, UpsertTarget
    from tests.nights.world import Snapshot, World


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
        *,
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
        self.alive = self.table.alive
        self.is_key_known, self.shape = self.table.is_key_final, ""
        self.was_disturbed = memory.is_disturbed
        self.seen: dict[str, set[int]] = {}
        self.texts: set[str] = set()
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
        kinds = {name.casefold(): kind_of(schema) for name, schema in message["schema"]["properties"].items()}
        self.texts = {name.casefold() for name in KINDS if kinds.get(name.casefold()) == "string"}
        narrowed = self.memory.texts & set(kinds) - self.texts
        require(not narrowed, "a column that was text is not text any more", narrowed)
        self.alive &= set(self.table.rows)  # a table whose key changes is a new one
        rules, self.was_disturbed = self.rules, self.memory.is_disturbed
        self.shape = json.dumps([message["schema"], rules.settings.get("map"), sorted(rules.without)], sort_keys=True)

    def on_record(self, message: Message) -> None:
        record, table = message["record"], self.table
        export_id, number = record["_sdc_export_id"], record["_sdc_row_number"]
        shot, key = self.world.snapshots[export_id], tuple(record[name] for name in table.key)
        require(self.at_hand in {None, export_id}, "rows of two exports follow one SCHEMA")
        require(record["_sdc_exported_at"] == self.world.completion(export_id), "a row has another completion")
        is_older = self.world.completion(export_id) < self.bookmark[0]
        require(self.rules.is_named or not is_older, "an older export is loaded over a newer one", export_id)
        self.at_hand = export_id
        self.versions.add(message.get("version"))
        self.memory.is_disturbed = True
        self.memory.was_compared &= self.rules.is_changes or export_id not in self.first_bookmark[1]
        if self.rules.is_named and export_id not in self.first_bookmark[1]:
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
        is_same_second = version == self.last_version and version in {self.began, self.began + 1}
        require(version > self.last_version or is_same_second, "a version is used twice", version)
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
        self.memory.texts |= self.texts
        bookmark = bookmark_of(state, self.rules.model)
        require(bookmark[0] >= self.bookmark[0], "the bookmark moves back", bookmark)
        is_same = bookmark[0] == self.bookmark[0]
        require(not is_same or set(bookmark[1]) >= set(self.bookmark[1]), "the bookmark forgets an export")
        for export_id in set(bookmark[1]) - (set(self.bookmark[1]) if is_same else set()):
            require(self.world.completion(export_id) == bookmark[0], "the bookmark has another completion")
            require(not self.world.snapshots[export_id].is_filtered, "a filtered export moves the bookmark")
            require(
                not (self.rules.is_named and self.rules.is_all), "a named export hides those that `all` has to read"
            )
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
            last, load = load, Load(export_id, self.rules.is_changes, self.shape, version, len(shot.rows), bookmark[1])
            # A load without deletions leaves what was there.
            if self.rules.is_changes or self.rules.has_versions:
                self.memory.named, self.memory.was_compared = set(), self.rules.is_changes
            elif last and self.memory.was_compared:
                self.memory.named.add(last.export_id)
            self.memory.named -= {export_id}
            self.memory.is_disturbed = False
        else:
            require(self.table.alive >= self.alive, "a file without rows deletes rows")
        self.memory.listed[bookmark] = {e.id for e in self.world.completed(self.rules.model)}
        self.memory.loads.pop(bookmark, None)
        if load:
            self.memory.loads[bookmark] = load
        self.alive = self.table.alive

    # --- the table

    def check_rows(self, export_id: str) -> None:
        """The table holds each row of an export, as it stands there."""
        shot, table = self.world.snapshots[export_id], self.table
        own = {**dict.fromkeys(KEYS[self.rules.model], "own")} if self.has_own_key else {}
        is_first = not self.is_key_known and not self.rules.is_key_of(shot)
        require(own or is_first or table.is_key_final, "the key is not that of the columns", table.key)
        older = self.comparable(export_id, self.bookmark)
        keys = {name.casefold() for name in table.key}
        for number, row in enumerate(shot.rows, 1):
            lineage = {"_sdc_export_id": export_id, "_sdc_row_number": number}
            key = self.rules.key_of({**row, **lineage}, table.key)  # type: ignore[dict-item] # a number in a key
            if not self.rules.passes(row) or self.is_excused(key, [*older, export_id]):
                continue
            stored = table.rows.get(key)
            require(stored, "a row of the export is not in the table", key)
            assert stored
            require(not stored.is_deleted, "a row of the export is marked as deleted", key)
            expected = {n: t for n, t in row.items() if n.casefold() in keys or not self.rules.is_left_out(n)}
            if self.rules.is_lower:
                expected["user_id"] = expected["user_id"].lower()
            kinds = stored.properties if self.is_lost(key) else table.schema["properties"]
            wrong = list(differences(expected, stored.record, kinds, table.key))
            require(not wrong, "a row of the table is not that of the export", wrong)
        schemas = {name.casefold(): schema for name, schema in table.schema["properties"].items()}
        for name in {n for n in shot.columns if not self.rules.is_left_out(n)} - set(self.rules.key):
            is_odd = any(name in other.odd for other in self.world.snapshots.values())
            is_documented = kind_of(schemas.get(name.casefold(), {})) == KINDS.get(name, "string")
            require(is_odd or is_documented, "a column has not its documented type", name)

    def check_deletions(self, export_id: str) -> None:
        """What an export no longer has is gone from the table, as far as a setting says so and the tap can know."""
        rules, table, shot = self.rules, self.table, self.world.snapshots[export_id]
        rows = rules.by_key(shot)
        if rules.has_versions and not rules.is_changes and not rules.is_named and rows:
            others = {key for key in table.alive if table.rows[key].record["_sdc_export_id"] != export_id}
            require(not others, "a deleted row is still in the table, with versions", others)
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
        others, gone = self.earlier(export_id, self.bookmark), self.world.unreadable
        with_rows = {e for e in others if self.world.snapshots[e].rows or e in gone}
        # One whose load may be lost with its state would have made text of a column.
        is_odd = any(self.world.snapshots[e].odd for e in others if not load or e != load.export_id)
        if not self.is_comparable(load) or not older or with_rows - set(older) or is_odd:
            return
        rows, earlier = rules.by_key(self.world.snapshots[export_id]), [rules.by_key(shot) for shot in older.values()]
        unchanged = {key for key, cells in rows.items() if all(old.get(key) == cells for old in earlier)}
        require(not self.sent & unchanged, "an unchanged row is sent", self.sent & unchanged)
        assert load
        require(
            not rules.has_versions or self.versions <= {load.version}, "changes have another version than the table"
        )

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
        moment, listed = at, self.memory.listed.get(bookmark, set())
        if load:  # empty files since then change nothing
            at, ids = min(at, self.world.completion(load.export_id)), (*ids, *load.ids)
        between = {
            e.id
            for e in self.world.completed(self.rules.model)
            if at <= str(e.completed_at) and (str(e.completed_at), e.id) < (until, export_id)
            if e.id in listed or str(e.completed_at) >= moment
            if e.id not in ids and not self.world.snapshots[e.id].is_filtered
        }
        named = {e for e in self.memory.named if (self.world.completion(e), e) < (until, export_id)}
        return (between | named | ({load.export_id} if load else set())) - {export_id}

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
