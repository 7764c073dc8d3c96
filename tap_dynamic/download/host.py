"""The file host: redirects, and files as they are stored, whole or only their head."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.download.partial import PartialFile
from tap_dynamic.download.responses import ChangedError, size_of
from tap_dynamic.download.transfer import Transfer
from tap_dynamic.errors import TapError
from tap_dynamic.http.session import new_session, redirect_target
from tap_dynamic.tempfiles import new_temporary_file

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

MAX_REDIRECTS = 5
NOT_OF_URLS = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidSchema,
)
"""ValueErrors of requests that are not about the URL: of a response, or of the proxy."""


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

    def fetch_head(self, get_url: Callable[[], str], label: str, size: int) -> Head:
        """Download the first `size` bytes of a file, by a ranged request with the retries of a download.

        Raises:
            FileUnusable: If the file is gone.
            TapError: If it can't be had.
        """
        with new_temporary_file(label) as file:
            part = PartialFile(label, file, limit=size)
            Transfer(self, get_url, part).run()
            file.seek(0)
            return Head(file.read(), is_whole=part.size is not None and part.size <= size)

    def get(self, url: str, headers: Mapping[str, str], label: str) -> requests.Response:
        """Send a GET and follow redirects, none of them to another scheme.

        Returns:
            The response, its body unread.

        Raises:
            TapError: If the URL or a redirect can't be followed.
        """
        scheme = None
        for _ in range(MAX_REDIRECTS + 1):
            try:
                if scheme not in {None, urlsplit(url).scheme}:
                    msg = f"{label}: the file host redirects to another scheme, which is not followed."
                    raise TapError(msg)
                scheme = urlsplit(url).scheme
                if scheme not in self.schemes:
                    msg = f"{label}: its URL is not {' or '.join(self.schemes)}, and is not followed."
                    raise TapError(msg)
                response = self.session.open_url(url, headers, self.timeout)
                if not response.is_redirect:
                    return response
                response.close()
                url = redirect_target(response, url) or url
            except NOT_OF_URLS:
                raise
            except ValueError:  # also of requests and urllib3
                msg = f"{label}: its URL, or a redirect of the file host, is malformed. Make a new export."
                raise TapError(msg) from None
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
