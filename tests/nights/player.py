"""Plays histories: one run of the real tap for each night, watched by the oracle."""

from __future__ import annotations

import copy
import json
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.server import API_TOKEN, Sandbox
from tests.conftest import Run, Tap, select
from tests.nights.cells import MARK, MODELS
from tests.nights.histories import MAPS
from tests.nights.oracle import Judge
from tests.nights.plans import DAY, Plan, listed_exports
from tests.nights.rules import Memory, Rules, require
from tests.nights.target import UpsertTarget, merge
from tests.nights.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nights.histories import History, Night
    from tests.nights.target import Message
    from tests.processes import Forks

PLAIN = ("changes_only", "emit_activate_version_messages", "max_deleted_percent", "request_exports", "snapshots")
"""Settings that a history has as the tap does."""


@dataclass
class Start:
    """What there was when a run began: the numbers of requests and of requested exports, the state, the settings."""

    seen: int
    requested: int
    state: Message
    settings: dict[str, Any]


class Player:
    """Plays histories in a process of its own.

    Args:
        forks: Starts the tap.
        folder: For its files.
    """

    def __init__(self, forks: Forks, folder: Path) -> None:
        self.forks, self.folder = forks, folder
        with Sandbox() as empty:
            catalog = Tap(empty, folder, forks).discover()
        self.documented = select(catalog, "exports", *MODELS)

    def failure(self, history: History) -> AssertionError | None:
        """Play a history; return why it fails."""
        try:
            self.play(history)
        except AssertionError as error:
            return error
        return None

    def play(self, history: History) -> None:
        """Play a history.

        Raises:
            AssertionError: If a rule does not hold.
        """
        with Sandbox() as sandbox:
            stage = Stage(self, history, sandbox)
            for night in history.nights:
                stage.play(night)


