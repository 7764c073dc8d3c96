"""The file host: files as they are stored, whole or only their head, however often the connection is cut."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.download.partial import PartialFile, StalledError
from tap_dynamic.download.responses import (
    EXPIRED,
    ChangedError,
    RangeIgnoredError,
    is_chunked,
    is_packed,
)
from tap_dynamic.download.size import MAX_MISMATCHES, ask_size
from tap_dynamic.errors import FileUnusable, TapError
from tap_dynamic.http.failures import RETRIED, host_of, status_of
from tap_dynamic.http.retry import Backoff
from tap_dynamic.http.session import new_session, redirect_target
from tap_dynamic.progress import ProgressLogger
from tap_dynamic.tempfiles import new_temporary_file

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection, Mapping

    import requests

MAX_REDIRECTS = 5
MAX_RESTARTS = 10
"""How often a download starts over, because the object changed or can't be resumed."""
MAX_REFUSALS = 3
"""How many fresh URLs in a row may be refused."""
MIN_PROGRESS = 1024
"""Bytes of an attempt that restore the budget of attempts."""


class FileHost:
    """The object store behind the pre-signed URLs. It never sees the API token."""

    def __init__(
        self, *, user_agent: str, timeout: tuple[float, float], schemes: tuple[str, ...], logger: logging.Logger
    ) -> None:
        self.timeout, self.schemes, self.logger = timeout, schemes, logger
        self.session = new_session(user_agent)
        # An auth that does nothing keeps requests from looking into .netrc.
        self.session.auth = lambda request: request
        self.session.headers["Accept-Encoding"] = "identity"

    def fetch(self, get_url: Callable[[], str], label: str) -> IO[bytes]:
        """Download a file to an unlinked temporary file, however often it is cut; `get_url` returns a fresh URL.

        Returns:
            The whole file as the store holds it (gzip stays gzip), at its start.

        Raises:
            FileUnusable: If the file is gone.
            TapError: If the whole file can't be had.
        """
        file = new_temporary_file(label)
        try:
            Transfer(self, get_url, PartialFile(label, file)).run()
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def fetch_head(self, get_url: Callable[[], str], label: str, size: int) -> tuple[bytes, bool]:
        """Download the first `size` bytes of a file, as `fetch` does; return them, and whether they are all of it."""
        with new_temporary_file(label) as file:
            part = PartialFile(label, file, limit=size)
            Transfer(self, get_url, part).run()
            file.seek(0)
            return file.read(), part.size is not None and part.size <= size

    def get(self, url: str, headers: Mapping[str, str], label: str) -> requests.Response:
        """Send a GET and follow redirects, none of them to another scheme; the body is not read yet.

        Raises:
            TapError: If the URL or a redirect can't be followed.
        """
        schemes: Collection[str] = self.schemes
        for _ in range(MAX_REDIRECTS + 1):
            request = self._prepare(url, headers, schemes, label)
            response = self.session.send(request, timeout=self.timeout, stream=True)
            location = redirect_target(response, url)
            if not location:
                return response
            response.close()
            url, schemes = location, {urlsplit(url).scheme}
        msg = f"{label}: the file host redirects more than {MAX_REDIRECTS} times."
        raise TapError(msg)

    def _prepare(
        self, url: str, headers: Mapping[str, str], schemes: Collection[str], label: str
    ) -> requests.PreparedRequest:
        with contextlib.suppress(ValueError):  # also of requests
            if urlsplit(url).scheme in schemes:
                return self.session.prepare_url(url, headers)
        msg = (
            f"{label}: its URL, or a redirect of the file host, is malformed or not {' or '.join(schemes)}."
            " Make a new export."
        )
        raise TapError(msg)


