"""Long operations log their progress; short ones don't."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import termios
import threading
from typing import TYPE_CHECKING

import pytest

from sandbox.data import csv_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.server import Sandbox
    from tests.conftest import Tap

FAST = """
import time
real = time.monotonic
time.monotonic = lambda: real() * 10_000
"""


@pytest.fixture
def fast(tmp_path: Path) -> dict[str, str]:
    """Environment of a process whose clock runs 100,000 times as fast: ten seconds take 0.1 ms."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(FAST)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "clock"), os.environ.get("PYTHONPATH", "")])}


def test_downloads_and_rows_log_share_speed_and_time_left(sandbox: Sandbox, tap: Tap, fast: dict[str, str]) -> None:
    data = csv_file("users", 3000)
    export = sandbox.add("users", data)
    run = tap(environment=fast)
    assert len(run.records("users")) == 3000
    line = rf"Stream users, export {export.id}: ([\d,]+) (.*), (\d+)% of the file, (\d+) s left, ([\d,]+) per second\."
    entries = [
        (unit, int(done.replace(",", "")), int(share), int(left))
        for done, unit, share, left, _ in re.findall(line, run.log)
    ]
    for unit, whole in (("bytes downloaded", len(data)), ("rows", 3000)):
        lines = [rest for name, *rest in entries if name == unit]
        assert lines, run.log
        assert lines == sorted(lines, key=lambda line: line[0])
        for done, share, left in lines:
            assert done <= whole
            # The file is read in blocks, ahead of its rows.
            assert (
                share == pytest.approx(100 * done / whole, abs=1) if unit != "rows" else 100 * done / whole <= share + 1
            )
            assert (left == 0) == (share == 100)


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


def test_a_terminal_shows_a_bar_instead_of_lines(sandbox: Sandbox, tap: Tap, fast: dict[str, str]) -> None:
    sandbox.add("users", csv_file("users", 3000))
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(stderr, (24, 80))
    environment = {**os.environ, **fast, "TERM": "xterm"}
    process = subprocess.Popen(tap.command(), stdout=subprocess.PIPE, stderr=stderr, env=environment)
    os.close(stderr)
    shown: list[bytes] = []
    reader = threading.Thread(target=lambda: shown.extend(read_terminal(terminal)))
    reader.start()
    messages, _ = process.communicate(timeout=60)
    reader.join()
    screen = b"".join(shown).decode()
    assert process.returncode == 0, screen
    assert messages.count(b'"RECORD"') == 3001
    for unit in ("bytes downloaded", "rows verified", "rows"):
        assert re.search(rf"Stream users, {unit}  \[#+", screen), screen
    assert "s left, " not in screen  # a line, as in a pipe
    bars = re.findall(r"\r\x1b\[\?25l(Stream users, [^\r\n\x1b]*)", screen)
    assert bars, repr(screen)
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")  # the cursor is back
    assert max(map(len, bars)) < 80
    # Each log line starts on a line that was cleared.
    for line in screen.split("\r\n"):
        last = re.split(r"\r|\x1b\[[?\d]*[a-zA-Z]", line)[-1]
        assert not ("| INFO" in last and "[#" in last), line


def read_terminal(terminal: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # Linux, when the other end is closed
        while data := os.read(terminal, 1 << 16):
            yield data
    os.close(terminal)
