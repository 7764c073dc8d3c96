"""The size of an object whose body declares none: what the host says to a request for its first byte."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.download.responses import EXPIRED, is_packed, size_of, strong_etag
from tap_dynamic.errors import TapError
from tap_dynamic.http.failures import RETRIED, may_pass

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from tap_dynamic.download.partial import PartialFile
    from tap_dynamic.http.retry import Backoff

MAX_MISMATCHES = 5
"""How often in a row another object may be answered: replicas of a host can have different ETags."""


def ask_size(
    part: PartialFile, get: Callable[[], requests.Response], renew_url: Callable[[], None], backoff: Backoff
) -> int | None:
    """Request the first byte of an object, once its body is here; return the size that is stated, or None.

    `get` sends the request. After a failure that may pass, only this request is repeated, not the body.

    Raises:
        TapError: If there is no answer now.
    """
    is_refused, mismatches = False, 0
    while True:
        try:
            with get() as probe:
                status, size = probe.status_code, stated_size(probe, part.first)
            if may_pass(status) and status != HTTPStatus.NOT_IMPLEMENTED:
                msg = f"the file host answered {status} to a request for the size"
                raise RetriableAPIError(msg, probe)
        except RETRIED as error:
            backoff.wait(error)
            continue
        except TapError:  # a redirect that is not followed
            return None
        is_other = part.etag and strong_etag(probe) not in {None, part.etag}
        if status in EXPIRED and not is_refused:
            is_refused = True
            renew_url()
        elif size is not None and is_other and mismatches < MAX_MISMATCHES:
            mismatches += 1  # after the last one the size counts whatever the ETag
        else:
            return size


def stated_size(probe: requests.Response, first: requests.Response) -> int | None:
    """Return the size of an object from the response to a request for its first byte; None if it is not stated.

    A 200 may be a page of a proxy, so it has to resemble the first response of the download.
    """
    status, place = probe.status_code, probe.headers.get("Content-Range", "")
    if status in {HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}:
        is_first = place.startswith("bytes 0-" if status == HTTPStatus.PARTIAL_CONTENT else "bytes */")
        return size_of(probe) if is_first else None
    is_same = all(probe.headers.get(name) == first.headers.get(name) for name in ("ETag", "Content-Type"))
    length: int | None = probe.raw.length_remaining
    return length if status == HTTPStatus.OK and is_same and not is_packed(probe) else None
