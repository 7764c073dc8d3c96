"""From a pre-signed URL to a verified file: all of its bytes, or an error."""

from __future__ import annotations

import errno
import gzip
import re
import shutil
import tempfile
import zlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.client import Progress, Retries, TapError, status_of

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

BLOCK = 1 << 18
"""Bytes that are read from the network at once."""
RESTARTS = 10
"""How often a file is begun anew, because it changed or can't be resumed."""
REDIRECTS = 5
REFUSALS = 3
"""How many fresh URLs in a row may be refused."""

RETRIED = (requests.RequestException, urllib3.exceptions.HTTPError, RetriableAPIError, ConnectionError)
"""What a download survives: it goes on where it was cut."""


class _Restart(Exception):  # noqa: N818 (a turn, no error)
    """What the store holds is not what was begun."""


@dataclass
class FileHost:
    """The object store behind the pre-signed URLs. It never sees the API token.

    Args:
        agent: The `User-Agent`.
        timeout: Seconds to wait for a connection, and for the next byte.
        schemes: The schemes that are allowed: https, and http where the API itself is.
        logger: Where progress is told.
    """

    agent: str
    timeout: tuple[float, float]
    schemes: tuple[str, ...]
    logger: logging.Logger

    def __post_init__(self) -> None:
        """Open a session without credentials, also none of `.netrc`."""
        self.session = requests.Session()
        # An auth that does nothing keeps requests from looking into .netrc.
        self.session.auth = lambda request: request

    def head(self, url: str, size: int) -> bytes:
        """Read the first bytes of a file, by one ranged request.

        Args:
            url: The file's URL.
            size: Number of bytes.

        Returns:
            At most `size` bytes, as the store holds them.

        Raises:
            TapError: If they are not to be had.
        """
        try:
            with self.get(url, {"Range": f"bytes=0-{size - 1}"}, "The file") as response:
                if response.status_code >= HTTPStatus.BAD_REQUEST:
                    msg = f"the file host answered {response.status_code}"
                    raise TapError(msg)
                return bytes(response.raw.read(size, decode_content=False))
        except RETRIED as error:
            msg = f"the file host can't be read ({type(error).__name__})"
            raise TapError(msg) from None

    def fetch(self, get_url: Callable[[], str], what: str) -> IO[bytes]:
        """Download a file to an unlinked temporary file, however often it is cut.

        Args:
            get_url: Gives a fresh URL.
            what: The file, for messages.

        Returns:
            The whole file as the store holds it (gzip stays gzip), at its start.

        Raises:
            TapError: If the file can't be had whole.
        """
        spool = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        try:
            _Download(self, get_url, what, spool).run()
            _check_gzip(spool, what)
        except BaseException:
            spool.close()
            raise
        return spool

    def get(self, url: str, headers: dict[str, str], what: str) -> requests.Response:
        """Send a GET and follow redirects, none of them to another scheme.

        Args:
            url: A pre-signed URL.
            headers: Headers beside the usual ones.
            what: The file, for messages.

        Returns:
            The answer, its body unread.

        Raises:
            TapError: If the URL or a redirect leads where the tap does not go.
        """
        headers = {"User-Agent": self.agent, "Accept-Encoding": "identity", **headers}
        for _ in range(REDIRECTS):
            if urlsplit(url).scheme not in self.schemes:
                msg = f"{what}: its URL is none of {' or '.join(self.schemes)}, and is not followed."
                raise TapError(msg)
            response = self.session.get(url, headers=headers, timeout=self.timeout, stream=True, allow_redirects=False)
            if not response.is_redirect:
                return response
            response.close()
            target = urljoin(url, response.headers["Location"])
            if urlsplit(target).scheme != urlsplit(url).scheme:
                msg = f"{what}: the file host redirects to another scheme, which is not followed."
                raise TapError(msg)
            url = target
        msg = f"{what}: the file host redirects more than {REDIRECTS} times."
        raise TapError(msg)


