"""Progress of long operations: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from typing_extensions import Self

PROGRESS_INTERVAL = 10.0
"""Seconds between two lines."""
BAR_DELAY = 1.0
"""Seconds before a bar appears."""
BAR_WIDTH = 20
"""Columns of a bar; click would measure stdout."""
STEPS = 1000
"""Steps of a bar."""


class ProgressLogger:
    """Reports the progress of a long operation: a bar on a terminal, otherwise a line every ten seconds.

    Args:
        label: What the lines begin with: the stream, and more after a comma.
        unit: What is counted, in plural.
        logger: Receives the lines.
    """

    def __init__(self, label: str, unit: str, logger: logging.Logger) -> None:
        self.label, self.unit, self.logger = label, unit, logger
        self.started_at = self.logged_at = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            with contextlib.suppress(OSError):  # the terminal is gone
                self.bar.render_finish()
            for handler in logging.root.handlers:
                handler.removeFilter(end_line)

    def update(self, done: int, share: float | None = None) -> None:
        """Draw the bar, or log a line unless the last one is recent.

        Args:
            done: Number of units so far.
            share: Part of the whole that is done, from 0 to 1; None if unknown.
        """
        now = time.monotonic()
        elapsed = now - self.started_at
        # A bar needs a terminal that messages do not go to.
        if share and sys.stderr and sys.stderr.isatty() and not (sys.stdout and sys.stdout.isatty()):
            if elapsed > BAR_DELAY:
                with contextlib.suppress(OSError):  # the terminal is gone
                    self._draw(share)
        elif now - self.logged_at >= PROGRESS_INTERVAL:
            self.logged_at = now
            remaining = f", {share:.0%} of the file, {elapsed / share - elapsed:.0f} s left" if share else ""
            line = f"{self.label}: {done:,} {self.unit}{remaining}, {done / elapsed:,.0f} per second."
            self.logger.info("%s", line)

    def _draw(self, share: float) -> None:
        if not self.bar:
            title = f"{self.label.partition(',')[0]}, {self.unit}"
            self.bar = click.progressbar(length=STEPS, label=title, file=sys.stderr, width=BAR_WIDTH)
            for handler in logging.root.handlers:
                handler.addFilter(end_line)
        self.bar.update(int(share * STEPS) - self.bar.pos)


def end_line(_: logging.LogRecord) -> bool:
    """End the line of a bar, so that a log line has one to itself: a filter."""
    with contextlib.suppress(OSError):  # the terminal is gone
        click.echo(err=True)
    return True
