"""Many nights at random: whatever happens, the tables of a strict target hold what the exports hold.

A sequence of nights is drawn from a seed. In each night exports appear, change and fail; the catalog is discovered
or kept; one run of the tap gets the state that the target kept. `NIGHTS_SEEDS=500` runs more sequences than by
default, and `NIGHTS_WITHOUT=kill,fault` leaves out what is named so in calls of `chance`.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import random
import re
import signal
import sys
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import to_csv
from sandbox.server import API_TOKEN, Fault, Sandbox, SandboxExport, format_timestamp
from tests.conftest import Run, Tap, select
from tests.upsert_target import DELETED_AT, RefusedError, Table, UpsertTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.processes import Forks
    from tests.upsert_target import Key, Message, Row

SEEDS = int(os.environ.get("NIGHTS_SEEDS", "20"))
NIGHTS = 9
WITHOUT = set(os.environ.get("NIGHTS_WITHOUT", "").split(","))
MODELS = ("users", "visits")
FALLBACK_KEY = ("_sdc_export_id", "_sdc_row_number")
PADDING = "x" * 25_000
"""Ten rows with this cell go beyond the 256 KiB of a file from which its columns are inferred."""
MARK = "c3ll"
"""Is in the text of many cells, and must be in no log line."""
DAY = 86_400.0

COLUMNS = {
    "users": ["id", "email", "newUser", "createdAt", "lists", "metadata", "loyalty points"],
    "visits": ["id", "address", "createdAt", "campaign"],
}
TEXTS = [f"{MARK}, comma", f'{MARK} "quoted"', f"{MARK}\nsecond line", "007", "NA", "null", " blank ", "Zoë 王", ""]
MINUTE = datetime(2026, 3, 1, 4, 5, tzinfo=timezone.utc)
NO_SECONDS = "2026-03-01T04:05Z"
DATE_TIMES = {
    "2026-03-01T04:05:06.250Z": MINUTE + timedelta(seconds=6.25),
    "2026-03-01T04:05:06Z": MINUTE + timedelta(seconds=6),
    "2026-03-01 04:05:06": MINUTE + timedelta(seconds=6),
    "2026-03-01T04:05:06+02:00": MINUTE + timedelta(hours=-2, seconds=6),
    "2026-03-01T04:05": MINUTE,
    "2026-03-01": MINUTE.replace(hour=0, minute=0),
    NO_SECONDS: MINUTE,
}
CELLS = {
    "boolean": ["true", "false", "TRUE", "False", "1", "0", ""],
    "date-time": [*(cell for cell in DATE_TIMES if cell != NO_SECONDS), ""],
    "array": ["[]", '["a", null]', '["b, c", "\\u00e9"]', ""],
    "object": ["{}", '{"plan": "pro", "n": [1, null]}', ""],
    "string": TEXTS,
}
UNREADABLE = {
    "boolean": f"{MARK} maybe",
    "date-time": f"{MARK} 5 May",
    "array": f'["{MARK}", 7]',
    "object": f"{{{MARK}",
}


@dataclass
class Output(Run):
    """A run whose output may end within a line, or within a character."""

    raw: bytes


# --- exports


def kind_of(schema: Message | None) -> str:
    """The type of a column in one word."""
    types = [(schema or {}).get("type", "string")]
    types = [kind for kind in (types[0] if isinstance(types[0], list) else types) if kind != "null"]
    return str((schema or {}).get("format", types[0]))


def is_value(schema: Message, cell: str, value: Any) -> bool:
    """Whether a value is what a cell means under a schema."""
    kind = kind_of(schema)
    if not cell or value is None:
        return not cell and value is None
    if kind == "boolean":
        return value is (cell.lower() in {"true", "1"})
    if kind == "date-time":
        return datetime.fromisoformat(str(value).replace("Z", "+00:00")) == DATE_TIMES.get(cell)
    if kind in {"array", "object"}:
        return cell not in UNREADABLE.values() and bool(value == json.loads(cell))
    return bool(value == cell)


@dataclass
class Snapshot:
    """The rows of an export, and what is wrong with them."""

    model: str
    columns: list[str]
    rows: list[list[str]]
    unreadable: set[str] = field(default_factory=set)
    """Columns whose first cell does not read as its documented type."""
    flaws: set[str] = field(default_factory=set)
    equal_rows: tuple[int, int] = (0, 0)
    """The numbers of two rows with the same id."""

    def by_id(self) -> dict[str, dict[str, str]]:
        """The cells of each row by `id`."""
        rows = [self.cells(number) for number in range(1, len(self.rows) + 1)]
        return {cells["id"]: cells for cells in rows}

    def cells(self, number: int) -> dict[str, str]:
        """The cells of a row by column, whose case does not count."""
        return {name.casefold(): cell for name, cell in zip(self.columns, self.rows[number - 1], strict=True)}


class World:
    """The users and visits of an environment, and the exports that Dynamic made of them."""

    def __init__(self, rng: random.Random, sandbox: Sandbox, documented: Message) -> None:
        self.rng, self.sandbox = rng, sandbox
        self.types = {
            entry["stream"]: {
                name.casefold(): kind_of(schema) for name, schema in entry["schema"]["properties"].items()
            }
            for entry in documented["streams"]
        }
        self.columns = {model: list(COLUMNS[model]) for model in MODELS}
        self.unreadable: dict[str, set[str]] = {model: set() for model in MODELS}
        self.rows: dict[str, dict[str, dict[str, str]]] = {model: {} for model in MODELS}
        self.exports: dict[str, SandboxExport] = {}
        """All exports that ever were, also those that vanished."""
        self.snapshots: dict[str, Snapshot] = {}
        self.requested: list[str] = []
        """The ids of all exports that the tap requested."""
        self.requests_fail = self.requests_hang = False
        self.seconds = time.time() - 3600
        sandbox.clock = self.clock
        sandbox.export_factory = self.request

    def chance(self, name: str, probability: float) -> bool:
        """Draw whether something happens."""
        return self.rng.random() < probability and name not in WITHOUT

    def clock(self) -> float:
        """A clock of Dynamic's that strikes each second once: versions of tables count seconds."""
        self.seconds += 1
        return self.seconds

    def change(self, model: str) -> None:
        """Let users come, change and go, and columns too."""
        rng, rows, columns = self.rng, self.rows[model], self.columns[model]
        for key in rng.sample(sorted(rows), min(len(rows), rng.randrange(3))):
            rows.pop(key) if rng.random() < 0.4 else rows.update({key: self.row(model)})
        for _ in range(rng.randrange(4)):
            rows[f"{model}-{rng.randrange(40)}"] = self.row(model)
        if self.chance("columns", 0.3):
            others = [name for name in columns if name != "id"]
            rng.shuffle(others)
            if len(others) > 2 and rng.random() < 0.5:
                others.pop()
            others += [name for name in COLUMNS[model] if name not in columns and rng.random() < 0.5]
            at = rng.randrange(len(others) + 1)
            self.columns[model] = [*others[:at], "id", *others[at:]]
        if rng.random() < 0.4:
            self.unreadable[model].clear()
        if self.chance("unreadable", 0.1):
            self.unreadable[model].add(rng.choice([n for n in COLUMNS[model] if self.kind(model, n) != "string"]))

    def kind(self, model: str, name: str) -> str:
        """The documented type of a column."""
        return self.types[model].get(name.casefold(), "string")

    def row(self, model: str) -> dict[str, str]:
        return {name: self.rng.choice(CELLS[self.kind(model, name)]) for name in COLUMNS[model]}

    def snapshot(self, model: str) -> Snapshot:
        """What an export of this moment holds."""
        columns, rows = list(self.columns[model]), self.rows[model]
        unreadable = self.unreadable[model] & set(columns) if rows else set()
        shot = Snapshot(model, columns, [], unreadable)
        for key, row in rows.items():
            cells = {**row, "id": key}
            if not shot.rows:
                cells |= {name: UNREADABLE[self.kind(model, name)] for name in unreadable}
            shot.rows.append([cells[name] for name in columns])
        return shot

    def spoil(self, shot: Snapshot) -> None:
        """Make the file of an export a hard one."""
        chance, key = self.chance, shot.columns.index("id")
        if chance("empty", 0.12):
            shot.rows, shot.unreadable = [], set()
        if not shot.rows:
            return
        is_first = not self.completed(shot.model)
        is_late = chance("late", 0.4 if is_first else 0.15)
        if is_late:
            shot.columns.append("note")
            number = len(shot.rows)
            shot.rows = [[*row, ""] for row in shot.rows]
            padding = [[*shot.rows[-1][:-1], PADDING] for _ in range(12)]
            for row in padding:
                number += 1
                row[key] = f"padding-{number}"
            shot.rows += padding
        self.spoil_key(shot, key, 0.3 if is_first or is_late else 0.08)
        times = [i for i, name in enumerate(shot.columns) if self.kind(shot.model, name) == "date-time"]
        if times and not is_late and chance("no-seconds", 0.1):
            shot.rows[-1][times[0]] = NO_SECONDS
            shot.flaws.add("no-seconds")
        typed = [i for i, name in enumerate(shot.columns) if self.kind(shot.model, name) != "string"]
        if typed and is_late and chance("late-unreadable", 0.3):
            column = self.rng.choice(typed)
            shot.rows[-1][column] = UNREADABLE[self.kind(shot.model, shot.columns[column])]
            shot.flaws.add("late-unreadable")
        if chance("width", 0.04):
            shot.flaws.add("width")
        if chance("case", 0.15):
            name = self.rng.choice(shot.columns)
            shot.columns[shot.columns.index(name)] = name.swapcase()
            shot.unreadable = {name.swapcase() if other == name else other for other in shot.unreadable}

    def spoil_key(self, shot: Snapshot, key: int, probability: float) -> None:
        if len(shot.rows) > 1 and self.chance("repeated", probability):
            shot.flaws.add("repeated")
            shot.equal_rows = (1, len(shot.rows))
            shot.rows[-1][key] = shot.rows[0][key]
        elif self.chance("empty-id", 0.03):
            shot.flaws.add("empty-id")
            shot.rows[-1][key] = ""

    def data(self, shot: Snapshot) -> tuple[bytes, dict[str, str]]:
        """The file of an export, and its headers."""
        data = to_csv([shot.columns, *shot.rows])
        if "width" in shot.flaws:
            data += b"too,few\r\n" if len(shot.columns) > 2 else b"too,many,cells,here\r\n"
        if self.chance("mark", 0.1):
            data = b"\xef\xbb\xbf" + data
        if self.chance("gzip", 0.1):
            return gzip.compress(data, mtime=0), {"Content-Encoding": "gzip"}
        return data, {}

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def export(self, model: str, *, is_good: bool = False, status: str = "completed") -> SandboxExport:
        """Let somebody make an export in the dashboard."""
        shot = self.snapshot(model)
        if not is_good:
            self.spoil(shot)
        data, headers = self.data(shot)
        now = format_timestamp(datetime.fromtimestamp(self.clock(), timezone.utc))
        newest = max((e for e in self.completed(model)), key=lambda e: str(e.completed_at), default=None)
        is_tie = not is_good and newest is not None and self.chance("tie", 0.1)
        at = newest.completed_at if newest and is_tie else now
        tell(f"  New {status} export of {model}, {at}: {len(shot.rows)} rows, {shot}"[:600])
        export = self.sandbox.add(
            model,
            data,
            id=self.new_id(),
            headers=headers,
            status=status,
            created_at=now,
            completed_at=at if status == "completed" else None,
            polls_left=10**6,
        )
        self.exports[export.id], self.snapshots[export.id] = export, shot
        return export

    def request(self, model: str) -> SandboxExport:
        """Make the export that the tap requests."""
        shot = self.snapshot(model)
        data, headers = self.data(shot)
        ends = "failed" if self.requests_fail else "completed"
        export = SandboxExport(
            model, data, self.new_id(), headers=headers, polls_left=self.rng.randrange(4), final_status=ends
        )
        if self.requests_hang:
            export.polls_left = 10**6
        self.exports[export.id], self.snapshots[export.id] = export, shot
        self.requested.append(export.id)
        return export

    def completed(self, model: str) -> list[SandboxExport]:
        return [e for e in self.sandbox.exports.values() if e.model == model and e.status == "completed"]


