"""The stall detector: a trickle would never end."""

from __future__ import annotations

import time

MIN_RATE = 1024
"""Bytes per second below which a host counts as stalled."""
RATE_WINDOW = 60.0
"""Seconds over which the rate is measured."""


class RateMonitor:
    """Measures the rate of a transfer over windows of `RATE_WINDOW` seconds.

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
