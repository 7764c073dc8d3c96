"""One download: requests, resumes and restarts until the file is here."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.download.rate import MIN_RATE, RateMonitor
from tap_dynamic.download.responses import EXPIRED, ChangedError, RangeIgnoredError
from tap_dynamic.errors import FileUnusable, TapError
from tap_dynamic.http.failures import RETRIED, host_of, status_of
from tap_dynamic.http.retry import Backoff
from tap_dynamic.progress import ProgressLogger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_dynamic.download.host import FileHost
    from tap_dynamic.download.partial import PartialFile

MAX_RESTARTS = 10
"""How often a download starts over, because the object changed or can't be resumed."""
MAX_MISMATCHES = 5
"""How often in a row another object may be answered: replicas of a host can have different ETags."""
MAX_REFUSALS = 3
"""How many fresh URLs in a row may be refused."""


@dataclass
class Transfer:
    """The requests of one download.

    Args:
        host: The file host.
        get_url: Returns a fresh URL.
        part: What is here of the file.
    """

    host: FileHost
    get_url: Callable[[], str]
    part: PartialFile
    url: str = field(default="", init=False)
    restarts: int = field(default=0, init=False)
    refusals: int = field(default=0, init=False)
    mismatches: int = field(default=0, init=False)
    is_conditional: bool = field(default=True, init=False)
    """Whether a resume sends `If-Range`."""
    rate: RateMonitor = field(default_factory=RateMonitor, init=False)

    def run(self) -> None:
        """Request the file, however often it is cut.

        Raises:
            FileUnusable: If the file is gone.
            TapError: If it can't be had.
        """
        label, logger = self.part.label, self.host.logger
        self.url = self.get_url()
        backoff = Backoff(f"The download of {label}", host_of(self.url), logger)
        with ProgressLogger(label, "bytes downloaded", logger) as progress:
            while not self._attempt(backoff, progress):
                pass

    def _attempt(self, backoff: Backoff, progress: ProgressLogger) -> bool:
        """Make one request, and prepare the next one; return whether all that is wanted is here."""
        part, before = self.part, self.part.received
        try:
            if self._read(progress):
                return True
            error: Exception = RetriableAPIError(f"the connection closed after {part.received:,} bytes")
        except RangeIgnoredError:
            # Some hosts answer 200 to `If-Range`. The ETag of a 206 proves the object as well.
            if self.is_conditional and part.etag:
                self.is_conditional = False
            else:
                self._restart(backoff)
            return False
        except ChangedError:
            self.mismatches += 1
            is_beyond = part.wanted is not None and part.received > part.wanted
            if not part.received or is_beyond or self.mismatches > MAX_MISMATCHES:
                self._restart(backoff)
            return False
        except RETRIED as caught:
            if part.received and part.received == part.wanted:
                return True  # cut after the last byte
            error = caught
        self._count_refusals(status_of(error))
        self._wait(backoff, error, before)
        if self.refusals:
            self.url = self.get_url()
        if part.received and part.etag is None:
            self._restart(backoff)
        return False

    def _read(self, progress: ProgressLogger) -> bool:
        headers, before = self.part.headers(is_conditional=self.is_conditional), self.part.received
        try:
            with self.host.get(self.url, headers, self.part.label) as response:
                return self.part.read(response, self._probe, progress)
        finally:
            if self.part.received > before:
                self.mismatches = 0

    def _probe(self, etag: str | None) -> int | None:
        return self.host.probe_size(self.url, self.part.label, etag)

    def _count_refusals(self, status: int | None) -> None:
        self.refusals = self.refusals + 1 if status in EXPIRED else 0
        if status == HTTPStatus.GONE and self.refusals > 1:
            msg = f"{self.part.label}: the file host answered 410 to a fresh URL: the file is gone. Make a new export."
            raise FileUnusable(msg)
        if self.refusals > MAX_REFUSALS:
            msg = f"{self.part.label}: the file host refuses fresh URLs ({status}). Check the proxies on the way."
            raise TapError(msg)

    def _wait(self, backoff: Backoff, error: Exception, before: int) -> None:
        received = self.part.received
        # A trickle is not progress: it would never end.
        if self.rate.is_stalled(received) or received <= before:
            backoff.wait(error)
            return
        backoff.reset()
        self.host.logger.info("%s: cut after %s bytes, resuming.", self.part.label, f"{received:,}")
        if received - before < MIN_RATE:
            time.sleep(random.uniform(0, 0.2))  # noqa: S311 (jitter)

    def _restart(self, backoff: Backoff) -> None:
        label = self.part.label
        if self.restarts >= MAX_RESTARTS:
            msg = f"{label}: restarted {MAX_RESTARTS} times, as the file changes or ranges fail. Run again later."
            raise TapError(msg)
        self.host.logger.warning("%s: restarting the download.", label)
        self.part.clear()
        self.restarts += 1
        self.mismatches, self.rate = 0, RateMonitor()
        backoff.reset()
