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
    check_status,
    is_refused,
    stated_size,
)
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
MAX_MISMATCHES = 5
"""How often in a row another object may be answered: replicas of a host can have different ETags."""
MAX_REFUSED_PROBES = 2
"""How many requests for the size of a body in a row may be refused before it counts as never stated."""
MAX_CHANGED_PROBES = 2
"""After how many restarts a size counts whatever the ETag: a wrong size is never reached."""
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
        self.backoff = Backoff(f"The download of {part.label}", host_of(self.url), host.logger)
        self.restarts = self.refusals = self.mismatches = self.refused_probes = 0
        self.sends_if_range = True

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
                if part.read(response, self._probe_size, progress):
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
            if part.received and part.received == part.wanted:
                return True  # cut after the last byte
            error = caught
        self._recover(error, part.received - before)
        return False

    def _probe_size(self, etag: str | None) -> int | None:
        """Request one byte, whose response states the size of the object with that ETag; None if the host never does.

        A proxy may end a chunked body in good order although its source was cut. So the size is asked for there, too,
        and a request that failed for a reason that may pass is no answer.
        """
        with self.host.get(self.url, {"Range": "bytes=0-0"}, self.part.label) as probe:
            self.refusals = 0  # the URL was accepted a moment ago
            self.refused_probes = self.refused_probes + 1 if is_refused(probe) else 0
            if self.refused_probes > MAX_REFUSED_PROBES:
                return None
            if self.refused_probes:
                msg = f"the file host answered {probe.status_code} to a request for the size"
                raise RetriableAPIError(msg, probe)
            check_status(probe, self.part.label)
            return stated_size(probe, etag if self.restarts <= MAX_CHANGED_PROBES else None)

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
        # A trickle is not progress: it would never end.
        if isinstance(error, StalledError) or progress < MIN_PROGRESS:
            self.backoff.wait(error)
        else:
            self.backoff.reset()
            self.mismatches = 0
            self.host.logger.info("%s: cut after %s bytes, resuming.", part.label, f"{part.received:,}")
        if self.refusals:
            self.url = self.get_url()
        if part.received and part.etag is None:
            self._restart()

    def _restart(self) -> None:
        label = self.part.label
        if self.restarts >= MAX_RESTARTS:
            msg = f"{label}: restarted {MAX_RESTARTS} times, as the file changes or can't be resumed. Run again later."
            raise TapError(msg)
        self.host.logger.warning("%s: restarting the download.", label)
        self.part.clear()
        self.restarts += 1
        self.mismatches = 0
        self.backoff.reset()
