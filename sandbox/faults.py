"""Failures that the servers inject."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Fault:
    """A failure to inject into the next requests of one kind.

    Args:
        kind: `list`, `create`, `get`, `download` (API) or `file` (store).
        times: Number of requests affected.
        status: Respond with this status.
        headers: Headers of that response.
        body: Body of that response.
        after: Send only this many bytes of the file.
        then: `close` or `reset` the connection afterwards, or `stall` (keep it open and send nothing).
        framing: `length`, `chunked` or `close`: how the end of the file is signalled.
        ranges: Whether `Range` is supported.
        if_range: Whether `If-Range` is supported.
        drip: Send the body one byte at a time, with this many seconds between bytes.
        garbage: Write these bytes to the socket instead of an HTTP response, then close it.
        creates_anyway: Create the export before failing.
        callback: Called before the response.
        path_contains: Affect only requests whose path contains this text.
    """

    kind: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: int | None = None
    then: str = "close"
    framing: str = "length"
    ranges: bool = True
    if_range: bool = True
    drip: float | None = None
    garbage: bytes | None = None
    creates_anyway: bool = False
    callback: Callable[[], object] | None = None
    path_contains: str = ""
