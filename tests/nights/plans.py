"""An independent reading of the specification: which exports a night reads, and whether its run fails."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from tests.nights.rules import require

if TYPE_CHECKING:
    from sandbox.server import SandboxExport
    from tests.nights.oracle import Judge
    from tests.nights.rules import Bookmark
    from tests.nights.target import Message

Verdict = Literal["ok", "fails", "either"]

FEW = 10
"""So many rows may always be gone."""
DAY = 86_400.0


class Plan:
    """What a model's part of a run must come to.

    Args:
        judge: Watched its messages.
        listed: The exports, as the list that the run got showed them.
        named: The ids in `export_ids`.
        requested: The ids that the tap requested in this night.
        remembered: The id that an earlier night requested.
        timeout: `export_timeout`.
        start: `start_date`, or nothing.
    """

    def __init__(  # noqa: PLR0913 (the facts of a night)
        self,
        judge: Judge,
        listed: list[Message],
        *,
        named: list[str],
        requested: list[str],
        remembered: str,
        timeout: float,
        start: str,
    ) -> None:
        self.judge, self.rules, self.world = judge, judge.rules, judge.world
        self.listed = [entry for entry in listed if entry["model"] == self.rules.model]
        self.named, self.requested, self.remembered = named, requested, remembered
        self.timeout, self.start = timeout, start

    # --- which exports

    def exports(self) -> list[SandboxExport]:
        """The exports that are read, oldest first."""
        at, ids = self.judge.first_bookmark
        if self.rules.is_named:
            found = [self.world.sandbox.exports.get(name) for name in dict.fromkeys(self.named)]
            mine = [e for e in found if e and e.model == self.rules.model and e.status == "completed"]
            return sorted(mine, key=order)
        by_id = {export.id: export for export in self.world.exports.values()}
        completed = sorted((by_id[i] for i in {e["id"] for e in self.listed if e["status"] == "completed"}), key=order)
        whole = [
            e for e in completed if not self.world.snapshots[e.id].is_filtered and str(e.completed_at) >= self.start
        ]
        if not self.rules.is_all:
            whole = [e for e in whole if e.completed_at == whole[-1].completed_at]
        not_older = [e for e in whole if str(e.completed_at) >= at]
        if self.rules.is_full_table:
            return not_older
        return [e for e in not_older if str(e.completed_at) > at or e.id not in ids]

    # --- what becomes of them

    def verdict(self, export: SandboxExport, bookmark: Bookmark) -> Verdict:
        """Say whether an export can be loaded."""
        judge, rules, shot = self.judge, self.rules, self.world.snapshots[export.id]
        if export.id in self.world.troubles | self.world.unreadable:
            return "fails"
        gone = self.world.unreadable
        if shot.rows and not rules.is_key_of(shot):
            return "fails" if judge.is_key_known and judge.has_own_key else "either"
        if (not bookmark[0] or judge.was_disturbed) and self.world.troubles - {"list"}:
            return "either"  # what was named, or interrupted, is known without a bookmark
        earlier = (judge.earlier(export.id, bookmark) & set(self.world.sandbox.exports)) - gone
        if rules.is_changes and (earlier | set(bookmark[1])) & self.world.troubles:
            is_needed = judge.has_own_key and shot.rows and not rules.has_versions and earlier & self.world.troubles
            return "fails" if is_needed else "either"
        return self.verdict_of_size(export, bookmark)

    def verdict_of_size(self, export: SandboxExport, bookmark: Bookmark) -> Verdict:
        """Say whether so many rows are gone that a part was exported, most likely."""
        judge, rules, shot = self.judge, self.rules, self.world.snapshots[export.id]
        load = judge.memory.loads.get(bookmark)
        if not shot.rows or not (rules.is_changes or rules.has_versions) or shot.is_filtered:
            return "ok"
        older, rows = judge.comparable(export.id, bookmark), {rules.key_of(row) for row in shot.rows}
        keys = {name: {rules.key_of(row) for row in old.rows} for name, old in older.items()}
        gone = set().union(*keys.values()) - rows
        verdicts = {self.is_part(len(gone), len(before)) for before in keys.values()}
        if load:
            verdicts.add(self.is_part(load.size - len(shot.rows), load.size))
        if verdicts <= {False}:
            return "ok"
        is_sure = verdicts == {True} and len(keys) == 1 and not (rules.is_changes and rules.has_versions)
        is_sure &= load is not None and set(keys) == {load.export_id}
        is_sure &= judge.has_own_key and not rules.map and not rules.is_named and not judge.memory.named
        return "fails" if is_sure else "either"

    def is_part(self, gone: int, before: int) -> bool:
        return gone > FEW and gone > self.rules.max_deleted * before

    # --- after the run

    def check(self) -> Verdict:
        """Compare what was loaded with what had to be, and return whether this model fails the run."""
        if self.rules.is_request:
            return self.check_requested()
        verdicts: list[Verdict] = []
        bookmark, committed, read = self.judge.first_bookmark, list(self.judge.committed), set()
        for export in self.exports():
            verdict = self.verdict(export, bookmark)
            is_loaded = self.is_loaded(export)
            require(is_loaded or verdict != "ok", "an export is not loaded that should be", (export.id, bookmark))
            passing = any(map(self.rules.passes, self.world.snapshots[export.id].rows))
            # With versions, the guard may follow the rows.
            is_known = export.id in committed or (is_loaded and passing and not self.rules.has_versions)
            require(not is_known or verdict != "fails", "an export is loaded that should fail", (export.id, bookmark))
            read |= {export.id} if is_loaded and verdict != "fails" else set()
            is_open = verdict == "either" and self.rules.has_versions and export.id not in committed
            verdicts.append("fails" if verdict == "fails" or not is_loaded else "either" if is_open else "ok")
            if export.id in committed:
                committed.remove(export.id)
                at = str(export.completed_at)
                bookmark = (at, (*bookmark[1], export.id) if at == bookmark[0] else (export.id,))
            elif not is_loaded and not self.rules.is_named:
                if self.verdict_of_size(export, bookmark) != "ok":
                    committed = []  # a part does not hold up later ones, unless it could not be had either
                break
        require(not committed, "an export is loaded that should not be", committed)
        if self.rules.is_named:  # whether or not a row passed a filter
            last = {*bookmark[1], *self.judge.first_bookmark[1], *self.judge.committed}
            self.judge.memory.named |= read - last
        self.judge.memory.is_disturbed |= not read.isdisjoint(self.judge.first_bookmark[1])
        return next((verdict for verdict in ("fails", "either") if verdict in verdicts), "ok")

    def is_loaded(self, export: SandboxExport) -> bool:
        """Whether the bookmark, or each row, says so."""
        if export.id in self.judge.committed:
            return True
        passing = sum(map(self.rules.passes, self.world.snapshots[export.id].rows))
        is_known = export.id in self.judge.first_bookmark[1]
        is_bookmark_due = not (self.rules.is_named or is_known)
        return not is_bookmark_due and len(self.judge.seen.get(export.id, ())) == passing

    def check_requested(self) -> Verdict:
        """The newest requested export is loaded, and no older one after it."""
        by_id = {export.id: export for export in self.world.exports.values()}
        require(len(self.requested) <= 1, "more than one export is requested")
        require(not (self.requested and self.is_reusable), "an export is requested while an earlier request is of use")
        moments = [self.world.completion(name) for name in self.judge.committed]
        require(moments == sorted(moments), "an older export is loaded after a newer one")
        awaited = [by_id[name] for name in {*self.requested, self.remembered} if name in by_id]
        verdict: Verdict = "ok"
        for export in awaited:
            is_there = export.id in self.world.sandbox.exports and export.status == "completed"
            if is_there and str(export.completed_at) > self.judge.bookmark[0]:
                require(self.verdict(export, self.judge.first_bookmark) != "ok", "a requested export is not loaded")
                verdict = "either"
            if not is_there or self.verdict(export, self.judge.first_bookmark) != "ok":
                verdict = "either"
        if self.world.requests == "refused" and not self.is_reusable:
            return "fails"
        require(awaited, "no export is requested")
        return verdict

    @property
    def is_reusable(self) -> bool:
        """Whether the export that an earlier night requested makes a new request needless."""
        export = next((entry for entry in self.listed if entry["id"] == self.remembered), None)
        if export is None or export["status"] == "failed":
            return False
        if export["status"] == "pending":
            return age(export["createdAt"]) < DAY
        is_fresh = age(export["completedAt"]) <= self.timeout
        return is_fresh and bool(export["completedAt"] > self.judge.first_bookmark[0])


def order(export: SandboxExport) -> tuple[str, str]:
    """Oldest completion first."""
    return str(export.completed_at), export.id


def age(text: str) -> float:
    """The seconds since a moment."""
    return time.time() - datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def listed_exports(body: bytes) -> list[Message]:
    """The exports in the body of a list response."""
    return list(json.loads(body)["exports"])