class Transfer:
    """The requests of one download."""

    def __init__(self, host: FileHost, get_url: Callable[[], str], part: PartialFile) -> None:
        self.host, self.get_url, self.part = host, get_url, part
        self.url = get_url()
        self.backoff = self._new_backoff()
        self.restarts = self.refusals = self.mismatches = 0
        self.sends_if_range = True
        self.gzip_end: int | None = None
        """Where gzip ended early the last time."""

    def run(self) -> None:
        """Request the file until all of it that is wanted is here."""
        with ProgressLogger(self.part.label, "bytes downloaded", self.host.logger) as progress:
            while not self._attempt(progress):
                pass

    def _attempt(self, progress: ProgressLogger) -> bool:
        """Make one request, and prepare the next one; return whether all that is wanted is here."""
        part, before = self.part, self.part.received
        headers = part.headers(is_conditional=self.sends_if_range)
        try:
            with self.host.get(self.url, headers, part.label) as response:
                part.read(response, progress)
            if part.is_here or (part.size is None and self._is_whole(response)):
                return True
            error: Exception = RetriableAPIError(f"the connection closed after {part.received:,} bytes")
        except RangeIgnoredError:
            # Some hosts answer 200 to `If-Range`. The ETag of a 206 proves the object as well.
            if self.sends_if_range:
                self.sends_if_range = False
            else:
                self._restart()
            return False
        except ChangedError:
            self.mismatches += 1
            if not part.received or self.mismatches > MAX_MISMATCHES:
                self._restart()
            return False
        except RETRIED as caught:
            if part.is_here:
                return True  # cut after the last byte
            error = caught
        self._recover(error, part.received - before)
        return False

    def _probe(self) -> requests.Response:
        """Request the first byte, whose response can state the size of the object."""
        return self.host.get(self.url, {"Range": "bytes=0-0"}, self.part.label)

    def _renew_url(self) -> None:
        """Get a fresh URL."""
        self.url = self.get_url()

    def _new_backoff(self) -> Backoff:
        return Backoff(f"The download of {self.part.label}", host_of(self.url), self.host.logger)

    def _is_whole(self, response: requests.Response) -> bool:
        """Whether a body without a declared size, which ended in good order, is all of the object.

        A proxy may end a body so although its source was cut. So the host is asked, and the last chunk counts only
        where it does not say. What was packed on the way has another size than the object, but shows its own end.

        Raises:
            TapError: If that can't be known.
        """
        part, is_gzip = self.part, self.part.is_gzip()
        if not (is_gzip and is_packed(part.first) and is_chunked(response)):
            size = ask_size(part, self._probe, self._renew_url, self._new_backoff())
            if size is not None and size >= part.received:  # a smaller one is not credible
                part.size = size
                return part.is_here
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                return False  # the end of a part is not that of the object
            if not is_chunked(response):
                msg = (
                    f"{part.label}: the file host declares no length and does not support ranges, so it is unknown"
                    " whether the file is whole. Make a new export."
                )
                raise TapError(msg)
        # Where it ends early in the same place again, the store holds it so, and its reader says that it is damaged.
        if is_gzip and self.gzip_end != part.received and part.is_cut_gzip():
            self.gzip_end, part.etag = part.received, None
            return False
        part.size = part.received
        return True

    def _recover(self, error: Exception, progress: int) -> None:
        """Prepare the attempt after one that failed, and brought `progress` bytes."""
        part, status = self.part, status_of(error)
        self.refusals = self.refusals + 1 if status in EXPIRED else 0
        if self.refusals > MAX_REFUSALS:
            msg = (
                f"{part.label}: the file host refuses fresh URLs ({status}). The file is gone, or a proxy alters them."
                " Make a new export. If that fails too, check the proxies on the way."
            )
            # S3 answers 403 for an object that is gone to those who may not list the bucket.
            raise (FileUnusable if status in {HTTPStatus.GONE, HTTPStatus.FORBIDDEN} else TapError)(msg)
        must_restart = part.received and part.etag is None
        # A trickle is not progress: it would never end.
        if isinstance(error, StalledError) or progress < MIN_PROGRESS or must_restart:
            self.backoff.wait(error)
        else:
            self.backoff.reset()
            self.mismatches = 0
            self.host.logger.info("%s: cut after %s bytes, resuming.", part.label, f"{part.received:,}")
        if self.refusals:
            self._renew_url()
        if must_restart:
            self._restart()

    def _restart(self) -> None:
        label = self.part.label
        if self.restarts >= MAX_RESTARTS:
            msg = f"{label}: restarted {MAX_RESTARTS} times, as the file changes or can't be resumed. Run again later."
            raise TapError(msg)
        self.host.logger.warning("%s: restarting the download.", label)
        if self.part.etag:  # another object, not the same again
            self.backoff.reset()
        self.part.clear()
        self.restarts += 1
        self.mismatches = 0
