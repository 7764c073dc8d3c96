"""Long operations log their progress; short ones don't."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import time
from typing import TYPE_CHECKING

import pytest

from sandbox.data import csv_file
from tap_dynamic.progress import ProgressLogger

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.server import Sandbox
    from tests.conftest import Tap

LOGGER = logging.getLogger("test_progress")


class Clock:
    """A clock that a test sets."""

    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def test_a_line_every_ten_seconds(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    with ProgressLogger("Stream users, export x", "rows", LOGGER) as progress:
        for seconds, done, share in ((9, 1800, 0.2), (10, 2000, 0.25), (19, 3800, 0.5), (20, 6000, None)):
            clock.now = 1000.0 + seconds
            progress.update(done, share)
    assert [record.message for record in caplog.records] == [
        "Stream users, export x: 2,000 rows, 25% of the file, 30 s left, 200 per second.",
        "Stream users, export x: 6,000 rows, 300 per second.",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_instead_of_lines(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.root, "handlers", [handler])
    with ProgressLogger("Stream visits, export x", "bytes downloaded", LOGGER) as progress:
        progress.update(1, 0.01)
        assert not terminal.getvalue()
        clock.now += 20
        for share in (0.5, 0.75, 1.0):
            progress.update(100, share)
            LOGGER.warning("A line.")
    screen = terminal.getvalue()
    assert screen.count("A line.") == screen.split("\n").count("A line.") == 3
    assert re.search(
        r"\rStream visits, bytes downloaded  \[#{15}-{5}\]   75%", re.sub(r"\x1b\[[?\d]*[a-zA-Z]", "", screen)
    )
    assert max(map(len, re.split(r"[\r\n]", screen))) < 80
    assert screen.endswith("\x1b[?25h\n")  # the cursor is back
    assert not handler.filters


def test_downloads_and_rows_are_reported(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import time\nreal = time.monotonic\ntime.monotonic = lambda: real() * 10_000"
    )
    export = sandbox.add("users", csv_file("users", 3000))
    run = tap(environment={"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])})
    line = rf"Stream users, export {export.id}(?:, [\w ]+)?: [\d,]+ ([\w ]+), \d+% of the file, \d+ s left"
    assert set(re.findall(line, run.log)) == {"bytes downloaded", "rows verified", "rows"}


def test_short_operations_log_no_progress(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", csv_file("users", 3000))
    run = tap()
    assert len(run.records("users")) == 3000
    assert "s left, " not in run.log
    assert "Waiting" not in run.log


def test_a_connection_test_does_not_wait_for_a_pending_export(sandbox: Sandbox, tap: Tap) -> None:
    pending = sandbox.add("users", csv_file("users", 3), status="pending", polls_left=10**6)
    run = tap("--test", export_ids=[pending.id])
    assert run.code == 1
    assert any(pending.id in line and "pending" in line for line in run.errors), run.log
    assert sandbox.count("get") <= 2
