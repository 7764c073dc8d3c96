"""Backoff between the attempts of one operation."""

from __future__ import annotations

import random
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from tap_dynamic.errors import TapError, plural
from tap_dynamic.http.failures import explain, host_of

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
    """Exponential backoff with full jitter; `Retry-After` is a floor beneath it. Each wait is logged as a warning."""

    def __init__(self, operation: str, host: str, logger: logging.Logger) -> None:
        self.operation, self.host, self.logger = operation, host, logger
        self.reset()

    def reset(self) -> None:
        """Restore the full budget after progress."""
        self.attempts, self.waited = 0, 0.0

    def wait(self, error: Exception) -> None:
        """Sleep until the next attempt after a failure is due.

        Raises:
            TapError: If the budget is spent or another attempt can't help.
        """
        url = getattr(getattr(error, "request", None), "url", None)
        reason, advice = explain(error, host_of(url) if url else self.host)
        if advice:
            msg = f"{self.operation} failed: {reason}. {advice}"
            raise TapError(msg) from None
        self.attempts += 1
        response = getattr(error, "response", None)
        floor = 0.0 if response is None else retry_after(response)
        if floor > MAX_TOTAL_WAIT:
            reason += f" and asks to wait {floor:,.0f} seconds"
        seconds = max(floor, random.uniform(0, min(MAX_WAIT, 0.5 * 2**self.attempts)))  # noqa: S311 (jitter)
        if self.attempts >= MAX_ATTEMPTS or self.waited + seconds > MAX_TOTAL_WAIT:
            tried = plural(self.attempts, "attempt")
            msg = f"{self.operation} failed after {tried} (last error: {reason}). No data was lost; run again later."
            raise TapError(msg) from None
        self.logger.warning("%s: %s. Trying again in %.1f s.", self.operation, reason, seconds)
        time.sleep(seconds)
        self.waited += seconds


def retry_after(response: requests.Response) -> float:
    """Return the seconds of `Retry-After`, a number or a date (RFC 9110, 10.2.3); 0 without a valid one.

    A date counts from the response's own `Date`, because the clocks of the two machines may differ.
    """
    value = response.headers.get("Retry-After", "").strip()
    if seconds := re.fullmatch(r"([0-9]+)(?: *, *\1)*", value):  # a proxy may repeat the header
        return float(seconds[1])
    until = http_date(value)
    if until is None:
        return 0.0
    now = http_date(response.headers.get("Date", ""))
    return max(0.0, until - (time.time() if now is None else now))


def http_date(text: str) -> float | None:
    """Return the Unix time of a date in a header; None if it is not one."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):  # TypeError: Python 3.10, without a match
        return None
