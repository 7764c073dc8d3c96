"""Fixtures: the tap runs as a process, against the sandbox over real sockets."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from socketserver import StreamRequestHandler
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.server import API_TOKEN, Sandbox
from tests.meltano_project import installed, postgres, postgres_server, project  # noqa: F401 (fixtures)
from tests.processes import Forks

if TYPE_CHECKING:
    from collections.abc import Iterator

Message = dict[str, Any]
csv.field_size_limit(2**31 - 1)
# The sandbox sends two small packets: with Nagle's algorithm the second one waits for 40 ms.
StreamRequestHandler.disable_nagle_algorithm = True
MAX_SLEEP = 0.1
"""Seconds that the tap waits between attempts and polls, at most."""
ROOT = Path(__file__).parent.parent
# Where it is set, each process compiles all that it imports: half of the time of the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@dataclass
class Run:
    """The exit code and output of a run of the tap."""

    code: int
    out: str
    log: str

    @property
    def messages(self) -> list[Message]:
        return [json.loads(line) for line in self.out.split("\n")[:-1]]

    def of(self, kind: str, stream: str | None = None) -> list[Message]:
        return [m for m in self.messages if m["type"] == kind and stream in {None, m.get("stream")}]

    def records(self, stream: str) -> list[Message]:
        return [m["record"] for m in self.of("RECORD", stream)]

    @property
    def state(self) -> Message:
        states = self.of("STATE")
        return dict(states[-1]["value"]) if states else {}

    def bookmark(self, stream: str) -> Message:
        return dict(self.state.get("bookmarks", {}).get(stream, {}))

    @property
    def errors(self) -> list[str]:
        return [line.split(" | ")[-1] for line in self.log.splitlines() if "| ERROR " in line]

    @property
    def warnings(self) -> list[str]:
        return [line.split(" | ")[-1] for line in self.log.splitlines() if "| WARNING  | tap-dynamic" in line]


class Tap:
    """Runs `tap-dynamic` as a process, forked if possible."""

    def __init__(self, sandbox: Sandbox, folder: Path, forks: Forks | None = None) -> None:
        self.sandbox, self.folder, self.forks = sandbox, folder, forks

    def command(self, *arguments: str, **settings: Any) -> list[str]:
        """Return the command line of a process."""
        return [sys.executable, "-m", "tap_dynamic", *self.arguments(*arguments, **settings)]

    def arguments(self, *arguments: str, **settings: Any) -> list[str]:
        """Return the arguments; `_catalog` and `_state` are written to files and passed as options."""
        options: list[str] = []
        for name in ("catalog", "state"):
            if (value := settings.pop(f"_{name}", None)) is not None:
                (self.folder / name).write_text(json.dumps(value))
                options += [f"--{name}", str(self.folder / name)]
        config = {**self.sandbox.config, **settings}
        config = {name: value for name, value in config.items() if value is not None}
        (self.folder / "config").write_text(json.dumps(config))
        return ["--config", str(self.folder / "config"), *options, *arguments]

    def __call__(self, *arguments: str, environment: dict[str, str] | None = None, **settings: Any) -> Run:
        if self.forks and environment is None:
            code, out, log = self.forks.run(self.arguments(*arguments, **settings), max_sleep=MAX_SLEEP)
        else:
            completed = subprocess.run(
                self.command(*arguments, **settings),
                capture_output=True,
                timeout=60,
                check=False,
                env={**os.environ, **(environment or {})},
            )
            code, out, log = completed.returncode, completed.stdout, completed.stderr
        run = Run(code, out.decode(), log.decode())
        # In every test: no secrets in the output, and no traceback.
        assert API_TOKEN not in run.out + run.log
        assert "X-Amz-Signature" not in run.out + run.log
        assert "Traceback" not in run.log, run.log
        return run

    def discover(self, **settings: Any) -> Message:
        """Run discovery and return the catalog."""
        run = self("--discover", **settings)
        assert run.code == 0, run.log
        return dict(json.loads(run.out))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest tests, so that all workers finish at about the same time."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/test_docs", "tests/test_meltano")))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with closing(Forks()) as running:
        yield running


@pytest.fixture(scope="session")
def documented(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Message:
    """The catalog of an environment without exports, with all streams selected."""
    with Sandbox() as empty:
        catalog = Tap(empty, tmp_path_factory.mktemp("documented"), forks).discover()
    return select(catalog, "exports", "users", "visits")


@pytest.fixture
def tap(sandbox: Sandbox, tmp_path: Path, forks: Forks) -> Tap:
    return Tap(sandbox, tmp_path, forks)


def table(text: bytes) -> list[dict[str, str | None]]:
    """Read a CSV file with Python's `csv`; empty cells become None."""
    rows = [row for row in csv.reader(io.StringIO(text.decode("utf-8-sig"), newline=""), strict=True) if row]
    return [{name: cell or None for name, cell in zip(rows[0], row, strict=True)} for row in rows[1:]]


def texts(records: list[Message]) -> list[Message]:
    """Convert records back to cells, without the `_sdc_` columns; empty text, of a key, is an empty cell."""
    return [
        {
            name: str(value).lower()
            if isinstance(value, bool)
            else json.dumps(value)
            if isinstance(value, (dict, list))
            else value or None
            for name, value in record.items()
            if not name.startswith("_sdc_")
        }
        for record in records
    ]


def select(catalog: Message, *streams: str, without: tuple[str, ...] = ()) -> Message:
    """Select the given streams and deselect all others, and the columns in `without`."""
    for entry in catalog["streams"]:
        for item in entry["metadata"]:
            if not item["breadcrumb"]:
                item["metadata"]["selected"] = entry["stream"] in streams
            elif item["breadcrumb"][-1] in without:
                item["metadata"]["selected"] = False
    return catalog