# --- nights


@dataclass
class History:
    """What earlier nights left in a table."""

    as_text: set[str] = field(default_factory=set)
    """Documented columns, in lower case, that are not text by their documented type but were loaded as text."""
    version: int | None = None
    """The version of the last ACTIVATE_VERSION message."""
    base: str | None = None
    """The export that was loaded last, with `changes_only`."""
    schema: Message = field(default_factory=dict)
    """The SCHEMA of that load."""
    begun: set[str] = field(default_factory=set)
    """The exports of which rows arrived since."""
    is_known: bool = True
    """Whether all rows came from these exports, but for `leftovers`."""
    is_interrupted: bool = False
    """Whether a run did not end well since, so that more exports may have begun to load."""
    leftovers: set[Key] = field(default_factory=set)
    """Rows that `base` lacks, and that nothing marked as deleted."""


@dataclass
class Plan:
    """What is drawn for a night."""

    mode: str
    settings: Message
    named: list[str] = field(default_factory=list)
    kill_at: int | None = None
    is_truncated: bool = False
    """Whether the target dies with the tap, so that it reads nothing after the kill."""
    is_outage: bool = False
    """Whether requests fail so often that the run gives up."""


class Nights:
    """A sequence of nights: what happens in them, and what outlives each."""

    def __init__(self, seed: int, forks: Forks, tap: Tap, documented: Message) -> None:
        self.rng = random.Random(seed)  # noqa: S311 (a test)
        self.forks, self.tap, self.sandbox = forks, tap, tap.sandbox
        self.world = World(self.rng, tap.sandbox, documented)
        self.settings: Message = {"emit_activate_version_messages": self.world.chance("versions", 0.5)}
        if self.world.chance("changes", 0.5):
            self.settings["changes_only"] = True
        self.target = UpsertTarget(hard_delete=self.world.chance("hard-delete", 0.5))
        self.histories = {model: History() for model in MODELS}
        self.catalog = copy.deepcopy(documented) if self.world.chance("documented", 0.2) else None
        self.output_size = 10_000
        for model in MODELS:
            for _ in range(3):
                self.world.change(model)
        tell(f"Settings of all nights: {self.settings}")

    def night(self) -> None:
        """Draw a night, run it and check it."""
        for model in MODELS:
            self.go_on_with_pending_exports(model)
            for _ in range(self.rng.choice([0, 1, 1, 1, 2])):
                self.world.change(model)
                self.world.export(model, status=self.rng.choice(["completed"] * 6 + ["failed", "pending"]))
            if self.world.chance("vanish", 0.05):
                self.let_vanish(model)
        plan = self.plan()
        tell(f"Night: {plan}, faults {self.sandbox.faults}")
        if (self.catalog and not self.world.chance("discovery", 0.6)) or self.discover(plan):
            self.run(plan)
        self.sandbox.faults = []
        self.world.requests_hang = self.world.requests_fail = False
        self.sandbox.create_allowed = True

    def repair(self) -> None:
        """After a new good export of each model the next run succeeds, and one more has nothing to do."""
        for model in MODELS:
            self.world.unreadable[model].clear()
            self.world.rows[model].setdefault("one", self.world.row(model))
            export = self.world.export(model, is_good=True)
            if self.world.chance("tie", 0.3):
                self.world.export(model, is_good=True).completed_at = export.completed_at
        for export in self.sandbox.exports.values():  # what is pending would be newer than these
            export.status = "failed" if export.status == "pending" else export.status
        plan = Plan("latest", self.settings)
        tell(f"Night of repair: {plan}")
        assert self.discover(plan)
        night = self.run(plan)
        assert all(night.required(model) for model in MODELS)
        tell("Night without anything new")
        assert not any(self.run(plan).loads.values())

    def go_on_with_pending_exports(self, model: str) -> None:
        """Let pending exports end before this night's others do, end during the run, or hang for too long."""
        for export in self.sandbox.exports.values():
            if export.model == model and export.status == "pending" and self.rng.random() < 0.6:
                export.final_status = "failed" if self.world.chance("fails-later", 0.15) else "completed"
                export.polls_left = self.rng.choice([0, 1, 2, 10**6])
                if export.polls_left > 2:
                    if self.world.chance("aged", 0.5):
                        export.created_at = format_timestamp(datetime.now(timezone.utc) - timedelta(hours=25))
                elif self.world.chance("early", 0.5):
                    export.polls_left = 0
                    self.sandbox.poll(export)
                state = f"{export.status} {export.completed_at}, {export.polls_left} polls until {export.final_status}"
                tell(f"  {export.id} of {model}, {export.created_at}: {state}")

    def let_vanish(self, model: str) -> None:
        """Delete a pending export, or one that is not newer than what was loaded."""
        bookmark = str(self.target.state.get("bookmarks", {}).get(model, {}).get("replication_key_value", ""))
        gone = [
            e
            for e in self.sandbox.exports.values()
            if e.model == model and (e.status == "pending" or str(e.completed_at) <= bookmark)
        ]
        if gone:
            export = self.rng.choice(gone)
            del self.sandbox.exports[export.id]
            tell(f"  {export.id} of {model} vanishes")

    def plan(self) -> Plan:
        """Draw what the run is to do, and what goes wrong."""
        mode = self.rng.choice(["latest"] * 4 + ["all"] * 2 + ["request"] * 3 + ["named"])
        plan = Plan("latest" if mode in WITHOUT else mode, {**self.settings})
        if plan.mode == "all" or (plan.mode == "named" and self.rng.random() < 0.3):
            plan.settings["snapshots"] = "all"
        if plan.mode == "named":
            known = [e.id for e in self.sandbox.exports.values() if e.status == "completed" or self.rng.random() < 0.1]
            plan.named = self.rng.sample(known, min(len(known), self.rng.randint(1, 2)))
            plan.mode = "named" if plan.named else "latest"
            plan.settings["export_ids"] = plan.named or None
        if plan.mode == "named" or self.world.chance("without-changes", 0.1):
            plan.settings.pop("changes_only", None)
        if plan.mode == "request":
            plan.settings["request_exports"] = True
            self.world.requests_hang = self.world.chance("hang", 0.3)
            self.world.requests_fail = self.world.chance("fail", 0.1)
            self.sandbox.create_allowed = not self.world.chance("refused", 0.05)
        remembered = [
            bookmark.get("requested_export_id") for bookmark in self.target.state.get("bookmarks", {}).values()
        ]
        awaited = [e for e in self.sandbox.exports.values() if e.id in [*plan.named, *remembered]]
        hangs = self.world.requests_hang or any(e.status == "pending" and e.polls_left > 100 for e in awaited)
        plan.settings["export_timeout"] = 0.05 if hangs or self.rng.random() < 0.3 else DAY
        if self.world.chance("kill", 0.25):
            plan.kill_at = self.rng.randrange(1, self.output_size + 500)
            plan.is_truncated = self.rng.random() < 0.5
        self.draw_faults(plan)
        return plan

    def draw_faults(self, plan: Plan) -> None:
        """Let requests fail: less often than the tap tries, or the whole night."""
        rng, chance, again = self.rng, self.world.chance, {"Retry-After": "0"}
        faults = self.sandbox.faults
        if chance("fault", 0.35):
            faults.append(Fault(rng.choice(["list", "get"]), rng.randint(1, 3), rng.choice([503, 429]), again))
        if chance("reset", 0.15):
            faults.append(Fault(rng.choice(["list", "get"]), rng.randint(1, 2), then="reset"))
        if chance("file-fault", 0.35):
            status, after = rng.choice([(403, None), (503, None), (None, rng.randrange(300))])
            faults.append(Fault("file", rng.randint(1, 2), status, again, b"", after, rng.choice(["close", "reset"])))
        if plan.mode == "request" and chance("create-fault", 0.3):
            status, then, acts = rng.choice(
                [(429, "close", False), (500, "close", False), (500, "close", True), (None, "reset", True)]
            )
            faults.append(Fault("create", 1, status, again, then=then, creates_anyway=acts))
        if chance("outage", 0.06):
            plan.is_outage = True
            faults.append(Fault(rng.choice(["list", "get", "file"]), 99, 503, again))

    def start(self, plan: Plan, *words: str, limit: int | None = None, **settings: Any) -> Output:
        """Run the tap; check what holds for every run."""
        arguments = self.tap.arguments(*words, **plan.settings, **settings)
        run = self.forks.run(arguments, limit=limit, max_sleep=0.01)
        output = Output(run.code, run.out.decode(errors="replace"), run.log.decode(), run.out)
        tell(f"  {' '.join(words)} ends with {output.code} after {len(output.raw)} bytes\n{output.log}")
        assert API_TOKEN not in output.out + output.log
        assert "X-Amz-Signature" not in output.out + output.log
        assert MARK not in output.log
        assert "Traceback" not in output.log
        if output.code != -signal.SIGKILL:
            assert output.code in {0, 1}
            assert bool(output.errors) == bool(output.code), "a run fails if and only if it logs an ERROR"
        return output

    def discover(self, plan: Plan) -> bool:
        """Discover the catalog; return whether that succeeded."""
        first = len(self.sandbox.requests)
        output = self.start(plan, "--discover")
        assert not any(seen.kind == "create" for seen in self.sandbox.requests[first:])
        if output.code:
            assert plan.is_outage or plan.mode == "named", "discovery fails without a cause"
            return False
        self.catalog = select(json.loads(output.out), "exports", *MODELS)
        if plan.mode != "named":
            exports = self.listed(first)
            for entry in self.catalog["streams"]:
                if entry["stream"] in MODELS:
                    self.check_catalog(entry, newest_of(exports, entry["stream"]))
        return True

    def check_catalog(self, entry: Message, newest: list[Message]) -> None:
        """The columns are those of a newest file, with their documented types where their cells read as these."""
        kinds = {n: kind_of(s) for n, s in entry["schema"]["properties"].items() if not n.startswith("_sdc_")}
        expected = []
        for export in newest:
            shot = self.world.snapshots[export["id"]]
            types = {n: "string" if n in shot.unreadable else self.world.kind(shot.model, n) for n in shot.columns}
            if "no-seconds" in shot.flaws:  # whether Python reads it as a date-time depends on its version
                types = {n: kinds.get(n, "") if kind == "date-time" else kind for n, kind in types.items()}
            expected.append(types)
        assert not expected or kinds in expected, "the catalog does not hold what the newest file holds"

    def listed(self, first: int) -> list[Message]:
        """The exports, as the last list since a request showed them."""
        lists = [seen for seen in self.sandbox.requests[first:] if seen.kind == "list" and seen.status == 200]
        return list(json.loads(lists[-1].response_body)["exports"]) if lists else []

    def run(self, plan: Plan) -> Night:
        """Run the tap into the target, and check what the target was sent and holds."""
        night = Night(self, plan)
        output = self.start(plan, limit=plan.kill_at, _catalog=self.catalog, _state=self.target.state)
        is_killed = plan.kill_at is not None and len(output.raw) >= plan.kill_at
        night.read(output.raw[: plan.kill_at] if is_killed and plan.is_truncated else output.raw)
        if not is_killed:
            self.output_size = max(len(output.raw), 1000)
            night.check_end(output)
        elif not plan.is_truncated:
            night.check_that_requests_are_remembered()
        for history in self.histories.values():
            history.is_interrupted = history.is_interrupted or is_killed or bool(output.code)
            if is_killed and not night.is_changes:  # the tap may have forgotten what it could compare with
                history.is_known = False
        return night


