"""A file that is partly here: which bytes, of which object, and how its end is known."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import IO, TYPE_CHECKING

from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.download.rate import MIN_RATE, RATE_WINDOW, RateMonitor
from tap_dynamic.download.responses import (
    ChangedError,
    check_encoding,
    check_resumed,
    check_start,
    check_status,
    is_chunked,
    is_end,
    length_of,
    size_of,
)
from tap_dynamic.errors import TapError
from tap_dynamic.http.failures import RETRIED
from tap_dynamic.tempfiles import disk_error

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from tap_dynamic.progress import ProgressLogger

    Probe = Callable[[str | None], int | None]
    """From the ETag of an object to its size, by a request of its own."""

READ_SIZE = 1 << 18
"""Bytes that are read from the network at once, at most."""


@dataclass
class PartialFile:
    """The bytes of a file that are here.

    Args:
        label: The file, for messages.
        file: Receives the bytes.
        limit: Only so many bytes are wanted.
    """

    label: str
    file: IO[bytes]
    limit: int | None = None
    received: int = field(default=0, init=False)
    size: int | None = field(default=None, init=False)
    """Bytes of the whole object; None where unknown."""
    etag: str | None = field(default=None, init=False)
    max_unsized: int = field(default=0, init=False)

    @property
    def wanted(self) -> int | None:
        """Bytes that are wanted in all; None where the end is unknown."""
        if self.size is None or self.limit is None:
            return self.size
        return min(self.size, self.limit)

    def headers(self, *, is_conditional: bool) -> dict[str, str]:
        """Make the headers of a request for what is missing.

        Args:
            is_conditional: Whether to send `If-Range`.
        """
        headers = {"If-Range": self.etag} if self.received and self.etag and is_conditional else {}
        if self.received or self.limit:
            headers["Range"] = f"bytes={self.received}-{self.limit - 1 if self.limit else ''}"
        return headers

    def clear(self) -> None:
        """Drop what is here."""
        self.file.seek(0)
        self.file.truncate()
        self.received, self.size, self.etag = 0, None, None

    def read(self, response: requests.Response, probe: Probe, progress: ProgressLogger) -> bool:
        """Store the body of a response; return whether all that is wanted is here.

        Raises:
            ChangedError: If it is of another object.
            RangeIgnoredError: If it is not the part that was asked for.
            FileUnusable: If the file is gone or encoded.
            TapError: If the file can't be had or stored.
        """
        if is_end(response, self.received, self.etag):
            self.size = self.received
            return True
        check_status(response, self.label)
        if self.received:
            check_resumed(response, self.received, self.etag, self.size)
            self.size = self.size or size_of(response)
        else:
            check_start(response, self.label)
        check_encoding(response, self.label)
        if not self.received:
            self._begin(response, probe)
        is_full = self._receive(response, progress)
        if self.wanted is not None and self.received > self.wanted:
            raise ChangedError
        if is_full or self.wanted is not None:
            return is_full or self.received == self.wanted
        if response.status_code == HTTPStatus.OK and not is_chunked(response):
            msg = (
                f"{self.label}: the file host declares no length and does not support ranges, so it is unknown whether"
                " the file is whole. Make a new export."
            )
            raise TapError(msg)
        if response.status_code == HTTPStatus.OK:  # the last chunk proves the end
            self.size = self.received
        return self.size is not None

    def _begin(self, response: requests.Response, probe: Probe) -> None:
        """Learn what identifies the object, and its size."""
        tag, is_part = response.headers.get("ETag", ""), response.status_code == HTTPStatus.PARTIAL_CONTENT
        self.etag = tag if tag.startswith('"') else None  # a weak one does not prove equal bytes
        self.size = size_of(response) if is_part else length_of(response)
        if self.size is None:
            try:
                self.size = probe(self.etag)
            except (*RETRIED, ChangedError):
                if not is_chunked(response):  # a chunked body shows its end
                    raise
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if self.wanted is not None and self.wanted > free:
            msg = (
                f"{self.label}: the file has {self.wanted:,} bytes, but only {free:,} are free for temporary files."
                " Make room, or set TMPDIR to a larger disk."
            )
            raise TapError(msg)
        self.max_unsized = free * 95 // 100

    def _receive(self, response: requests.Response, progress: ProgressLogger) -> bool:
        """Store what arrives, each byte as soon as it is here; return whether the limit was reached."""
        rate = RateMonitor(self.received)
        while self.limit is None or self.received < self.limit:
            size = READ_SIZE if self.limit is None else min(READ_SIZE, self.limit - self.received)
            block = response.raw.read1(size, decode_content=False)
            if not block:
                return False
            self._store(block)
            progress.update(self.received, self.received / self.wanted if self.wanted else None)
            if rate.is_stalled(self.received):
                msg = f"the file host sent less than {MIN_RATE:,} bytes per second for {RATE_WINDOW:.0f} s"
                raise RetriableAPIError(msg)
        return True

    def _store(self, block: bytes) -> None:
        try:
            self.file.write(block)
            self.file.flush()
        except OSError as error:
            raise disk_error(self.label, error) from None
        self.received += len(block)
        if self.size is None and self.received > self.max_unsized:
            msg = f"{self.label}: a file without a declared length nearly fills the disk. Set TMPDIR to a larger one."
            raise TapError(msg)