class Stage:
    """A history that is played: what outlives its nights."""

    def __init__(self, player: Player, history: History, sandbox: Sandbox) -> None:
        self.player, self.history, self.sandbox = player, history, sandbox
        self.tap = Tap(sandbox, player.folder, player.forks)
        self.world, self.target = World(sandbox), UpsertTarget(hard_delete=history.hard_delete)
        self.memories = {model: Memory() for model in MODELS}
        self.lost: dict[int, dict[str, str]] = {}
        self.log = ""

    def play(self, night: Night) -> None:
        """Play one night and judge it."""
        self.world.begin_night(night.events)
        if night.drop:
            self.target.tables.clear()
        if night.drop or night.refresh:
            for table in self.target.tables.values():
                table.is_key_final = False  # whoever begins anew can't expect the key of before
        state = {} if night.refresh or night.drop else self.target.state
        judges = {model: self.judge(night, model, state) for model in MODELS}
        memories, finals = copy.deepcopy(self.memories), {n: t.is_key_final for n, t in self.target.tables.items()}
        start = Start(len(self.sandbox.requests), len(self.world.requested), state, self.settings(night, state))
        catalog = self.catalog(night, start.settings)
        without = {name.casefold() for name in night.settings.get("without", ())}
        for entry in catalog["streams"]:
            names = {name.casefold() for name in entry["schema"]["properties"]}
            if entry["stream"] in judges and names & without:
                judges[entry["stream"]].rules.picked = names
        arguments = self.tap.arguments(**start.settings, _catalog=catalog, _state=state)
        code, out, log = self.player.forks.run(arguments, limit=night.tap_dies_at, max_sleep=0.01)
        self.log = log.decode()
        run = Run(code, out.decode(errors="replace"), self.log)
        self.check_log(run)
        before, dies = self.target.state, night.target_dies_at
        is_killed = night.tap_dies_at is not None and len(out) >= night.tap_dies_at
        self.read(out[: night.tap_dies_at] if is_killed else out, judges, dies)
        for model in MODELS:  # what a killed run had begun is known to its state, but not here
            self.memories[model].is_disturbed |= is_killed
        if self.target.died:
            self.lost[self.target.night] = {judge.rules.table_name: judge.shape for judge in judges.values()}
            self.memories = memories
            for name, table in self.target.tables.items():
                table.is_key_final = finals.get(name, False)
        elif not is_killed:
            self.check_end(night, judges, run, start)
        self.merge(night, before)
        if night.is_older and self.target.state is not before:
            self.forget(state, judges)

    def read(self, out: bytes, judges: dict[str, Judge], dies_at: int | None) -> None:
        """Let the target read an output, and the judges watch it."""
        by_table = {judge.rules.table_name: judge for judge in judges.values()}
        for message in self.target.read(out, dies_at=dies_at):
            kind, judge = message["type"], by_table.get(message.get("stream", ""))
            if kind == "STATE":
                for each in judges.values():
                    each.on_state(message["value"])
            elif judge and kind == "SCHEMA":
                judge.on_schema(message)
            elif judge and kind == "RECORD":
                judge.on_record(message)
            elif judge:
                judge.on_version(message["version"])

    def judge(self, night: Night, model: str, state: Message) -> Judge:
        rules = Rules(night.settings, model, self.history.key if model == "users" else ())
        if not state:
            self.memories[model] = Memory(self.memories[model].loads)
        memory = self.memories[model]
        return Judge(world=self.world, target=self.target, rules=rules, memory=memory, lost=self.lost, state=state)

    def merge(self, night: Night, before: Message) -> None:
        """Store the state as the orchestrator does."""
        if self.target.state is before:  # there is none, or it is lost
            return
        if night.drop:  # `meltano state clear`, as the documentation says
            before = {}
        for state in {"each": self.target.states, "last": self.target.states[-1:]}.get(night.merge, []):
            before = self.target.state = merge(before, state)

    def forget(self, before: Message, judges: dict[str, Judge]) -> None:
        """Leave what only this version of the tap writes as it was in the state that the run got."""
        for model, judge in judges.items():
            memory, known = self.memories[model], self.target.state.get("bookmarks", {}).get(model, {})
            old = before.get("bookmarks", {}).get(model, {})
            known |= {name: old.get(name, []) for name in ("holdings", "holdings_bookmark")}
            memory.named, memory.was_compared, memory.is_disturbed = set(), False, True
            load = memory.loads.get(judge.bookmark)
            if load and judge.committed and load.export_id not in judge.bookmark[1]:
                del memory.loads[judge.bookmark]

    # --- what the tap gets

    def settings(self, night: Night, state: Message) -> dict[str, Any]:
        """Translate the settings of a night."""
        told, exports = dict(night.settings), self.world.exports
        settings: dict[str, Any] = {name: told[name] for name in PLAIN if name in told}
        if name := told.get("map"):
            settings["stream_maps"] = {"users": MAPS[name]}
        if told.get("batch"):
            storage = {"root": self.player.folder.as_uri(), "prefix": ""}
            settings["batch_config"] = {"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": storage}
        if "export_ids" in told:
            settings["export_ids"] = self.ids(told["export_ids"])
        if told.get("start_date") in exports and exports[told["start_date"]].completed_at:
            settings["start_date"] = exports[told["start_date"]].completed_at
        waits = [*settings.get("export_ids", ()), *map(self.remembered(state).get, MODELS)]
        is_hanging = self.world.requests == "hang" or any(
            e.status == "pending" and e.polls_left > 2 for e in exports.values() if e.id in waits
        )
        return {**settings, "export_timeout": 0.05 if is_hanging else DAY}

    def ids(self, names: list[Any]) -> list[str]:
        """The ids of exports; one that never was for a name that no export has."""
        return [
            self.world.exports[n].id if n in self.world.exports else f"{n:08x}-0000-4000-8000-0" + "0" * 11
            for n in names
        ]

    def catalog(self, night: Night, settings: dict[str, Any]) -> Message:
        """The documented catalog, or that of a discovery, as the night's user edited it."""
        catalog, told = copy.deepcopy(self.player.documented), night.settings
        if any(other.settings.get("map") for other in self.history.nights):  # maps name columns as documented
            told = {name: value for name, value in told.items() if name not in {"discover", "upper"}}
        if told.get("discover"):
            created = len(self.world.requested)
            run = self.player.forks.run(self.tap.arguments("--discover", **settings), max_sleep=0.01)
            require(len(self.world.requested) == created, "discovery requests an export")
            require(not run.code or self.world.troubles or "export_ids" in told, "discovery fails", run.log.decode())
            catalog = catalog if run.code else select(json.loads(run.out), "exports", *MODELS)
        for entry in catalog["streams"]:
            if entry["stream"] in MODELS:
                self.edit(entry, told, self.history.key if entry["stream"] == "users" else ())
        return catalog

    def edit(self, entry: Message, told: dict[str, Any], key: tuple[str, ...]) -> None:
        """Edit the catalog entry of a stream."""
        root = next(item["metadata"] for item in entry["metadata"] if not item["breadcrumb"])
        if told.get("full_table"):
            entry["replication_method"] = root["forced-replication-method"] = "FULL_TABLE"
        if key:
            root["table-key-properties"] = list(key)
        without = {name.casefold() for name in told.get("without", ())}
        for item in entry["metadata"]:
            if item["breadcrumb"] and item["breadcrumb"][-1].casefold() in without:
                item["metadata"]["selected"] = False
        if told.get("upper"):
            names = {name: name if name.startswith("_sdc_") else name.upper() for name in entry["schema"]["properties"]}
            entry["schema"]["properties"] = {names[n]: schema for n, schema in entry["schema"]["properties"].items()}
            for item in entry["metadata"]:
                item["breadcrumb"] = [names.get(part, part) for part in item["breadcrumb"]]

    def remembered(self, state: Message) -> dict[str, str]:
        """The export of each model that an earlier night requested."""
        known = state.get("bookmarks", {})
        return {model: str(known.get(model, {}).get("requested_export_id")) for model in MODELS}

    # --- after the run

    def check_log(self, run: Run) -> None:
        """Nothing secret is said, and a run fails if and only if it logs an ERROR."""
        require("Traceback" not in run.log, "a traceback", run.log)
        secrets = [word for word in (API_TOKEN, "X-Amz-Signature", MARK) if word in run.log]
        require(not secrets, "a secret is logged", secrets)
        if run.code != -signal.SIGKILL:
            require(
                run.code in {0, 1} and bool(run.errors) == bool(run.code), "the exit code and the log differ", run.log
            )

    def check_end(self, night: Night, judges: dict[str, Judge], run: Run, start: Start) -> None:
        """The run did what it had to, and failed only for a reason."""
        lists = [r for r in self.sandbox.requests[start.seen :] if r.kind == "list" and r.status == 200]
        named = self.ids(night.settings.get("export_ids", []))
        if not lists:
            require("list" in self.world.troubles and run.code, "the list is not read", run.log)
            return
        listed = listed_exports(lists[-1].response_body)
        ours, since = self.world.requested[start.requested :], start.settings.get("start_date", "")
        timeout = float(start.settings["export_timeout"])
        verdicts = []
        for model, judge in judges.items():
            mine = [name for name in ours if self.world.snapshots[name].model == model]
            old = self.remembered(start.state)[model]
            plan = Plan(judge, listed, named=named, requested=mine, remembered=old, timeout=timeout, start=since)
            require(not mine or judge.rules.is_request, "an export is requested although no setting says so")
            pending = {name for name in mine if self.sandbox.exports[name].status == "pending"}
            require(pending <= {self.remembered(self.target.state)[model]}, "a request is forgotten", pending)
            verdicts.append(plan.check())
        there = [self.sandbox.exports.get(name) for name in named]
        if any(export is None or export.status != "completed" for export in there):
            verdicts.append("fails")
        if "fails" in verdicts:
            require(run.code, "the run should fail", verdicts)
        elif "either" not in verdicts:
            require(not run.code, "the run fails without a reason", run.log)
