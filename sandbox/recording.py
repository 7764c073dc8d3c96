"""What the servers record of each request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class RecordedRequest:
    """A request and its response."""

    kind: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    response_body: bytes = b""
