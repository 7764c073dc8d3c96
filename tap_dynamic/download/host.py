"""From a pre-signed URL to a verified local file: all of its bytes, or an error."""

from __future__ import annotations

import random
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.download.responses import (
    EXPIRED,
    ChangedError,
    LineRecorder,
    check_encoding,
    check_resumed,
    check_start,
    check_status,
    is_empty_object,
    size_of,
)
from tap_dynamic.errors import FileUnusable, TapError
from tap_dynamic.http.failures import failure_reason, host_of, status_of
from tap_dynamic.http.retry import Backoff
from tap_dynamic.http.session import new_session
from tap_dynamic.progress import MIN_RATE, RATE_WINDOW, ProgressLogger, RateMonitor
from tap_dynamic.tempfiles import disk_error, new_temporary_file

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

BLOCK = 1 << 18
"""Bytes that are read from the network at once, at most."""
MAX_RESTARTS = 10
"""How often a download starts over, because the object changed or can't be resumed."""
MAX_REDIRECTS = 5
MAX_REFUSALS = 3
"""How many fresh URLs in a row may be refused."""
RETRIED = (requests.RequestException, urllib3.exceptions.HTTPError, RetriableAPIError, ConnectionError)
"""Failures that a download survives: it resumes where it was cut."""


@dataclass(frozen=True)
class Head:
    """The first bytes of a file, as stored, and whether they are all of it."""

    data: bytes
    is_whole: bool


class FileHost:
    """The object store behind the pre-signed URLs. It never sees the API token.

    Args:
        user_agent: The `User-Agent`.
        timeout: Seconds to wait for a connection, and for the next byte.
        schemes: The schemes that are followed: https, and http where the API itself is.
        logger: Receives progress and warnings.
    """

    def __init__(
        self, *, user_agent: str, timeout: tuple[float, float], schemes: tuple[str, ...], logger: logging.Logger
    ) -> None:
        self.timeout, self.schemes, self.logger = timeout, schemes, logger
        self.session = new_session(user_agent)
        # An auth that does nothing keeps requests from looking into .netrc.
        self.session.auth = lambda request: request
        self.session.headers["Accept-Encoding"] = "identity"

    def fetch(self, get_url: Callable[[], str], label: str) -> IO[bytes]:
        """Download a file to an unlinked temporary file, however often it is cut.

        Args:
            get_url: Returns a fresh URL.
            label: The file, for messages.

        Returns:
            The whole file as the store holds it (gzip stays gzip), at its start.

        Raises:
            TapError: If the whole file can't be had.
        """
        file = new_temporary_file(label)
        try:
            _Download(self, get_url, label, file).run()
        except BaseException:
            file.close()
            raise
        return file

    def fetch_head(self, get_url: Callable[[], str], label: str, size: int) -> Head:
        """Download the first `size` bytes of a file, by a ranged request with the retries of a download.

        Raises:
            FileUnusable: If the file is gone.
            TapError: If it can't be had.
        """
        with new_temporary_file(label) as file:
            download = _Download(self, get_url, label, file, limit=size)
            download.run()
            file.seek(0)
            return Head(file.read(), is_whole=download.size is not None and download.size <= size)

    def get(self, url: str, headers: dict[str, str], label: str) -> requests.Response:
        """Send a GET and follow redirects, none of them to another scheme.

        Returns:
            The response, its body unread.

        Raises:
            FileUnusable: If the URL or a redirect can't be followed.
        """
        scheme = None
        for _ in range(MAX_REDIRECTS + 1):
            try:
                if scheme not in {None, urlsplit(url).scheme}:
                    msg = f"{label}: the file host redirects to another scheme, which is not followed."
                    raise FileUnusable(msg)
                scheme = urlsplit(url).scheme
                if scheme not in self.schemes:
                    msg = f"{label}: its URL is not {' or '.join(self.schemes)}, and is not followed."
                    raise FileUnusable(msg)
                response = self.session.get(
                    url, headers=headers, timeout=self.timeout, stream=True, allow_redirects=False
                )
                if not response.is_redirect:
                    return response
                response.close()
                url = urljoin(url, response.headers["Location"])
            except (requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema) as error:
                msg = f"{label}: {failure_reason(error, 'the file host')}. Check the proxy settings."
                raise TapError(msg) from None
            except ValueError:  # also of requests and urllib3
                msg = f"{label}: its URL, or a redirect of the file host, is malformed. Make a new export."
                raise FileUnusable(msg) from None
        msg = f"{label}: the file host redirects more than {MAX_REDIRECTS} times."
        raise TapError(msg)

    def probe_size(self, url: str, label: str, etag: str | None) -> int | None:
        """Request one byte, whose `Content-Range` gives the size of the object in bytes.

        Raises:
            RetriableAPIError: If the host answers with an error.
            ChangedError: If the object does not have the ETag.
        """
        with self.get(url, {"Range": "bytes=0-0"}, label) as probe:
            statuses = {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}
            if probe.status_code not in statuses:
                msg = f"the file host answered {probe.status_code}"
                raise RetriableAPIError(msg, probe)
            if etag and probe.headers.get("ETag") != etag:
                raise ChangedError
            return size_of(probe)


