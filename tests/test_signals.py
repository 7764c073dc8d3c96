"""Runs terminated from outside: the last state message is complete and correct, and no row is lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import pytest

from sandbox.data import csv_file
from sandbox.server import Fault, SandboxExport

if TYPE_CHECKING:
    import io
    from pathlib import Path

    from sandbox.server import Sandbox
    from tests.conftest import Message, Tap
    from tests.processes import Forks

KILLS = 12


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tap: Tap) -> Iterator[Start]:
    """Start the tap as a process, killed at the end of the test."""
    with contextlib.ExitStack() as stack:

        def run(environment: dict[str, str] | None = None, **settings: object) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                tap.command(**settings),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **(environment or {})},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield run


def lines_of(out: bytes) -> list[Message]:
    """Parse the complete lines of an output."""
    return [json.loads(line) for line in out.split(b"\n")[:-1]]


def read_until(process: subprocess.Popen[bytes], pattern: bytes) -> bytes:
    """Read the output up to a line that matches the pattern."""
    out = b""
    while not re.search(pattern, out):
        block = cast("io.BufferedReader", process.stdout).read1(1 << 12)
        assert block, out[-500:]
        out += block
    return out


def test_twelve_kills_lose_no_row(sandbox: Sandbox, tap: Tap, forks: Forks, documented: Message) -> None:
    """Kill the tap twelve times, resuming each time from its last complete state message."""
    exports = [sandbox.add("users", csv_file("users", 4000, seed=n)) for n in range(4)]
    exports += [sandbox.add("visits", csv_file("visits", 4000, seed=n)) for n in range(4)]
    loaded: set[tuple[str, int]] = set()
    state: Message = {}
    for number in range(KILLS + 1):
        # A different amount each time; a full pipe keeps the tap in the middle of a file.
        limit = 900_000 * (number % 4 + 1) if number < KILLS else None
        arguments = tap.arguments(snapshots="all", _catalog=documented, _state=state)
        code, out, _ = forks.run(arguments, limit=limit)
        assert code == (-signal.SIGKILL if number < KILLS else 0)
        for message in lines_of(out):
            if message["type"] == "STATE":
                state = message["value"]
            elif message["type"] == "RECORD" and message["stream"] != "exports":
                loaded.add((message["record"]["_sdc_export_id"], message["record"]["_sdc_row_number"]))
        for stream in ("users", "visits"):
            for export_id in state.get("bookmarks", {}).get(stream, {}).get("export_ids", []):
                assert {(export_id, n) for n in range(1, 4001)} <= loaded
    assert loaded == {(export.id, n) for export in exports for n in range(1, 4001)}


@pytest.mark.parametrize(
    ("number", "activity"),
    [*((signal.SIGTERM, activity) for activity in ("writing", "waiting", "downloading")), (signal.SIGINT, "writing")],
)
def test_a_signal_ends_the_run_cleanly(
    sandbox: Sandbox, start: Start, documented: Message, number: signal.Signals, activity: str
) -> None:
    first = sandbox.add("users", csv_file("users", 10), completed_at="2026-01-01T00:00:00.000Z")
    settings: Message = {"_catalog": documented, "snapshots": "all"}
    if activity == "waiting":
        sandbox.export_factory = lambda model: SandboxExport(model, b"", polls_left=10**6)
        settings["request_exports"] = True
    else:
        big = sandbox.add("users", csv_file("users", 20_000))
        if activity == "downloading":
            sandbox.faults = [Fault("file", after=5000, then="stall", path_contains=big.id)]
    process = start(**settings)
    assert process.stdout
    assert process.stderr
    awaited = {
        "waiting": rb'("requested_export_id".*){2}\n',
        "writing": rb'"_sdc_row_number":999\}',
        "downloading": first.id.encode() + rb'"\]',
    }
    out = read_until(process, awaited[activity])
    time.sleep(0.2)  # let the next operation start
    process.send_signal(number)
    out += process.stdout.read()
    log = process.stderr.read().decode()
    assert process.wait() == 128 + number
    assert out.endswith(b"\n")
    assert "Traceback" not in log
    assert "ERROR" not in log
    assert f"Ended by {number.name}" in log
    state = [m["value"] for m in lines_of(out) if m["type"] == "STATE"][-1]["bookmarks"]
    if activity == "waiting":
        assert {state[s]["requested_export_id"] for s in ("users", "visits")} <= set(sandbox.exports)
    else:
        assert state["users"]["export_ids"] == [first.id]


def test_a_closed_stdout_ends_the_run_with_one_error(sandbox: Sandbox, start: Start, documented: Message) -> None:
    sandbox.add("users", csv_file("users", 20_000))
    process = start(_catalog=documented)
    assert process.stdout
    assert process.stderr
    process.stdout.read(1000)
    process.stdout.close()
    log = process.stderr.read().decode()
    assert process.wait() == 1
    assert "Traceback" not in log
    error = next(line for line in log.splitlines() if "ERROR" in line)
    assert error.endswith("Stdout is closed: the target has ended. Its own log says why.")
    assert log.count("ERROR") == 1


def test_a_slow_target_keeps_neither_a_connection_nor_a_named_file_open(
    sandbox: Sandbox, start: Start, documented: Message, tmp_path: Path
) -> None:
    """The whole file is downloaded before the first row is emitted."""
    export = sandbox.add("users", csv_file("users", 20_000))
    folder = tmp_path / "temporary"
    folder.mkdir()
    process = start({"TMPDIR": str(folder)}, _catalog=documented)
    assert process.stdout
    out = read_until(process, b'"RECORD"')
    assert list(folder.iterdir()) == []
    downloads = [request for request in sandbox.requests if request.kind == "file"]
    assert len(downloads) == 1
    sandbox.exports.pop(export.id)  # the remaining rows come from the temporary file
    out += process.stdout.read()
    assert process.stderr
    process.stderr.read()
    assert process.wait() == 0
    assert out.count(b'"RECORD"') == 20_001
