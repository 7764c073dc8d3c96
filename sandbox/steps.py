"""Commands that run as named, timed steps."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from sandbox.setup import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.terminal import Terminal

NAME_WIDTH = 44
STOP_TIMEOUT = 10
"""Seconds that a command has to end after SIGTERM."""


class Interrupted(BaseException):
    """A signal asked the demo to end."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


def interrupt_on_signals() -> None:
    """Raise `Interrupted` on the first signal that asks to end, and ignore those that follow it."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # there is no SIGHUP on Windows
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]

    def interrupt(number: int, _: object) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    for number in numbers:
        signal.signal(number, interrupt)


class Steps:
    """Runs commands in the project root, silent unless one fails.

    Args:
        terminal: Where the steps are shown.
        environment: Environment variables of the commands.
        secret: Never shown, not even in the output of a command that failed.
    """

    def __init__(self, terminal: Terminal, environment: Mapping[str, str], secret: str = "") -> None:
        self.terminal, self.environment, self.secret = terminal, environment, secret

    def run(self, name: str, *command: str | Path) -> None:
        """Run a command and show its name and duration; if it fails, show its output and exit with code 1."""
        started = time.monotonic()
        self.terminal.write(self._label(name))
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its own process group, which `_stop` ends as a whole
            )
            try:
                self._wait(process, name, started)
            finally:
                _stop(process)
            self._show_duration(name, time.monotonic() - started)
            if process.returncode:
                output.seek(0)
                text = output.read().decode(errors="replace")
                self.terminal.line(f"failed with exit code {process.returncode}:", "red", indent=2)
                self.terminal.write(text.replace(self.secret, "...") if self.secret else text)
                sys.exit(1)

    def skip(self, name: str) -> None:
        """Show a step that has nothing to do."""
        self.terminal.write(self._label(name))
        self._show_duration(name, 0)

    def _wait(self, process: subprocess.Popen[bytes], name: str, started: float) -> None:
        """Wait for a command; on a terminal, show the seconds that have passed."""
        while True:
            try:
                process.wait(timeout=1 if self.terminal.is_interactive else None)
            except subprocess.TimeoutExpired:
                self.terminal.write(f"\r{self._label(name)}{time.monotonic() - started:7.0f} s")
            else:
                return

    def _show_duration(self, name: str, seconds: float) -> None:
        start = f"\r{self._label(name)}" if self.terminal.is_interactive else ""
        self.terminal.write(start + self.terminal.style(f"{seconds:7.1f} s", "dim") + "\n")

    def _label(self, name: str) -> str:
        return f"  {name:{min(NAME_WIDTH, self.terminal.width - 12)}}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a command that is still running, with all processes that it started."""
    if process.poll() is not None:
        return
    if not hasattr(os, "killpg"):  # on Windows
        process.terminate()
        return
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=STOP_TIMEOUT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what outlived the command
    process.wait()
