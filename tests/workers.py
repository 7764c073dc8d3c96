"""A plugin of pytest: how tests are spread over processes, and a sign of life at least every five seconds."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

INTERVAL = 4.0
"""Seconds of silence before a line says which tests are running."""
SHARED = ("tests/test_demo.py",)
"""Files whose tests share what takes long to set up."""


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Gives each test to the next free process; those of a file in `SHARED` to the same."""

    def _split_scope(self, nodeid: str) -> str:
        # Not the mark `xdist_group`: pytest-xdist 3.8 loses it with pytest 9.2.
        file = nodeid.partition("::")[0]
        return file if file in SHARED else nodeid


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, because many tests wait for other processes."""
    return min(8, (os.cpu_count() or 1) + 1)


class SignsOfLife:
    """Writes which tests are running where nothing else was written for `INTERVAL` seconds."""

    def __init__(self, terminal: Any) -> None:
        self.terminal = terminal
        self.running: dict[str, None] = {}
        self.started_at = self.written_at = time.monotonic()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._write, daemon=True)
        self.thread.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running[nodeid] = None

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.running.pop(nodeid, None)
        self.written_at = time.monotonic()

    def pytest_unconfigure(self) -> None:
        self.ended.set()
        self.thread.join()

    def _write(self) -> None:
        while not self.ended.wait(0.5):
            now = time.monotonic()
            if now - self.written_at >= INTERVAL:
                self.written_at = now
                names = ", ".join(nodeid.rpartition("::")[2] for nodeid in self.running) or "processes start or end"
                self.terminal.write_line(f"\n{now - self.started_at:.0f} s: {names}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SignsOfLife(terminal))
