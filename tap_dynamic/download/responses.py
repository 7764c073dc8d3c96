"""What a response of the file host is: the bytes that were asked for, or why not."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.errors import FileUnusable, TapError

if TYPE_CHECKING:
    import requests

EXPIRED = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
"""What stores answer to an expired URL: S3 400 or 403, others 401."""
NEUTRAL_ENCODINGS = {"", "identity", "gzip", "x-gzip", "utf-8", "utf8", "aws-chunked", "binary", "none"}
"""Values of `Content-Encoding` that leave the stored bytes as they are; gzip is recognised by its first bytes."""


class ChangedError(Exception):
    """The object in the store is not the one that was begun."""


def check_status(response: requests.Response, label: str) -> None:
    """Sort out the responses that have no part of a file.

    Args:
        response: The response of the file host.
        label: The file, for messages.

    Raises:
        RetriableAPIError: If another attempt may succeed.
        TapError: If not.
    """
    status = response.status_code
    retried = (*EXPIRED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    if status in retried or not 200 <= status < 500:  # noqa: PLR2004 (1xx: an informational one came first)
        msg = f"the file host answered {status}"
        raise RetriableAPIError(msg, response)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        msg = f"{label}: the proxy wants a password (407). Check the proxy settings."
        raise TapError(msg)


def check_encoding(response: requests.Response, label: str) -> None:
    """Refuse a body whose bytes are not those of the file.

    Raises:
        FileUnusable: If it is encoded.
    """
    transfer = response.headers.get("Transfer-Encoding", "chunked").strip().lower()
    encodings = {e.strip().lower() for e in response.headers.get("Content-Encoding", "").split(",")}
    for name, is_read in (
        ("Transfer-Encoding", transfer == "chunked"),
        ("Content-Encoding", encodings <= NEUTRAL_ENCODINGS),
    ):
        if not is_read:
            msg = f"{label}: the file has a {name} that the tap does not read. Make a new export."
            raise FileUnusable(msg)


def check_start(response: requests.Response, label: str, *, is_ranged: bool) -> None:
    """Verify that a first response starts with the first byte of the file.

    Args:
        response: The response.
        label: The file, for messages.
        is_ranged: Whether a range was requested.

    Raises:
        FileUnusable: If not: the file is not there.
    """
    is_first = response.status_code == HTTPStatus.PARTIAL_CONTENT and starts_at(response, 0)
    if response.status_code != HTTPStatus.OK and not (is_ranged and is_first):
        msg = f"{label}: the file host answered {response.status_code}: the file is not there. Make a new export."
        raise FileUnusable(msg)


def check_resumed(response: requests.Response, received: int, etag: str | None, size: int | None) -> None:
    """Verify that a response goes on where a download was cut.

    Args:
        response: The response to a ranged request.
        received: Bytes that are here.
        etag: The ETag that the object had.
        size: Its size in bytes, if it is known.

    Raises:
        ChangedError: If it is of another object, or does not start at the next byte.
    """
    now = size_of(response)
    is_same = response.headers.get("ETag") == etag and now in {None, size or now}
    if response.status_code != HTTPStatus.PARTIAL_CONTENT or not starts_at(response, received) or not is_same:
        raise ChangedError


def is_empty_object(response: requests.Response) -> bool:
    """Whether a range was refused because the object is empty."""
    return response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and size_of(response) == 0


def starts_at(response: requests.Response, position: int) -> bool:
    """Whether a body begins at a byte of the object, by its `Content-Range`."""
    return bool(response.headers.get("Content-Range", "").startswith(f"bytes {position}-"))


def size_of(response: requests.Response) -> int | None:
    """The whole object's size in bytes, from `Content-Range`."""
    found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d{1,18})", response.headers.get("Content-Range", ""), re.ASCII)
    return int(found[1]) if found else None


class LineRecorder:
    """Remembers the last line that `http.client` read of a chunked body, which takes a cut one for its end."""

    def __init__(self, file: Any) -> None:
        self.file, self.last = file, b""

    @classmethod
    def install(cls, response: requests.Response) -> LineRecorder:
        """Put a recorder before the socket of a response.

        Private in urllib3 and `http.client`, which take a cut size line (`0000`) for the last chunk.
        """
        raw: Any = response.raw._fp  # noqa: SLF001 (see above)
        raw.fp = recorder = cls(raw.fp)
        return recorder

    def __getattr__(self, name: str) -> Any:
        """Pass everything else on."""
        return getattr(self.file, name)

    def readline(self, limit: int = -1) -> bytes:
        """Read a line."""
        self.last = self.file.readline(limit)
        return bytes(self.last)

    @property
    def is_ended(self) -> bool:
        """Whether the blank line after the last chunk was read."""
        return self.last in {b"\r\n", b"\n"}
