"""Progress of long operations: log lines, and whether there is any."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

PROGRESS_INTERVAL = 10.0
"""Seconds between two lines."""
BAR_DELAY = 1.0
"""Seconds before a bar appears."""
STEPS = 1000
"""Steps of a bar."""
AROUND_BAR = 24
"""Columns of a terminal that a bar needs for its percentage, the time left and blanks."""
MIN_RATE = 1024
"""Bytes per second below which a host counts as stalled."""
RATE_WINDOW = 60.0
"""Seconds over which the rate is measured."""


class ProgressLogger:
    """Reports the progress of a long operation: by a bar on a terminal, otherwise by a line every ten seconds.

    Args:
        label: The stream, and what the lines begin with.
        unit: What is counted, in plural.
        logger: Receives the lines.
    """

    def __init__(self, label: str, unit: str, logger: logging.Logger) -> None:
        self.label, self.unit, self.logger = label, unit, logger
        self.started_at = self.logged_at = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> Self:
        """Return the logger."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar."""
        if self.bar:
            self._erase()
            with contextlib.suppress(OSError):
                click.echo("\x1b[?25h", nl=False, err=True)  # click hides the cursor
            for handler in logging.root.handlers:
                handler.removeFilter(self._erase)

    def update(self, done: int, share: float | None = None) -> None:
        """Draw the bar, or log a line unless the last one is recent.

        Args:
            done: Number of units so far.
            share: Part of the whole that is done, from 0 to 1; None if unknown.
        """
        now = time.monotonic()
        if share and has_terminal():
            if now - self.started_at > BAR_DELAY:
                with contextlib.suppress(OSError):  # the terminal is gone
                    self._draw(share)
            return
        if now - self.logged_at < PROGRESS_INTERVAL:
            return
        self.logged_at, elapsed = now, now - self.started_at
        remaining = f", {share:.0%} of the file, {elapsed / share - elapsed:.0f} s left" if share else ""
        self.logger.info(
            "%s: %s %s%s, %s per second.",
            self.label,
            f"{done:,}",
            self.unit,
            remaining,
            f"{done / elapsed:,.0f}",
        )

    def _draw(self, share: float) -> None:
        if not self.bar:
            title = f"{self.label.partition(',')[0]}, {self.unit}"
            # click would measure stdout.
            width = os.get_terminal_size(sys.stderr.fileno()).columns - len(title) - AROUND_BAR
            self.bar = click.progressbar(length=STEPS, label=title, file=sys.stderr, width=max(1, width))
            for handler in logging.root.handlers:
                handler.addFilter(self._erase)
        self.bar.update(int(share * STEPS) - self.bar.pos)

    def _erase(self, record: logging.LogRecord | None = None) -> bool:  # noqa: ARG002 (a filter)
        """Clear the line of the bar, so that a log line has it to itself."""
        with contextlib.suppress(OSError):  # the terminal is gone
            click.echo("\r\x1b[K", nl=False, err=True)
        return True


def has_terminal() -> bool:
    """Whether a bar can be drawn: stderr is a terminal, and messages do not go to it too."""
    is_drawable = bool(sys.stderr and sys.stderr.isatty() and os.environ.get("TERM") != "dumb")
    return is_drawable and not (sys.stdout and sys.stdout.isatty())


class RateMonitor:
    """Measures the rate of a transfer over windows of `RATE_WINDOW` seconds: a trickle would never end.

    Args:
        received: Bytes that were here at the start.
    """

    def __init__(self, received: int = 0) -> None:
        self.started_at, self.received = time.monotonic(), received

    def is_stalled(self, received: int) -> bool:
        """Whether a window has ended in which less than `MIN_RATE` bytes per second arrived; starts the next one."""
        now = time.monotonic()
        elapsed, count = now - self.started_at, received - self.received
        if elapsed < RATE_WINDOW:
            return False
        self.started_at, self.received = now, received
        return count < MIN_RATE * elapsed