@dataclass
class Load:
    """The rows of an export that arrived in a night."""

    export_id: str
    numbers: list[int] = field(default_factory=list)
    deletions: int = 0
    versions: set[int | None] = field(default_factory=set)
    is_activated: bool = False


class Night:
    """One run of the tap, and the rules for what it sends and does."""

    def __init__(self, nights: Nights, plan: Plan) -> None:
        self.nights, self.plan = nights, plan
        self.world, self.target, self.sandbox = nights.world, nights.target, nights.sandbox
        self.state = copy.deepcopy(self.target.state)
        self.bookmarks: Message = self.state.get("bookmarks", {})
        self.tables = {model: self.target.tables.get(model, Table()) for model in MODELS}
        self.rows: dict[str, dict[Key, Row]] = {model: dict(table.rows) for model, table in self.tables.items()}
        self.keys = {model: table.key for model, table in self.tables.items() if table.is_key_final}
        self.loads: dict[str, list[Load]] = {model: [] for model in MODELS}
        self.current: dict[str, Load | None] = dict.fromkeys(MODELS)
        self.committed: dict[str, list[str]] = {model: [] for model in MODELS}
        self.is_changes = bool(plan.settings.get("changes_only"))
        self.first_request, self.first_created = len(self.sandbox.requests), len(self.world.requested)

    # --- while messages arrive

    def read(self, out: bytes) -> None:
        """Let the target read an output, and check each message."""
        for message in self.target.read(out):
            kind, stream = message["type"], message.get("stream")
            if kind == "STATE":
                self.check_state(message["value"].get("bookmarks", {}))
            elif stream not in MODELS:
                assert "downloadUrl" not in message.get("record", {})
            elif kind == "SCHEMA":
                self.check_schema(stream, message["schema"]["properties"])
            elif kind == "RECORD":
                self.check_record(stream, message)
            else:
                self.check_version(stream, message["version"])
        self.check_loads()
        for model in MODELS:
            self.check_requests(model)

    def check_schema(self, stream: str, properties: Message) -> None:
        self.current[stream] = None
        history = self.nights.histories[stream]
        history.is_known = history.is_known and self.is_changes
        kinds = {name.casefold(): kind_of(schema) for name, schema in properties.items()}
        turned = [name for name in history.as_text if kinds.get(name, "string") != "string"]
        assert not turned, "columns that were loaded as text get another type"

    def check_record(self, stream: str, message: Message) -> None:
        """A record is a row of a file: all of its cells, typed as the SCHEMA says, and nothing else."""
        record, load, history = message["record"], self.current[stream], self.nights.histories[stream]
        export_id, number = record["_sdc_export_id"], record["_sdc_row_number"]
        if load is None or load.export_id != export_id:
            load = self.current[stream] = Load(export_id)
            self.loads[stream].append(load)
            history.begun.add(export_id)
        load.versions.add(message.get("version"))
        shot = self.world.snapshots[export_id]
        assert shot.model == stream
        assert record["_sdc_exported_at"] == self.completion(export_id)
        if record.get(DELETED_AT) is not None:
            load.deletions += 1
            self.check_deletion(stream, record)
            return
        last = load.numbers[-1] if load.numbers else 0
        assert number > last if self.is_changes else number == last + 1, "rows are left out, repeated or out of order"
        load.numbers.append(number)
        assert_row(shot.cells(number), record, self.target.tables[stream].schema["properties"])

    def check_deletion(self, stream: str, record: Message) -> None:
        """A row that is gone comes as it stood in an earlier export."""
        export_id, table = record["_sdc_export_id"], self.target.tables[stream]
        assert self.is_changes
        assert record[DELETED_AT] == self.completion(export_id)
        assert record["_sdc_row_number"] is None
        key = record[table.key[0]]
        assert key not in self.world.snapshots[export_id].by_id(), "a row is deleted although it is in the file"
        properties = table.schema["properties"]
        for shot in self.world.snapshots.values():
            cells = shot.by_id().get(key, {}) if shot.model == stream else {}
            unread = {column for column, cell in cells.items() if cell in UNREADABLE.values()}
            others = {column: value for column, value in record.items() if column.casefold() not in unread}
            if cells and not differences(cells, others, properties):
                return
        pytest.fail(f"A row is deleted that never was: {record}")

    def check_version(self, stream: str, version: int) -> None:
        """Rows are deleted only after all rows of a snapshot that has rows and is the newest so far."""
        load = self.current[stream]
        assert load, "a file without rows deletes all rows"
        assert self.is_complete(load), "rows are deleted before all others are there"
        assert self.completion(load.export_id) >= self.bookmark(stream), "an older snapshot deletes rows"
        load.is_activated = True
        self.nights.histories[stream].version = version

    def check_state(self, bookmarks: Message) -> None:
        """A bookmark never moves back, and only after all rows of the exports in it."""
        is_named = self.plan.mode == "named"
        for model in MODELS:
            before, after = self.bookmarks.get(model, {}), bookmarks.get(model, {})
            was, now = before.get("replication_key_value") or "", after.get("replication_key_value") or ""
            assert now >= was, "the bookmark moves back"
            known, loaded, load = (
                set(before.get("export_ids", ())),
                set(after.get("export_ids", ())),
                self.current[model],
            )
            if is_named and self.plan.settings.get("snapshots") == "all":
                assert now == was, "a named export hides older ones from the next run"
            if now == was:
                assert loaded >= known, "the bookmark forgets an export"
            for export_id in loaded - known:
                assert self.completion(export_id) == now
                self.committed[model].append(export_id)
                if self.world.snapshots[export_id].rows:
                    self.check_commit(model, export_id)
            if is_named and load and self.is_complete(load) and not self.trouble(model, load, 0):
                self.remember_text(model, load.export_id)
        self.bookmarks = copy.deepcopy(bookmarks)

    def check_commit(self, model: str, export_id: str) -> None:
        """When the bookmark names an export, all of its rows are there."""
        load = next((load for load in self.loads[model] if load.export_id == export_id), Load(export_id))
        if self.is_changes:
            self.check_rows(model, export_id)
            if is_id(self.target.tables[model].key):
                self.check_changes(model, load)
        else:
            assert self.is_complete(load), "the bookmark names an export before its last row"
        history = self.nights.histories[model]
        history.base, history.is_known = (export_id, True) if self.is_changes else (None, False)
        history.schema, history.begun, history.is_interrupted = self.target.tables[model].schema, set(), False
        self.remember_text(model, export_id)

    def check_changes(self, model: str, load: Load) -> None:
        """With `changes_only`, what is gone is deleted; what did not change is not sent, where that can be known."""
        table, history, shot = (
            self.target.tables[model],
            self.nights.histories[model],
            self.world.snapshots[load.export_id],
        )
        extras = {key for key, row in table.rows.items() if row.record.get(DELETED_AT) is None}
        extras -= {(key,) for key in shot.by_id()}
        earlier = {history.base, *history.begun} - {None, load.export_id}
        is_comparable = history.is_known and not self.plan.is_outage
        for name in earlier:
            is_there = name in self.sandbox.exports
            is_comparable &= is_there and not self.world.snapshots[str(name)].flaws & {"width", "repeated", "empty-id"}
        if load.is_activated:
            assert not extras, "rows that the newest snapshot lacks are not deleted"
        elif is_comparable:
            assert extras <= history.leftovers, "rows that the newest snapshot lacks are not deleted"
        history.leftovers = extras
        if load.deletions or len(load.numbers) < len(shot.rows):
            assert load.versions <= {history.version}, "changes do not repeat the version of the table"
        is_comparable = is_comparable and not history.is_interrupted and table.schema == history.schema
        if is_comparable and history.base and earlier == {history.base}:
            old = self.world.snapshots[history.base].by_id()
            changed = [
                n for n in range(1, len(shot.rows) + 1) if are_different(shot.cells(n), old.get(shot.cells(n)["id"]))
            ]
            assert set(load.numbers) <= set(changed), "rows are sent that did not change"

    def remember_text(self, model: str, export_id: str) -> None:
        """Note which documented columns a load brought as text."""
        columns = {name.casefold() for name in self.world.snapshots[export_id].columns}
        for name, schema in self.target.tables[model].schema["properties"].items():
            if name.casefold() in columns and self.world.kind(model, name) != "string" == kind_of(schema):
                self.nights.histories[model].as_text.add(name.casefold())

    # --- after the last message, also of a run that was killed

    def check_loads(self) -> None:
        """Each export is loaded once at most, oldest first, and never after a newer one unless it is named."""
        for model, loads in self.loads.items():
            ids = [load.export_id for load in loads]
            assert len(ids) == len(set(ids)), "an export is loaded twice in a night"
            moments = [self.completion(export_id) for export_id in ids]
            assert moments == sorted(moments), "a newer export is loaded before an older one"
            if ids and self.plan.mode != "named":
                bookmark = self.state.get("bookmarks", {}).get(model, {})
                assert moments[0] >= (bookmark.get("replication_key_value") or ""), (
                    "an older export replaces a newer one"
                )
                assert not set(bookmark.get("export_ids", ())) & set(ids), "an export is loaded again"

    def check_requests(self, model: str) -> None:
        """Nothing is requested while an earlier request is of use, and never twice in a night."""
        requested = self.requested(model)
        assert len(requested) <= (self.plan.mode == "request"), "an export is requested without need"
        if requested:
            assert not self.is_request_of_use(model), "an export is requested although an earlier request is of use"

    def check_that_requests_are_remembered(self) -> None:
        """What Dynamic answered is in the state before the tap sends another request."""
        seen = self.sandbox.requests[self.first_request :]
        for request in seen[:-1]:
            if request.kind == "create" and request.status == 201:
                export = json.loads(request.response_body)
                known = self.bookmarks.get(export["model"], {})
                is_loaded = export["id"] in self.committed[export["model"]]
                is_loaded |= any(load.export_id == export["id"] for load in self.loads[export["model"]])
                assert is_loaded or known.get("requested_export_id") == export["id"], "a request is forgotten"

    # --- after the end of a run that was not killed

    def check_end(self, output: Output) -> None:
        """A run fails only with a cause; what has none is loaded all the same, and the tables hold it."""
        troubles = {model: self.troubles(model) for model in MODELS}
        is_excused = self.plan.is_outage or any(e is None or e.status != "completed" for e in self.awaited())
        is_excused = is_excused or (self.plan.mode == "request" and not self.sandbox.create_allowed)
        if output.code:
            assert is_excused or any(troubles.values()), "the run fails without a cause"
        else:
            must_fail = {name for names in troubles.values() for name in names} & {"width", "key"}
            assert not must_fail, "the run should fail"
        if self.plan.mode == "all":
            for model in MODELS:
                self.check_order(model)
        if output.code and self.plan.is_outage:
            return
        for model in MODELS:
            if not output.code or not troubles[model]:
                self.check_table(model)
            if not output.code and self.plan.mode == "request":
                assert self.requested(model) or self.is_request_of_use(model), "no export is requested"
            self.check_words(model, output)
        if not output.code:
            listed = {(export["id"],) for export in self.listed()}
            assert listed <= set(self.target.tables["exports"].rows), "exports lack in the table of exports"

    def check_table(self, model: str) -> None:
        """All that was to be loaded is, and the table holds the newest of it."""
        required, table, settings = self.required(model), self.target.tables.get(model, Table()), self.plan.settings
        done = self.done(model)
        with_rows = [export_id for export_id in required if self.world.snapshots[export_id].rows]
        assert sorted(done) == sorted(with_rows), "not all exports were loaded that should be"
        assert {load.export_id for load in self.loads[model]} <= set(done)
        if self.plan.mode != "named":
            self.check_bookmark(model, required)
        if done:
            self.check_rows(model, done[-1])
        elif model in self.keys:
            assert self.rows[model] == table.rows, "rows change without a load"
        if not settings["emit_activate_version_messages"]:
            lost = set(self.rows[model]) - set(table.rows) if model in self.keys else set()
            assert not lost or (self.is_changes and self.target.hard_delete), "rows are deleted"
        elif done and not self.is_changes and self.plan.mode != "named":
            moment = self.completion(done[-1])
            others = [row for row in table.rows.values() if row.record["_sdc_exported_at"] != moment]
            assert not others, "rows that the newest snapshot lacks are not deleted"

    def check_order(self, model: str) -> None:
        """Of all snapshots none is loaded before an older one that can't be: that would replace it later."""
        required = [self.completion(name) for name in self.required(model) if self.world.snapshots[name].rows]
        done = [self.completion(export_id) for export_id in self.done(model)]
        assert done == required[: len(done)], "an export is loaded before an older one"

    def check_bookmark(self, model: str, required: list[str]) -> None:
        moments = {self.completion(export_id) for export_id in required}
        if required:
            assert self.bookmark(model) == max(moments), "the bookmark is not at the newest export"
            newest = {export_id for export_id in required if self.completion(export_id) == max(moments)}
            assert newest <= set(self.bookmarks[model]["export_ids"]), "the bookmark lacks an export"

    def check_rows(self, model: str, export_id: str) -> None:
        """The table holds each row of an export under its key."""
        shot, table = self.world.snapshots[export_id], self.target.tables[model]
        for number in range(1, len(shot.rows) + 1):
            cells = shot.cells(number)
            lineage = {"_sdc_export_id": export_id, "_sdc_row_number": number}
            key = tuple(lineage.get(name, cells.get(name.casefold())) for name in table.key)
            assert key in table.rows, "a row is not in the table"
            row = table.rows[key]
            assert row.record.get(DELETED_AT) is None, "a row is marked as deleted although it is in the file"
            assert_row(cells, row.record, row.properties)

    def check_words(self, model: str, output: Output) -> None:
        """A repeated key is reported with the numbers of both rows, and with what to do."""
        required = self.required(model)
        shot = self.world.snapshots[required[0]] if required else None
        if not shot or "repeated" not in shot.flaws or len(required) > 1:
            return
        numbers = [str(number) for number in shot.equal_rows]
        if self.troubles(model) == ["key"]:
            lines = [text for text in output.errors if required[0] in text and "table-key-properties" in text]
            assert any(set(numbers) <= words(text) for text in lines), "no ERROR says which rows are equal"
        elif is_id(self.catalog_key(model)) and model not in self.keys and not self.troubles(model):
            assert any(set(numbers) <= words(text) for text in output.warnings), "no warning says which rows are equal"

    # --- what is expected

    def required(self, model: str) -> list[str]:
        """The exports that the run is to load, oldest first."""
        bookmark = self.state.get("bookmarks", {}).get(model, {})
        at, loaded = bookmark.get("replication_key_value") or "", bookmark.get("export_ids", ())
        if self.plan.mode in {"latest", "all"}:
            exports = [e for e in self.listed() if e["model"] == model and e["status"] == "completed"]
            exports = exports if self.plan.mode == "all" else newest_of(exports, model)
            ids = [e["id"] for e in exports if (e["completedAt"], e["id"] not in loaded) > (at, False)]
        else:
            ids = [e.id for e in self.awaited() if e and e.model == model and e.status == "completed"]
            if self.plan.mode == "request":
                ids = [export_id for export_id in ids if self.completion(export_id) > at]
        return sorted(ids, key=lambda export_id: (self.completion(export_id), export_id))

    def awaited(self) -> list[SandboxExport | None]:
        """The exports that were named or requested; None for one that is gone."""
        if self.plan.mode == "named":
            return [self.sandbox.exports.get(export_id) for export_id in self.plan.named]
        exports: list[SandboxExport | None] = []
        if self.plan.mode == "request":
            for model in MODELS:
                exports += [self.world.exports[export_id] for export_id in self.requested(model)]
                remembered = self.sandbox.exports.get(self.remembered(model))
                if remembered and (remembered.status == "completed" or self.is_request_of_use(model)):
                    exports.append(remembered)
        return exports

    def troubles(self, model: str) -> list[str]:
        """Why the rows of a model may not all be loaded."""
        loads = [Load(export_id) for export_id in self.required(model)]
        return [name for index, load in enumerate(loads) for name in self.trouble(model, load, index)]

    def trouble(self, model: str, load: Load, index: int) -> list[str]:
        """What is wrong with an export that is the only one of its model in a night, or follows others."""
        flaws, key = self.world.snapshots[load.export_id].flaws, self.keys.get(model)
        names = ["late"] if "late-unreadable" in flaws else []
        names += ["width"] if "width" in flaws else []
        if flaws & {"repeated", "empty-id"}:
            names += ["key"] if is_id(key) else ["key after others"] if key is None and index else []
        return names

    def requested(self, model: str) -> list[str]:
        """The exports that were requested in this night."""
        ids = self.world.requested[self.first_created :]
        return [export_id for export_id in ids if self.world.snapshots[export_id].model == model]

    def remembered(self, model: str) -> str:
        """The export that an earlier night requested."""
        return str(self.state.get("bookmarks", {}).get(model, {}).get("requested_export_id"))

    def is_request_of_use(self, model: str) -> bool:
        """Whether the export that an earlier night requested makes a new request needless."""
        for export in self.listed(0):
            if export["id"] == self.remembered(model):
                at = self.state["bookmarks"][model].get("replication_key_value") or ""
                if export["status"] == "pending":
                    return age(export["createdAt"]) < DAY
                limit = float(self.plan.settings["export_timeout"])
                return bool(
                    export["status"] == "completed"
                    and age(export["completedAt"]) <= limit
                    and export["completedAt"] > at
                )
        return False

    def listed(self, index: int = -1) -> list[Message]:
        """The exports, as the first or the last list of this night showed them."""
        seen = self.sandbox.requests[self.first_request :]
        lists = [request for request in seen if request.kind == "list" and request.status == 200]
        return list(json.loads(lists[index].response_body)["exports"]) if lists else []

    def completion(self, export_id: str) -> str:
        return str(self.world.exports[export_id].completed_at)

    def bookmark(self, model: str) -> str:
        return str(self.bookmarks.get(model, {}).get("replication_key_value") or "")

    def is_complete(self, load: Load) -> bool:
        """Whether all rows of the file came, which `changes_only` does not need."""
        return len(load.numbers) == len(self.world.snapshots[load.export_id].rows)

    def done(self, model: str) -> list[str]:
        """The exports with rows that were loaded to their end, in this order."""
        if self.is_changes:
            return [export_id for export_id in self.committed[model] if self.world.snapshots[export_id].rows]
        return [load.export_id for load in self.loads[model] if self.is_complete(load)]

    def catalog_key(self, model: str) -> list[str]:
        """The key that discovery chose."""
        assert self.nights.catalog
        return next(list(e["key_properties"]) for e in self.nights.catalog["streams"] if e["stream"] == model)


