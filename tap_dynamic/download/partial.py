"""A file that is partly here: which bytes, of which object, and how its end is known."""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
import time
import zlib
from http import HTTPStatus
from typing import IO, TYPE_CHECKING

from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.download.responses import (
    check_encoding,
    check_part,
    check_status,
    is_end,
    size_of,
    strong_etag,
)
from tap_dynamic.errors import TapError
from tap_dynamic.file.sample import GZIP_MAGIC
from tap_dynamic.tempfiles import disk_error

if TYPE_CHECKING:
    import requests

    from tap_dynamic.progress import ProgressLogger

READ_SIZE = 1 << 18
"""Bytes that are read from the network at once, at most."""
MIN_RATE = 1024
"""Bytes per second below which a host counts as stalled."""
RATE_WINDOW = 60.0
"""Seconds over which the rate is measured."""


class StalledError(RetriableAPIError):
    """The host sends less than `MIN_RATE`."""


class PartialFile:
    """The bytes of a file that are here; with a `limit`, only so many are wanted."""

    size: int | None
    """Bytes of the whole object; None where unknown."""
    etag: str | None
    """A strong one; None where the download can't be resumed."""
    first: requests.Response
    """The response that the object was begun with."""
    max_size: int
    """Bytes that can be stored: a twentieth of the disk stays free."""

    def __init__(self, label: str, file: IO[bytes], limit: int | None = None) -> None:
        self.label, self.file, self.limit = label, file, limit
        self.clear()

    def clear(self) -> None:
        """Drop what is here."""
        self.file.seek(0)
        self.file.truncate()
        self.received, self.size, self.etag = 0, None, None

    @property
    def wanted(self) -> int | None:
        """Bytes that are wanted in all; None where the end is unknown."""
        return self.size if self.size is None or self.limit is None else min(self.size, self.limit)

    @property
    def is_here(self) -> bool:
        """Whether all that is wanted is here."""
        return self.received in {self.size, self.limit}

    def headers(self, *, is_conditional: bool) -> dict[str, str]:
        """Make the headers of a request for what is missing, with `If-Range` where the request is conditional."""
        headers = {"If-Range": self.etag} if self.received and self.etag and is_conditional else {}
        if self.received or self.limit:
            headers["Range"] = f"bytes={self.received}-{self.limit - 1 if self.limit else ''}"
        return headers

    def read(self, response: requests.Response, progress: ProgressLogger) -> None:
        """Store the body of a response, up to the limit; without an error it ended in good order.

        Raises:
            ChangedError: If it is of another object.
            RangeIgnoredError: If it is not the part that was asked for.
            FileUnusable: If the file is gone or encoded.
            TapError: If the file can't be had or stored.
        """
        if is_end(response, self.received, self.etag):
            self.size = self.received
            return
        check_status(response, self.label)
        check_part(response, self.received, self.etag, self.size)
        check_encoding(response, self.label)
        if self.received:
            self.size = self.size or size_of(response)
        else:
            is_part = response.status_code == HTTPStatus.PARTIAL_CONTENT
            self.first, self.etag = response, strong_etag(response)
            self.size = size_of(response) if is_part else response.raw.length_remaining
            self.max_size = shutil.disk_usage(tempfile.gettempdir()).free * 95 // 100
        self._receive(response, progress)

    def is_gzip(self) -> bool:
        """Whether what is here begins as gzip."""
        self.file.seek(0)
        start = self.file.read(len(GZIP_MAGIC))
        self.file.seek(0, io.SEEK_END)
        return start == GZIP_MAGIC

    def is_cut_gzip(self) -> bool:
        """Whether what is here is gzip that ends early. Damaged gzip is not: it would be the same the next time."""
        self.file.seek(0)
        try:
            with gzip.GzipFile(fileobj=self.file) as unpacked:
                while unpacked.read(READ_SIZE):
                    pass
        except EOFError:
            return True
        except (OSError, zlib.error):  # damaged, or not gzip
            return False
        finally:
            self.file.seek(0, io.SEEK_END)
        return False

    def _receive(self, response: requests.Response, progress: ProgressLogger) -> None:
        """Store what arrives, each byte as soon as it is here."""
        window_start, before = time.monotonic(), self.received
        while self.limit is None or self.received < self.limit:
            size = READ_SIZE if self.limit is None else min(READ_SIZE, self.limit - self.received)
            block = response.raw.read1(size, decode_content=False)
            if not block:
                return
            self._store(block)
            progress.update(self.received, self.received / self.wanted if self.wanted else None)
            elapsed = time.monotonic() - window_start
            if elapsed >= RATE_WINDOW:
                if self.received - before < MIN_RATE * elapsed:
                    msg = f"the file host sent less than {MIN_RATE:,} bytes per second for {RATE_WINDOW:.0f} s"
                    raise StalledError(msg)
                window_start, before = time.monotonic(), self.received

    def _store(self, block: bytes) -> None:
        try:
            self.file.write(block)
            self.file.flush()
        except OSError as error:
            raise disk_error(self.label, error) from None
        self.received += len(block)
        if max(self.received, self.wanted or 0) > self.max_size:
            msg = (
                f"{self.label}: the file does not fit into the {self.max_size:,} bytes that are left in"
                f" {tempfile.gettempdir()} for temporary files. Make room there, or set TMPDIR to a folder on a larger"
                " disk."
            )
            raise TapError(msg)
