"""Exports and their files."""

from __future__ import annotations

import functools
import hashlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime


def format_timestamp(value: datetime) -> str:
    """Format a UTC datetime as Dynamic does: ISO 8601 with milliseconds."""
    return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


@functools.lru_cache(maxsize=8)  # so that a range request does not hash the whole file again
def etag_of(data: bytes) -> str:
    """Return the strong, quoted ETag of a file."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


@dataclass
class SandboxExport:
    """An export and its file."""

    model: str
    data: bytes
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    format: str = "csv"
    status: str = "completed"
    created_at: str = ""
    completed_at: str | None = None
    error: str | None = None
    polls_left: int = 0
    """Number of times a pending export is still reported as pending."""
    final_status: str = "completed"
    """The status after that."""
    has_url: bool = True
    """Whether its metadata contains a `downloadUrl`."""
    url: str | None = None
    """Returned as is instead of a pre-signed URL, in `downloadUrl` and `Location`."""
    filter: Any = None
    """The part of the users that it holds, in its metadata unless None."""
    headers: dict[str, str] = field(default_factory=dict)
    """Additional response headers of its file."""

    @property
    def etag(self) -> str:
        """The ETag of its file."""
        return etag_of(self.data)
