"""The state of the simulated service and its rules, without HTTP."""

from __future__ import annotations

import gzip
import hmac
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from sandbox.data import csv_file
from sandbox.exports import SandboxExport, format_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.faults import Fault
    from sandbox.recording import RecordedRequest

URL_LIFETIME = 900
"""Seconds until a pre-signed URL expires."""


class Service:
    """The exports, the faults to inject and the recorded requests, shared by both servers."""

    def __init__(self, *, create_allowed: bool = True) -> None:
        self.exports: dict[str, SandboxExport] = {}
        self.extra_entries: list[Any] = []
        """JSON values appended to the list response as they are."""
        self.faults: list[Fault] = []
        self.requests: list[RecordedRequest] = []
        self.create_allowed = create_allowed
        self.export_factory: Callable[[str], SandboxExport] = lambda model: SandboxExport(
            model, csv_file(model, 5), polls_left=2
        )
        """Builds the export that a POST request creates, from its model."""
        self.clock: Callable[[], float] = time.time
        self.stopping = threading.Event()
        self._lock = threading.RLock()
        self._secret = uuid.uuid4().bytes
        self.store_url = ""
        """Base URL of the file host."""

    def add(self, model: str, data: bytes = b"", **fields: Any) -> SandboxExport:
        """Add an export.

        Args:
            model: `users` or `visits`.
            data: The file, as it is stored.
            fields: Fields of `SandboxExport`. By default each export is created an hour after the previous one.

        Returns:
            The export.
        """
        with self._lock:
            export = SandboxExport(model, data, **fields)
            latest = max((e.created_at for e in self.exports.values()), default="2026-10-01T00:00:00.000Z")
            next_hour = datetime.strptime(latest, "%Y-%m-%dT%H:%M:%S.%f%z") + timedelta(hours=1)
            export.created_at = export.created_at or format_timestamp(next_hour)
            if export.status == "completed" and export.completed_at is None:
                export.completed_at = format_timestamp(next_hour + timedelta(minutes=2))
            self.exports[export.id] = export
            return export

    def add_gzip(self, model: str, data: bytes, **fields: Any) -> SandboxExport:
        """Add an export whose file, given uncompressed, is stored with `Content-Encoding: gzip`."""
        return self.add(model, gzip.compress(data, mtime=0), headers={"Content-Encoding": "gzip"}, **fields)

    def create(self, model: str) -> SandboxExport:
        """Create the pending export that a POST request asks for."""
        with self._lock:
            export = self.export_factory(model)
            export.status, export.completed_at = "pending", None
            export.created_at = self._now()
            self.exports[export.id] = export
            return export

    def count(self, kind: str) -> int:
        """Count the recorded requests of a kind."""
        return sum(request.kind == kind for request in self.requests)

    def take_fault(self, kind: str, path: str) -> Fault | None:
        """Take the fault to inject into a request, if any."""
        with self._lock:
            for fault in self.faults:
                if fault.kind == kind and fault.times > 0 and fault.path_contains in path:
                    fault.times -= 1
                    return fault
        return None

    def poll(self, export: SandboxExport) -> dict[str, Any]:
        """Return an export's metadata, as the API does; this advances a pending export."""
        with self._lock:
            if export.status == "pending":
                if export.polls_left <= 0:
                    export.status = export.final_status
                    export.completed_at = export.completed_at or self._now()
                export.polls_left -= 1
            metadata = {
                "id": export.id,
                "format": export.format,
                "model": export.model,
                "status": export.status,
                "createdAt": export.created_at,
                "startedAt": export.created_at,
                "completedAt": export.completed_at if export.status != "pending" else None,
            }
            if export.status == "completed" and export.has_url:
                metadata["downloadUrl"] = self.download_url(export)
            if export.filter is not None:
                metadata["filter"] = export.filter
            if export.status == "failed":
                metadata["error"] = export.error or "Error: out of memory\n    at Exporter.run (exporter.js:1:1)"
            return metadata

    def download_url(self, export: SandboxExport) -> str:
        """Return the export's own `url` if it has one, else a fresh pre-signed URL."""
        return self.sign(export) if export.url is None else export.url

    def sign(self, export: SandboxExport) -> str:
        """Return a pre-signed URL of the export's file, valid for `URL_LIFETIME` seconds."""
        expires = int(self.clock()) + URL_LIFETIME
        query = f"X-Amz-Expires={expires}&X-Amz-Signature={self.signature(export.id, expires)}"
        return f"{self.store_url}/exports/{export.id}.csv?{query}"

    def signature(self, export_id: str, expires: int) -> str:
        """Compute the signature of a URL that expires at a Unix timestamp."""
        return hmac.new(self._secret, f"{export_id}{expires}".encode(), "sha256").hexdigest()

    def _now(self) -> str:
        return format_timestamp(datetime.fromtimestamp(self.clock(), timezone.utc))
