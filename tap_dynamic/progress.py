"""Progress of long operations: log lines, and whether there is any."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

PROGRESS_INTERVAL = 10.0
"""Seconds between two lines."""
MIN_RATE = 1024
"""Bytes per second below which a host counts as stalled."""
RATE_WINDOW = 60.0
"""Seconds over which the rate is measured."""


class ProgressLogger:
    """Logs the progress of a long operation every `PROGRESS_INTERVAL` seconds.

    Args:
        label: What the lines begin with.
        unit: What is counted, in plural.
        logger: Receives the lines.
    """

    def __init__(self, label: str, unit: str, logger: logging.Logger) -> None:
        self.label, self.unit, self.logger = label, unit, logger
        self.started_at = self.logged_at = time.monotonic()

    def update(self, done: int, share: float | None = None) -> None:
        """Log a line, unless the last one is recent.

        Args:
            done: Number of units so far.
            share: Part of the whole that is done, from 0 to 1; None if unknown.
        """
        now = time.monotonic()
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
