"""The world outside of the tap: users and visits of an environment, and the exports that Dynamic makes of them.

Everything that happens is an event, a tuple of plain values: the method of `World` with that name, and its arguments.
An event about something that is not there does nothing, so that a history may lose any of its events.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from sandbox.data import to_csv
from sandbox.server import Fault, Sandbox, SandboxExport, format_timestamp
from tests.nights.cells import COLUMNS, FILTER, KEYS, NO_FILTER, ODD, cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.nights.cells import Cells

Event = tuple[Any, ...]


@dataclass
class Snapshot:
    """The rows of an export, and what is peculiar about it."""

    model: str
    columns: list[str]
    rows: list[Cells]
    is_filtered: bool = False
    is_repeated: bool = False
    """Whether its last row has the key of its first one."""

    @property
    def odd(self) -> set[str]:
        """The columns with a cell that does not read as the documented type."""
        return {name for row in self.rows for name, text in row.items() if text == ODD}


@dataclass
class World:
    """Dynamic and its file host, as a history knows them.

    Args:
        sandbox: The servers.
    """

    sandbox: Sandbox
    members: dict[str, dict[str, int]] = field(default_factory=dict)
    """Users: the number of each credential. That of the user's own cells has an empty name."""
    logins: dict[str, int] = field(default_factory=dict)
    """Visits: the number of their cells."""
    headers: dict[str, str] = field(default_factory=dict)
    exports: dict[Any, SandboxExport] = field(default_factory=dict)
    """All exports that ever were, by their names in the history."""
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    """The rows of each export, by its id."""
    requested: list[str] = field(default_factory=list)
    """The ids of the exports that the tap requested."""
    twice: list[SandboxExport] = field(default_factory=list)
    """Exports that are listed twice."""
    unreadable: set[str] = field(default_factory=set)
    """The ids of exports whose file is gone although they are listed."""
    requests: str = ""
    """What becomes of this night's requests: they `hang`, `fail`, or are `refused`."""
    troubles: set[str] = field(default_factory=set)
    """What the whole night fails: `list`, `create`, or the file of an export, by its id."""
    seconds: float = field(default_factory=lambda: time.time() - 3600)

    def __post_init__(self) -> None:
        self.sandbox.clock = self.clock
        self.sandbox.export_factory = self._request

    def clock(self) -> float:
        """Dynamic's clock, which strikes each second once."""
        self.seconds += 1
        return self.seconds

    def begin_night(self, events: Sequence[Event]) -> None:
        """Let happen what happens before a run."""
        self.sandbox.faults, self.troubles, self.requests = [], set(), ""
        for verb, *arguments in events:
            getattr(self, verb)(*arguments)
        self.sandbox.extra_entries = [self.sandbox.poll(e) for e in self.twice if e.id in self.sandbox.exports]
        self.sandbox.create_allowed = self.requests != "refused"

    # --- users and visits

    def join(self, user: str, number: int) -> None:
        """A user comes, without any credential, or changes."""
        self._replace(user)
        self.members.setdefault(user, {})[""] = number

    def link(self, user: str, credential: str, number: int) -> None:
        """A user verifies a credential."""
        self._replace(user)
        self.members.setdefault(user, {"": 0})[credential] = number

    def unlink(self, user: str, credential: str) -> None:
        """A credential goes; that of the user's own cells does not."""
        if credential:
            self.members.get(user, {}).pop(credential, None)

    def _replace(self, user: str) -> None:
        """No two users have ids that differ only in case at one time."""
        for other in [other for other in self.members if other != user and other.lower() == user.lower()]:
            del self.members[other]

    def leave(self, user: str) -> None:
        """A user goes, with all credentials."""
        self.members.pop(user, None)

    def crowd(self, size: int) -> None:
        """So many users are there, beside the others."""
        for user in [user for user in self.members if user.startswith("crowd")]:
            del self.members[user]
        self.members |= {f"crowd-{number}": {"": 0} for number in range(size)}

    def visit(self, name: str, number: int) -> None:
        """A visit comes, or changes."""
        self.logins[name] = number

    def purge(self, name: str) -> None:
        """A visit goes."""
        self.logins.pop(name, None)

    def header(self, model: str, spelling: str) -> None:
        """Later files have their columns in upper case, without one, or as documented."""
        self.headers[model] = spelling

    def _snapshot(self, model: str) -> Snapshot:
        if model == "visits":
            numbers: dict[tuple[str, ...], tuple[int, int]] = {
                (name,): (number, number) for name, number in self.logins.items()
            }
        else:
            numbers = {
                (user, credential): (credentials[""], number)
                for user, credentials in self.members.items()
                for credential, number in credentials.items()
                if credential or len(credentials) == 1
            }
        columns = COLUMNS[model][: -1 if self.headers.get(model) == "short" and model == "users" else None]
        rows = []
        for key, (own, of_credential) in numbers.items():
            is_own = {name: not name.startswith("verified") for name in columns}
            row = {name: cell(name, own if is_own[name] else of_credential) for name in columns}
            if key[-1] == "":
                row |= {name: "" for name in columns if not is_own[name]}
            rows.append(row | dict(zip(KEYS[model], key)))
        return Snapshot(model, columns, rows)

    # --- exports

    def export(self, model: str, name: int, how: dict[str, Any] | None = None) -> None:
        """Somebody makes an export in the dashboard.

        Args:
            model: Its model.
            name: Its name in the history.
            how: `when` it completes, its `status`, whether it has a `filter`, is a `part`, is `empty`, has a
                `repeated` key, and is listed `twice`.
        """
        how, shot = how or {}, self._snapshot(model)
        shot.is_filtered = bool(how.get("filter"))
        if how.get("filter") or how.get("part"):
            shot.rows = shot.rows[:2]
        if how.get("empty"):
            shot.rows = []
        if how.get("repeated") and len(shot.rows) > 1:
            shot.is_repeated = True
            shot.rows[-1] = {**shot.rows[-1], **{column: shot.rows[0][column] for column in KEYS[model]}}
        created, status = self.now(), how.get("status", "completed")
        export = self.sandbox.add(
            model,
            self._file(shot),
            id=str(uuid.UUID(int=(name + 1) << 80, version=4)),
            status=status,
            created_at=created,
            completed_at=self.moment(model, how.get("when", "now"), created) if status == "completed" else None,
            polls_left=10**6,
            filter=FILTER if how.get("filter") else NO_FILTER if name % 5 == 0 else None,
        )
        self.exports[name], self.snapshots[export.id] = export, shot
        if how.get("twice"):
            self.twice.append(export)

    def complete(self, name: Any, when: str, during_run: bool = False) -> None:  # noqa: FBT001, FBT002 (of an event, a tuple)
        """A pending export completes, now, or while the tap waits for it."""
        if (export := self._pending(name)) is not None:
            export.polls_left, export.final_status = int(during_run), "completed"
            export.completed_at = self.moment(export.model, when, export.created_at)
            if not during_run:
                self.sandbox.poll(export)

    def fail(self, name: Any) -> None:
        """A pending export fails."""
        if (export := self._pending(name)) is not None:
            export.polls_left, export.final_status = 0, "failed"
            self.sandbox.poll(export)

    def age(self, name: Any) -> None:
        """An export was requested a day and an hour ago."""
        if (export := self._pending(name)) is not None:
            export.created_at = format_timestamp(datetime.now(timezone.utc) - timedelta(hours=25))

    def vanish(self, name: Any) -> None:
        """An export is deleted."""
        if name in self.exports:
            self.sandbox.exports.pop(self.exports[name].id, None)

    def lose(self, name: Any) -> None:
        """The file of an export is gone for good, although the export is listed."""
        if name in self.exports:
            self.unreadable.add(self.exports[name].id)
            self.exports[name].url = f"{self.sandbox.store_url}/exports/none.csv"

    def outage(self, what: Any, status: int) -> None:
        """The list, or the file of an export, can't be had this night."""
        path = "" if isinstance(what, str) else self.exports[what].id if what in self.exports else "none"
        self.troubles.add(path or what)
        kind = what if isinstance(what, str) else "file"
        self.sandbox.faults.append(Fault(kind, 999, status, {"Retry-After": "0"}, path_contains=path))

    def hiccup(self, kind: str, status: int) -> None:
        """A request fails once."""
        self.sandbox.faults.append(Fault(kind, 1, status, {"Retry-After": "0"}))

    def answer_requests(self, how: str) -> None:
        """This night's requests `hang`, `fail`, or are `refused`."""
        self.requests = how

    # --- what others ask

    def completed(self, model: str) -> list[SandboxExport]:
        """The listed exports that are completed, oldest first."""
        exports = [e for e in self.sandbox.exports.values() if e.model == model and e.status == "completed"]
        return sorted(exports, key=lambda export: (str(export.completed_at), export.id))

    def now(self) -> str:
        """The next moment of Dynamic's clock."""
        return format_timestamp(datetime.fromtimestamp(self.clock(), timezone.utc))

    def moment(self, model: str, when: str, created: str) -> str:
        """A completion: `now`, `early` (as soon as it was requested), or at about the time of the newest export."""
        newest = self.completed(model)[-1:]
        if when == "now" or not newest:
            return self.now() if when != "early" else created
        at = datetime.fromisoformat(str(newest[0].completed_at).replace("Z", "+00:00"))
        shift = {"instant": 0.0, "second": 0.001, "late": -0.4, "early": None}[when]
        return created if shift is None else format_timestamp(at + timedelta(seconds=shift))

    def completion(self, export_id: str) -> str:
        """The completion of an export, also of one that vanished."""
        return next(str(export.completed_at) for export in self.exports.values() if export.id == export_id)

    # --- how the sandbox is fed

    def _pending(self, name: Any) -> SandboxExport | None:
        export = self.exports.get(name)
        return export if export and export.status == "pending" and export.id in self.sandbox.exports else None

    def _file(self, shot: Snapshot) -> bytes:
        is_upper = self.headers.get(shot.model) == "upper"
        header = [name.upper() if is_upper else name for name in shot.columns]
        return to_csv([header, *([row[name] for name in shot.columns] for row in shot.rows)])

    def _request(self, model: str) -> SandboxExport:
        """Make the export that the tap requests; its name is `requested-` and a number."""
        shot, number = self._snapshot(model), len(self.requested)
        export = SandboxExport(model, self._file(shot), str(uuid.UUID(int=(number + 1) << 40, version=4)))
        export.polls_left = 10**6 if self.requests == "hang" else number % 3
        export.final_status = "failed" if self.requests == "fail" else "completed"
        self.exports[f"requested-{number}"], self.snapshots[export.id] = export, shot
        self.requested.append(export.id)
        return export
