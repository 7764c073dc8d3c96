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
ADVICE = {
    404: "the file host answered 404: the file is not there. Make a new export.",
    407: f"the proxy refused the request (407). {CHECK_PROXY}",
}
NEUTRAL_ENCODINGS = {"", "identity", "utf-8", "utf8", "aws-chunked", "binary", "none"}
"""Values of `Content-Encoding` that leave the stored bytes as they are."""
GZIP_ENCODINGS = {"gzip", "x-gzip"}
"""Read as well: gzip is recognised by its first bytes."""


class ChangedError(Exception):
    """The object in the store is not the one that was begun."""


class RangeIgnoredError(ChangedError):
    """The whole object was answered where a part was asked for."""


def check_status(response: requests.Response, label: str) -> None:
    """Raise an error if a response can't be about the bytes of a file.

    Raises:
        RetriableAPIError: If another attempt may succeed.
        FileUnusable: If the file is gone.
        TapError: If it is any other status than those of a file or a range.
    """
    status = response.status_code
    if status in EXPIRED or may_pass(status):
        msg = f"the file host answered {status}"
        raise RetriableAPIError(msg, response)
    if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}:
        problem = ADVICE.get(status, f"the file host answered {status} instead of the file. Make a new export.")
        msg = f"{label}: {problem}"
        raise (FileUnusable if status == HTTPStatus.NOT_FOUND else TapError)(msg)


def check_part(response: requests.Response, received: int, etag: str | None, size: int | None) -> None:
    """Verify that a response continues after the bytes that were received of an object.

    Raises:
        RangeIgnoredError: If it has the whole object, or another one.
        ChangedError: If it does not start at the next byte, or is of an object of another ETag or size.
    """
    if response.status_code == HTTPStatus.OK:
        if received:
            raise RangeIgnoredError
        return
    is_next = response.headers.get("Content-Range", "").startswith(f"bytes {received}-")
    is_same = response.headers.get("ETag") == etag and size_of(response) in {None, size or size_of(response)}
    if not is_next or (received and not is_same):
        raise ChangedError


def check_encoding(response: requests.Response, label: str) -> None:
    """Raise `FileUnusable` if the bytes of a body are not those of the file."""
    transfer = response.headers.get("Transfer-Encoding", "identity").strip().lower()
    if transfer not in {"chunked", "identity"} or not encodings_of(response) <= NEUTRAL_ENCODINGS | GZIP_ENCODINGS:
        msg = f"{label}: the file has an encoding that the tap does not read. Make a new export."
        raise FileUnusable(msg)


def encodings_of(response: requests.Response) -> set[str]:
    """Return the values of `Content-Encoding`."""
    return {e.strip().lower() for e in response.headers.get("Content-Encoding", "").split(",")}


def is_packed(response: requests.Response) -> bool:
    """Whether the body may have been packed on the way, and so have another size than the object."""
    return not encodings_of(response) <= NEUTRAL_ENCODINGS


def strong_etag(response: requests.Response) -> str | None:
    """Return the ETag; None without one, or if it is a weak one, which does not prove equal bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else None


def is_end(response: requests.Response, received: int, etag: str | None) -> bool:
    """Whether a range was refused because the object ends where it would begin; an empty one begins there."""
    is_refused = response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    is_same = not received or response.headers.get("ETag") == etag
    return is_refused and is_same and size_of(response) == received


def size_of(response: requests.Response) -> int | None:
    """Return the size of the whole object in bytes, from `Content-Range`."""
    found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d{1,18})", response.headers.get("Content-Range", ""), re.ASCII)
    return int(found[1]) if found else None


def is_chunked(response: requests.Response) -> bool:
    """Whether the body is sent in chunks, the last of which shows its end."""
    return response.headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
