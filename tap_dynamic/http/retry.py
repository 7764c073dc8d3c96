"""Backoff between the attempts of one operation."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from tap_dynamic.errors import TapError, plural
from tap_dynamic.http.failures import failure_reason, host_of, is_final

if TYPE_CHECKING:
    import logging

    import requests

MAX_ATTEMPTS = 8
"""Attempts without progress."""
MAX_TOTAL_WAIT = 600.0
"""Seconds: the longest sum of waits without progress."""
MAX_WAIT = 30.0
"""Seconds of one wait that no `Retry-After` asks for."""


class Backoff:
    """Honours `Retry-After`; otherwise exponential backoff with full jitter.

    Args:
        operation: What is attempted, the start of the messages.
        host: The host that is asked, for messages.
        logger: Receives a warning for each wait.
    """

    def __init__(self, operation: str, host: str, logger: logging.Logger) -> None:
        self.operation, self.host, self.logger = operation, host, logger
        self.reset()

    def reset(self) -> None:
        """Restore the full budget after progress."""
        self.attempts = 0
        self.waited = 0.0

    def wait(self, error: Exception) -> None:
        """Sleep until the next attempt is due.

        Args:
            error: Why the last attempt failed.

        Raises:
            TapError: If the budget is spent or another attempt can't help.
        """
        url = getattr(getattr(error, "request", None), "url", None)
        reason = failure_reason(error, host_of(url) if url else self.host)
        if is_final(error):
            msg = (
                f"{self.operation} failed: {reason}. Check api_url, the proxy and the CA certificates of this machine."
            )
            raise TapError(msg) from None
        self.attempts += 1
        response = getattr(error, "response", None)
        seconds = None if response is None else retry_after(response)
        if seconds is None:
            seconds = random.uniform(0, min(MAX_WAIT, 0.5 * 2**self.attempts))  # noqa: S311 (jitter)
        elif seconds > MAX_TOTAL_WAIT:
            reason += f" and asks to wait {seconds:,.0f} seconds"
        if self.attempts >= MAX_ATTEMPTS or self.waited + seconds > MAX_TOTAL_WAIT:
            tried = plural(self.attempts, "attempt")
            msg = f"{self.operation} failed after {tried} (last error: {reason}). No data was lost; run again later."
            raise TapError(msg) from None
        self.logger.warning("%s: %s. Trying again in %.1f s.", self.operation, reason, seconds)
        time.sleep(seconds)
        self.waited += seconds


def retry_after(response: requests.Response) -> float | None:
    """Return the seconds of `Retry-After`, a number or a date (RFC 9110, 10.2.3); None without a valid one."""
    value = response.headers.get("Retry-After", "").strip()
    try:
        return Retry().parse_retry_after(value) if value else None
    except (InvalidHeader, ValueError, OverflowError):
        return None