def assert_row(cells: dict[str, str], record: Message, properties: Message) -> None:
    """A record holds what the cells of a row mean; a column that the file lacks is null."""
    assert set(cells) <= {name.casefold() for name in record}, "columns of the file are left out"
    assert not differences(cells, record, properties)


def differences(cells: dict[str, str], record: Message, properties: Message) -> list[str]:
    """The columns of a record that do not hold what the cells of a row mean."""
    return [
        f"{name}: {cells.get(name.casefold(), '')!r} -> {value!r}"
        for name, value in record.items()
        if not name.startswith("_sdc_") and not is_value(properties[name], cells.get(name.casefold(), ""), value)
    ]


def are_different(cells: dict[str, str], others: dict[str, str] | None) -> bool:
    """Whether two rows differ; an empty cell is like a column that lacks."""
    return others is None or any(cells.get(name, "") != others.get(name, "") for name in {*cells, *others})


def newest_of(exports: list[Message], model: str) -> list[Message]:
    """The completed exports of a model that were completed last: several, if at the same instant."""
    completed = [e for e in exports if e["model"] == model and e["status"] == "completed"]
    return [e for e in completed if e["completedAt"] == max(e["completedAt"] for e in completed)]


def is_id(key: Sequence[str] | None) -> bool:
    """Whether a key is the column `id`, in any case."""
    return key is not None and [name.casefold() for name in key] == ["id"]


