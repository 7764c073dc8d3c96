"""Progress of long operations: a bar on a terminal, log lines elsewhere."""

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
        """End the bar."""
        if self.bar:
            with contextlib.suppress(OSError):  # the terminal is gone
                self.bar.__exit__(kind, error, trace)
            for handler in logging.root.handlers:
                handler.removeFilter(end_line)

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
            self.bar.__enter__()
            for handler in logging.root.handlers:
                handler.addFilter(end_line)
        self.bar.update(int(share * STEPS) - self.bar.pos)


def end_line(record: logging.LogRecord | None = None) -> bool:  # noqa: ARG001 (a filter)
    """End the line of a bar, so that a log line has one to itself."""
    with contextlib.suppress(OSError):  # the terminal is gone
        click.echo(err=True)
    return True


def has_terminal() -> bool:
    """Whether a bar can be drawn: stderr is a terminal, and messages do not go to it too."""
    is_drawable = bool(sys.stderr and sys.stderr.isatty() and os.environ.get("TERM") != "dumb")
    return is_drawable and not (sys.stdout and sys.stdout.isatty())