class _Download:
    """One file on its way: the bytes that are here, and how the end is known."""

    def __init__(
        self, host: FileHost, get_url: Callable[[], str], label: str, file: IO[bytes], limit: int | None = None
    ) -> None:
        self.host, self.get_url, self.label, self.file, self.limit = host, get_url, label, file, limit
        self.received, self.size, self.etag = 0, None, None  # type: int, int | None, str | None
        self.max_unsized = shutil.disk_usage(tempfile.gettempdir()).free * 95 // 100
        self.progress = ProgressLogger(label, "bytes downloaded", host.logger)

    def run(self) -> None:
        """Read until the file, or its first `limit` bytes, are here."""
        with self.progress:
            self._run()

    def _run(self) -> None:
        url, restarts, refusals = self.get_url(), 0, 0
        rate = RateMonitor()
        backoff = Backoff(f"The download of {self.label}", host_of(url), self.host.logger)
        while True:
            received = self.received
            try:
                if self._read(url):
                    return
                error: Exception = RetriableAPIError(f"the connection closed after {self.received:,} bytes")
            except ChangedError:
                restarts = self._restart(restarts)
                rate = RateMonitor()
                backoff.reset()
                continue
            except RETRIED as caught:
                if self.received and self.received == self.wanted:
                    return  # cut after the last byte
                error = caught
            refusals = refusals + 1 if status_of(error) in EXPIRED else 0
            if refusals > MAX_REFUSALS:
                status = status_of(error)
                msg = f"{self.label}: the file host refuses fresh URLs ({status}). Check the proxies on the way."
                raise TapError(msg)
            # A trickle is not progress: it would never end.
            if not rate.is_stalled(self.received) and self.received > received:
                backoff.reset()
                self.host.logger.info("%s: cut after %s bytes, resuming.", self.label, f"{self.received:,}")
                if self.received - received < MIN_RATE:
                    time.sleep(random.uniform(0, 0.2))  # noqa: S311 (jitter)
            else:
                backoff.wait(error)
            if refusals:
                url = self.get_url()
            if self.received and self.etag is None:
                restarts = self._restart(restarts)

    def _restart(self, restarts: int) -> int:
        if restarts >= MAX_RESTARTS:
            msg = f"{self.label}: restarted {MAX_RESTARTS} times, as the file changes or ranges fail. Run again later."
            raise TapError(msg)
        self.host.logger.warning("%s: restarting the download.", self.label)
        self.file.seek(0)
        self.file.truncate()
        self.received, self.size, self.etag = 0, None, None
        return restarts + 1

    @property
    def wanted(self) -> int | None:
        """Bytes that are wanted in all; None where the end is unknown."""
        if self.size is None or self.limit is None:
            return self.size
        return min(self.size, self.limit)

    def _read(self, url: str) -> bool:
        """Make one request for what is missing; return whether all of it is here."""
        headers = {"If-Range": self.etag} if self.received and self.etag else {}
        if self.received or self.limit:
            headers["Range"] = f"bytes={self.received}-{self.limit - 1 if self.limit else ''}"
        with self.host.get(url, headers, self.label) as response:
            is_chunked = response.headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
            lines = LineRecorder.install(response) if is_chunked else None
            if not self.received and is_empty_object(response):
                self.size = 0
                return True
            check_status(response, self.label)
            if self.received:
                check_resumed(response, self.received, self.etag, self.size)
            else:
                check_start(response, self.label, is_ranged=self.limit is not None)
            check_encoding(response, self.label)
            if not self.received:
                self._begin(response, url, is_chunked=is_chunked)
            is_full = self._receive(response)
        if self.wanted is not None and self.received > self.wanted:
            raise ChangedError
        if is_full or self.wanted is not None:
            return is_full or self.received == self.wanted
        if lines and lines.is_ended:  # the last chunk proves the end
            self.size = self.received
            return True
        if lines:
            return False
        msg = (
            f"{self.label}: the file host declares no length and does not support ranges, so it is unknown whether"
            " the file is whole. Make a new export."
        )
        raise TapError(msg)

    def _begin(self, response: requests.Response, url: str, *, is_chunked: bool) -> None:
        """Learn what identifies the object, and its size in bytes."""
        tag, length = response.headers.get("ETag", ""), response.headers.get("Content-Length", "")
        self.etag = tag if tag.startswith('"') else None  # a weak one does not prove equal bytes
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            self.size = size_of(response) or self.host.probe_size(url, self.label, self.etag)
        elif re.fullmatch(r"[0-9]{1,18}", length) and not is_chunked:
            self.size = int(length)
        else:
            try:
                self.size = self.host.probe_size(url, self.label, self.etag)
            except RETRIED:
                if not is_chunked:  # a chunked body shows its end
                    raise
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if self.wanted is not None and self.wanted > free:
            msg = (
                f"{self.label}: the file has {self.wanted:,} bytes, but only {free:,} are free for temporary files."
                " Make room, or set TMPDIR to a larger disk."
            )
            raise TapError(msg)

    def _receive(self, response: requests.Response) -> bool:
        """Store what arrives, each byte as soon as it is here; return whether the limit was reached."""
        rate = RateMonitor(self.received)
        while self.limit is None or self.received < self.limit:
            size = BLOCK if self.limit is None else min(BLOCK, self.limit - self.received)
            block = response.raw.read1(size, decode_content=False)
            if not block:
                return False
            self._store(block)
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
        self.progress.update(self.received, self.received / self.wanted if self.wanted else None)