def age(text: str) -> float:
    """The seconds since a moment."""
    return time.time() - datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def words(line: str) -> set[str]:
    return set(re.findall(r"[\w-]+", line))


def tell(text: str) -> None:
    """Say what happens: pytest shows it where a test fails."""
    sys.stdout.write(text + "\n")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nights(seed: int, forks: Forks, tap: Tap, documented: Message) -> None:
    nights = Nights(seed, forks, tap, documented)
    for _ in range(NIGHTS):
        nights.night()
    nights.repair()


# --- the target itself


def line(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode() + b"\n"


USERS = line(
    "SCHEMA",
    stream="users",
    schema={
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "at": {"type": ["string", "null"], "format": "date-time"},
            "_sdc_deleted_at": {"type": ["string", "null"], "format": "date-time"},
        },
    },
    key_properties=["id"],
)
REFUSED = {
    "record before schema": line("RECORD", stream="users", record={"id": "1"}),
    "version before schema": line("ACTIVATE_VERSION", stream="users", version=1),
    "wrong type": USERS + line("RECORD", stream="users", record={"id": 1}),
    "no date-time": USERS + line("RECORD", stream="users", record={"id": "1", "at": "2026-03-01T04:05Z"}),
    "no key": USERS + line("RECORD", stream="users", record={"at": None}),
    "unknown property": USERS + line("RECORD", stream="users", record={"id": "1", "x": None}),
    "unknown message": line("BATCH", stream="users"),
    "another key": USERS + line("STATE", value={}) + USERS.replace(b'["id"]', b'["at"]'),
    "equal columns": USERS.replace(b'"at"', b'"ID"'),
}


