"""One file on its way: requests, resumes and restarts until all of its bytes are here."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import IO, TYPE_CHECKING

from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.download.rate import MIN_RATE, RATE_WINDOW, RateMonitor
from tap_dynamic.download.responses import (
    EXPIRED,
    ChangedError,
    RangeIgnoredError,
    check_encoding,
    check_resumed,
    check_start,
    check_status,
    is_chunked,
    is_end,
    length_of,
    size_of,
)
from tap_dynamic.errors import FileUnusable, TapError
from tap_dynamic.http.failures import RETRIED, host_of, status_of
from tap_dynamic.http.retry import Backoff
from tap_dynamic.progress import ProgressLogger
from tap_dynamic.tempfiles import disk_error

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from tap_dynamic.download.host import FileHost

READ_SIZE = 1 << 18
"""Bytes that are read from the network at once, at most."""
MAX_RESTARTS = 10
"""How often a download starts over, because the object changed or can't be resumed."""
MAX_MISMATCHES = 5
"""How often in a row another object may be answered: replicas of a host can have different ETags."""
MAX_REFUSALS = 3
"""How many fresh URLs in a row may be refused."""


@dataclass
class Transfer:
    """One file on its way: the bytes that are here, and how its end is known.

    Args:
        host: The file host.
        get_url: Returns a fresh URL.
        label: The file, for messages.
        file: Receives the bytes.
        limit: Only so many bytes are wanted.
    """

    host: FileHost
    get_url: Callable[[], str]
    label: str
    file: IO[bytes]
    limit: int | None = None
    received: int = field(default=0, init=False)
    size: int | None = field(default=None, init=False)
    etag: str | None = field(default=None, init=False)
    url: str = field(default="", init=False)
    restarts: int = field(default=0, init=False)
    refusals: int = field(default=0, init=False)
    mismatches: int = field(default=0, init=False)
    is_conditional: bool = field(default=True, init=False)
    """Whether a resume sends `If-Range`."""
    rate: RateMonitor = field(default_factory=RateMonitor, init=False)

    @property
    def wanted(self) -> int | None:
        """Bytes that are wanted in all; None where the end is unknown."""
        if self.size is None or self.limit is None:
            return self.size
        return min(self.size, self.limit)

    def run(self) -> None:
        """Request the file, however often it is cut.

        Raises:
            FileUnusable: If the file is gone.
            TapError: If it can't be had.
        """
        self.url = self.get_url()
        backoff = Backoff(f"The download of {self.label}", host_of(self.url), self.host.logger)
        with ProgressLogger(self.label, "bytes downloaded", self.host.logger) as progress:
            while not self._attempt(backoff, progress):
                pass

    def _attempt(self, backoff: Backoff, progress: ProgressLogger) -> bool:
        """Make one request, and prepare the next one; return whether all that is wanted is here."""
        before = self.received
        try:
            if self._read(progress):
                return True
            error: Exception = RetriableAPIError(f"the connection closed after {self.received:,} bytes")
        except RangeIgnoredError:
            # Some hosts answer 200 to `If-Range`. The ETag of a 206 proves the object as well.
            if self.is_conditional and self.etag:
                self.is_conditional = False
            else:
                self._restart(backoff)
            return False
        except ChangedError:
            self.mismatches += 1
            if self.mismatches > MAX_MISMATCHES or self.received > (self.wanted or self.received):
                self._restart(backoff)
            return False
        except RETRIED as caught:
            if self.received and self.received == self.wanted:
                return True  # cut after the last byte
            error = caught
        self._count_refusals(status_of(error))
        self._wait(backoff, error, before)
        if self.refusals:
            self.url = self.get_url()
        if self.received and self.etag is None:
            self._restart(backoff)
        return False

    def _count_refusals(self, status: int | None) -> None:
        self.refusals = self.refusals + 1 if status in EXPIRED else 0
        if status == HTTPStatus.GONE and self.refusals > 1:
            msg = f"{self.label}: the file host answered 410 to a fresh URL: the file is gone. Make a new export."
            raise FileUnusable(msg)
        if self.refusals > MAX_REFUSALS:
            msg = f"{self.label}: the file host refuses fresh URLs ({status}). Check the proxies on the way."
            raise TapError(msg)

    def _wait(self, backoff: Backoff, error: Exception, before: int) -> None:
        # A trickle is not progress: it would never end.
        if self.rate.is_stalled(self.received) or self.received <= before:
            backoff.wait(error)
            return
        backoff.reset()
        self.host.logger.info("%s: cut after %s bytes, resuming.", self.label, f"{self.received:,}")
        if self.received - before < MIN_RATE:
            time.sleep(random.uniform(0, 0.2))  # noqa: S311 (jitter)

    def _restart(self, backoff: Backoff) -> None:
        if self.restarts >= MAX_RESTARTS:
            msg = f"{self.label}: restarted {MAX_RESTARTS} times, as the file changes or ranges fail. Run again later."
            raise TapError(msg)
        self.host.logger.warning("%s: restarting the download.", self.label)
        self.file.seek(0)
        self.file.truncate()
        self.received, self.size, self.etag, self.mismatches = 0, None, None, 0
        self.restarts += 1
        self.rate = RateMonitor()
        backoff.reset()

    def _read(self, progress: ProgressLogger) -> bool:
        """Make one request for what is missing; return whether all of it is here."""
        with self.host.get(self.url, self._headers(), self.label) as response:
            if is_end(response, self.received, self.etag):
                self.size = self.received
                return True
            check_status(response, self.label)
            if self.received:
                check_resumed(response, self.received, self.etag, self.size)
                self.size, self.mismatches = self.size or size_of(response), 0
            else:
                check_start(response, self.label)
            check_encoding(response, self.label)
            if not self.received:
                self._begin(response)
            is_full = self._receive(response, progress)
        if self.wanted is not None and self.received > self.wanted:
            raise ChangedError
        if is_full or self.wanted is not None:
            return is_full or self.received == self.wanted
        if response.status_code == HTTPStatus.OK and not is_chunked(response):
            msg = (
                f"{self.label}: the file host declares no length and does not support ranges, so it is unknown whether"
                " the file is whole. Make a new export."
            )
            raise TapError(msg)
        if response.status_code == HTTPStatus.OK:  # the last chunk proves the end
            self.size = self.received
        return self.size is not None

    def _headers(self) -> dict[str, str]:
        headers = {"If-Range": self.etag} if self.received and self.etag and self.is_conditional else {}
        if self.received or self.limit:
            headers["Range"] = f"bytes={self.received}-{self.limit - 1 if self.limit else ''}"
        return headers

    def _begin(self, response: requests.Response) -> None:
        """Learn what identifies the object, and its size in bytes."""
        tag, is_part = response.headers.get("ETag", ""), response.status_code == HTTPStatus.PARTIAL_CONTENT
        self.etag = tag if tag.startswith('"') else None  # a weak one does not prove equal bytes
        self.size = size_of(response) if is_part else length_of(response)
        if self.size is None:
            try:
                self.size = self.host.probe_size(self.url, self.label, self.etag)
            except RETRIED:
                if not is_chunked(response):  # a chunked body shows its end
                    raise
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if self.wanted is not None and self.wanted > free:
            msg = (
                f"{self.label}: the file has {self.wanted:,} bytes, but only {free:,} are free for temporary files."
                " Make room, or set TMPDIR to a larger disk."
            )
            raise TapError(msg)
        self.max_unsized = free * 95 // 100

    def _receive(self, response: requests.Response, progress: ProgressLogger) -> bool:
        """Store what arrives, each byte as soon as it is here; return whether the limit was reached."""
        rate = RateMonitor(self.received)
        while self.limit is None or self.received < self.limit:
            size = READ_SIZE if self.limit is None else min(READ_SIZE, self.limit - self.received)
            block = response.raw.read1(size, decode_content=False)
            if not block:
                return False
            self._store(block)
            progress.update(self.received, self.received / self.wanted if self.wanted else None)
            if rate.is_stalled(self.received):
                msg = f"the file host sent less than {MIN_RATE:,} bytes per second for {RATE_WINDOW:.0f} s"
                raise RetriableAPIError(msg)
        return True

    def _store(self, block: bytes) -> None:
        try:
            self.file.write(block)
            self.file.flush()
        except OSError as error:
            raise disk_error(self.label, error) from None
        self.received += len(block)
        if self.size is None and self.received > self.max_unsized:
            msg = f"{self.label}: a file without a declared length nearly fills the disk. Set TMPDIR to a larger one."
            raise TapError(msg)