class _Download:
    """One file on its way: what of it is here, and how its end is known."""

    def __init__(self, host: FileHost, get_url: Callable[[], str], what: str, spool: IO[bytes]) -> None:
        self.host, self.get_url, self.what, self.spool = host, get_url, what, spool
        self.logger = host.logger
        self.have = self.best = 0
        self.total: int | None = None
        self.etag: str | None = None
        self.restarts = 0
        self.progress = Progress(what, "bytes downloaded", host.logger)

    def run(self) -> None:
        """Read until the file is whole."""
        retries = Retries(f"The download of {self.what}", self.logger)
        url = self.get_url()
        while True:
            before = self.best
            try:
                if self._read(url):
                    return
                error: Exception = RetriableAPIError(f"the connection closed after {self.have} bytes")
            except _Restart:
                self._restart()
                continue
            except RETRIED as caught:
                error = caught
            refused = status_of(error) == HTTPStatus.FORBIDDEN
            if refused and retries.tries >= REFUSALS:
                msg = f"{self.what}: the file host refuses fresh URLs (403). Check the proxies on the way."
                raise TapError(msg)
            if self.best > before:
                retries.progress()
                self.logger.info("%s: cut after %s bytes, goes on from there.", self.what, f"{self.have:,}")
            else:
                retries.wait(error)
            if refused:
                url = self.get_url()
            if self.have and self.etag is None:
                self._restart()

    def _restart(self) -> None:
        self.restarts += 1
        if self.restarts > RESTARTS:
            msg = f"{self.what}: begun anew {RESTARTS} times, as the file changes or ranges fail. Run again later."
            raise TapError(msg)
        self.logger.warning("%s: the file is begun anew.", self.what)
        self.spool.seek(0)
        self.spool.truncate()
        self.have, self.total, self.etag = 0, None, None

    def _read(self, url: str) -> bool:
        """Make one request for what is missing.

        Returns:
            Whether the file is whole.
        """
        headers = {"Range": f"bytes={self.have}-", "If-Range": self.etag or ""} if self.have else {}
        with self.host.get(url, headers, self.what) as response:
            self._check(response)
            length = response.headers.get("Content-Length", "")
            chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
            if not self.have:
                tag = response.headers.get("ETag", "")
                self.etag = tag if tag.startswith('"') else None  # a weak one does not prove equal bytes
                self.total = int(length) if length.isdecimal() and not chunked else self._learn_length(url)
                self._check_disk()
            for block in response.raw.stream(BLOCK, decode_content=False):
                self._write(block)
        if self.total is None:
            # Only the last chunk's mark proves an end that nobody has declared.
            if chunked:
                return True
            msg = (
                f"{self.what}: the file host declares no length and knows no ranges, so nobody can tell whether"
                " the file is whole. Ask for a new export."
            )
            raise TapError(msg)
        if self.have > self.total:
            raise _Restart
        return self.have == self.total

    def _check(self, response: requests.Response) -> None:
        """Sort out the answers that are not the bytes that were asked for."""
        status = response.status_code
        retried = (HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
        if status in retried or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            msg = f"the file host answered {status}"
            raise RetriableAPIError(msg, response)
        if self.have:
            expected = f"bytes {self.have}-"
            span = response.headers.get("Content-Range", "")
            total = _total(span)
            if (
                status != HTTPStatus.PARTIAL_CONTENT
                or not span.startswith(expected)
                or response.headers.get("ETag", self.etag) != self.etag
                or (total is not None and self.total is not None and total != self.total)
            ):
                raise _Restart
            self.total = self.total or total
        elif status != HTTPStatus.OK:
            msg = f"{self.what}: the file host answered {status}: the file is not there. Ask for a new export."
            raise TapError(msg)
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in {"", "identity", "gzip", "x-gzip"}:
            msg = f"{self.what}: the file is encoded as {encoding}, which the tap does not read."
            raise TapError(msg)

    def _learn_length(self, url: str) -> int | None:
        """Ask for one byte, to be told of how many."""
        with self.host.get(url, {"Range": "bytes=0-0"}, self.what) as probe:
            if probe.status_code not in {
                HTTPStatus.OK,
                HTTPStatus.PARTIAL_CONTENT,
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            }:
                msg = f"the file host answered {probe.status_code}"
                raise RetriableAPIError(msg, probe)
            if probe.headers.get("ETag", self.etag) != self.etag and self.etag:
                raise _Restart
            return _total(probe.headers.get("Content-Range", ""))

    def _check_disk(self) -> None:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if self.total is not None and self.total > free:
            msg = (
                f"{self.what}: the file has {self.total:,} bytes, but only {free:,} are free for temporary files."
                " Make room, or set TMPDIR to a larger disk."
            )
            raise TapError(msg)

    def _write(self, block: bytes) -> None:
        try:
            self.spool.write(block)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise
            msg = f"{self.what}: no room for temporary files. Make room, or set TMPDIR to a larger disk."
            raise TapError(msg) from None
        self.have += len(block)
        self.best = max(self.best, self.have)
        self.progress.tell(self.have, self.have / self.total if self.total else None)


def _check_gzip(spool: IO[bytes], what: str) -> None:
    """Prove the checksum of a gzip file before a row of it is believed."""
    spool.seek(0)
    if spool.read(2) == b"\x1f\x8b":
        spool.seek(0)
        try:
            with gzip.GzipFile(fileobj=spool) as file:
                while file.read(BLOCK):
                    pass
        except (OSError, EOFError, zlib.error):
            msg = f"{what}: damaged gzip data. Ask for a new export."
            raise TapError(msg) from None
    spool.seek(0)


def _total(content_range: str) -> int | None:
    """The whole file's length in bytes, from a `Content-Range`."""
    found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", content_range)
    return int(found[1]) if found else None