@pytest.mark.parametrize("out", REFUSED.values(), ids=REFUSED)
def test_the_target_refuses(out: bytes) -> None:
    with pytest.raises(RefusedError):
        list(UpsertTarget().read(out))


def test_the_target_keeps_whole_lines_and_the_last_whole_state() -> None:
    target = UpsertTarget()
    record = line("RECORD", stream="users", record={"id": "1"})
    list(target.read(USERS + record + line("STATE", value={"a": 1}) + line("STATE", value={"a": 2})[:-1]))
    assert target.state == {"a": 1}
    list(target.read(USERS + record.replace(b'"1"', b'"2"')[:-1]))
    assert list(target.tables["users"].rows) == [("1",)]


def test_the_target_deletes() -> None:
    rows = [line("RECORD", stream="users", record={"id": str(n)}, version=n) for n in range(3)]
    gone = line("RECORD", stream="users", record={"id": "1", "_sdc_deleted_at": "2026-03-01T04:05:06Z"})
    for hard_delete, remaining in ((True, [("0",), ("2",)]), (False, [("0",), ("1",), ("2",)])):
        target = UpsertTarget(hard_delete=hard_delete)
        list(target.read(USERS + b"".join(rows) + gone))
        assert list(target.tables["users"].rows) == remaining
        list(target.read(USERS + line("ACTIVATE_VERSION", stream="users", version=2)))
        assert list(target.tables["users"].rows) == [("2",)]
