"""What a response of the file host is: the bytes that were asked for, or why not."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.errors import FileUnusable, TapError
from tap_dynamic.http.failures import CHECK_PROXY, may_pass

if TYPE_CHECKING:
    import requests

EXPIRED = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.GONE)
"""What hosts answer to an expired URL: S3 400 or 403, others 401, nginx 410."""
NEUTRAL_ENCODINGS = {"", "identity", "gzip", "x-gzip", "utf-8", "utf8", "aws-chunked", "binary", "none"}
"""Values of `Content-Encoding` that leave the stored bytes as they are; gzip is recognised by its first bytes."""


class ChangedError(Exception):
    """The object in the store is not the one that was begun."""


class RangeIgnoredError(Exception):
    """A part was asked for on the condition that the object is the same, and the whole was answered."""


def check_status(response: requests.Response, label: str) -> None:
    """Sort out the responses that have no part of a file.

    Args:
        response: The response of the file host.
        label: The file, for messages.

    Raises:
        RetriableAPIError: If another attempt may succeed.
        FileUnusable: If the file is gone.
        TapError: If a proxy refused the request.
    """
    status = response.status_code
    if status in EXPIRED or may_pass(status):
        msg = f"the file host answered {status}"
        raise RetriableAPIError(msg, response)
    if status == HTTPStatus.NOT_FOUND:
        msg = f"{label}: the file host answered 404: the file is not there. Make a new export."
        raise FileUnusable(msg)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        msg = f"{label}: the proxy refused the request (407). {CHECK_PROXY}"
        raise TapError(msg)


def check_encoding(response: requests.Response, label: str) -> None:
    """Refuse a body whose bytes are not those of the file.

    Raises:
        FileUnusable: If it is encoded.
    """
    transfer = response.headers.get("Transfer-Encoding", "identity").strip().lower()
    encodings = {e.strip().lower() for e in response.headers.get("Content-Encoding", "").split(",")}
    for name, is_read in (
        ("Transfer-Encoding", transfer in {"chunked", "identity"}),
        ("Content-Encoding", encodings <= NEUTRAL_ENCODINGS),
    ):
        if not is_read:
            msg = f"{label}: the file has a {name} that the tap does not read. Make a new export."
            raise FileUnusable(msg)


def check_start(response: requests.Response, label: str) -> None:
    """Verify that a first response starts with the first byte of the file.

    Args:
        response: The response. A 206 starts with the first byte too, whether a range was asked for or not.
        label: The file, for messages.

    Raises:
        TapError: If not.
    """
    is_part = response.status_code == HTTPStatus.PARTIAL_CONTENT
    if is_part and not starts_at(response, 0):
        msg = f"{label}: the file host answered with another part of the file than its start. Run again later."
        raise TapError(msg)
    if not is_part and response.status_code != HTTPStatus.OK:
        msg = f"{label}: the file host answered {response.status_code} instead of the file. Make a new export."
        raise TapError(msg)


def check_resumed(response: requests.Response, received: int, etag: str | None, size: int | None) -> None:
    """Verify that a response continues where a download was cut.

    Args:
        response: The response to a ranged request.
        received: Bytes that are here.
        etag: The ETag that the object had.
        size: Its size in bytes, if it is known.

    Raises:
        RangeIgnoredError: If it has the whole object, or another one.
        ChangedError: If it is of another object, or does not start at the next byte.
    """
    if response.status_code == HTTPStatus.OK:
        raise RangeIgnoredError
    now = size_of(response)
    is_same = response.headers.get("ETag") == etag and now in {None, size or now}
    if response.status_code != HTTPStatus.PARTIAL_CONTENT or not starts_at(response, received) or not is_same:
        raise ChangedError


def is_end(response: requests.Response, received: int, etag: str | None) -> bool:
    """Whether a range was refused because the object ends where it would begin; an empty one begins there."""
    is_same = not received or response.headers.get("ETag") == etag
    is_refused = response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    return is_refused and size_of(response) == received and is_same


def starts_at(response: requests.Response, position: int) -> bool:
    """Whether a body begins at a byte of the object, by its `Content-Range`."""
    return bool(response.headers.get("Content-Range", "").startswith(f"bytes {position}-"))


def size_of(response: requests.Response) -> int | None:
    """The whole object's size in bytes, from `Content-Range`."""
    found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d{1,18})", response.headers.get("Content-Range", ""), re.ASCII)
    return int(found[1]) if found else None


def is_chunked(response: requests.Response) -> bool:
    """Whether the body is sent in chunks, the last of which shows its end."""
    return bool(response.headers.get("Transfer-Encoding", "").strip().lower() == "chunked")


def length_of(response: requests.Response) -> int | None:
    """Return the declared length of a body."""
    # A proxy may repeat the header (RFC 9110, 8.6).
    found = re.fullmatch(r"([0-9]{1,18})(?: *, *\1)*", response.headers.get("Content-Length", ""))
    return int(found[1]) if found and not is_chunked(response) else None
