"""Two servers on 127.0.0.1: the exports API, and the object store behind its pre-signed URLs."""

from __future__ import annotations

import functools
import gzip
import hashlib
import hmac
import json
import re
import socket
import struct
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from sandbox.data import csv_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

ENVIRONMENT_ID = "11111111-2222-4333-8444-555555555555"
API_TOKEN = "dyn_" + "s4ndb0x" * 8
URL_LIFETIME = 900
"""Seconds until a pre-signed URL expires."""
CHUNK_SIZE = 1 << 16


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
    headers: dict[str, str] = field(default_factory=dict)
    """Additional response headers of its file."""

    @property
    def etag(self) -> str:
        """The ETag of its file."""
        return etag_of(self.data)


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


class Sandbox:
    """The simulated service, as a context manager; its threads are daemons."""

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
        self._servers = [_Server(("127.0.0.1", 0), handler, self) for handler in (_Api, _Store)]
        self.api_url = f"http://127.0.0.1:{self._servers[0].server_address[1]}/api/v0"
        self.store_url = f"http://127.0.0.1:{self._servers[1].server_address[1]}"

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def config(self) -> dict[str, Any]:
        """Tap settings for this sandbox."""
        return {
            "environment_id": ENVIRONMENT_ID,
            "api_token": API_TOKEN,
            "api_url": self.api_url,
            "poll_interval": 0.01,
        }

    @property
    def variables(self) -> dict[str, str]:
        """The same settings as environment variables, for Meltano."""
        names = ("environment_id", "api_token", "api_url")
        return {f"TAP_DYNAMIC_{name.upper()}": self.config[name] for name in names}

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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: clients that disconnect early are expected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 30

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def record_request(self, kind: str) -> Fault | None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.recorded = RecordedRequest(kind, self.command, self.path, dict(self.headers), body)
        self.server.sandbox.requests.append(self.recorded)
        self.fault = self.server.sandbox.take_fault(kind, self.path)
        if self.fault and self.fault.callback:
            self.fault.callback()
        return self.fault

    def respond(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.recorded.status, self.recorded.response_body = status, data
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.write_body(data)

    def respond_with_fault(self, fault: Fault) -> None:
        self.respond(fault.status or 500, fault.body, {"Content-Type": "text/html", **fault.headers})

    def respond_with_garbage(self, garbage: bytes) -> None:
        self.wfile.write(garbage)
        self.drop_connection()

    def write_body(self, data: bytes | memoryview) -> None:
        if not self.fault or self.fault.drip is None:
            self.wfile.write(data)
            return
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index in range(len(data)):
            self.wfile.write(data[index : index + 1])
            if self.server.sandbox.stopping.wait(self.fault.drip):
                self.close_connection = True
                return

    def stall(self) -> None:
        self.server.sandbox.stopping.wait(5)

    def drop_connection(self, *, reset: bool = False) -> None:
        self.close_connection = True
        if reset:
            linger = struct.pack("ii", 1, 0)  # on, for zero seconds: closing sends RST instead of FIN
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)


class _Api(_Handler):
    """The four operations of the exports API."""

    ROUTES: ClassVar[list[tuple[str, str, str]]] = [
        ("list", "GET", r"/exports"),
        ("create", "POST", r"/exports"),
        ("get", "GET", r"/exports/([^/]+)"),
        ("download", "GET", r"/exports/([^/]+)/download"),
    ]

    def do_GET(self) -> None:
        self.handle_api()

    def do_POST(self) -> None:
        self.handle_api()

    def handle_api(self) -> None:
        parts = urlsplit(self.path)
        environment = re.fullmatch(r"/api/v0/environments/([^/]+)(/.*)", parts.path)
        rest = environment[2] if environment else ""
        kind, route = next(
            (
                (kind, match)
                for kind, method, pattern in self.ROUTES
                if method == self.command and (match := re.fullmatch(pattern, rest))
            ),
            ("other", None),
        )
        fault = self.record_request(kind)
        if fault and fault.creates_anyway:
            self.server.sandbox.create(json.loads(self.recorded.body)["model"])
        if fault and fault.garbage is not None:
            self.respond_with_garbage(fault.garbage)
        elif fault and fault.then == "reset":
            self.drop_connection(reset=True)
        elif fault and fault.then == "stall":
            self.stall()
        elif fault and fault.status:
            self.respond_with_fault(fault)
        elif self.headers.get("Authorization") != f"Bearer {API_TOKEN}":
            self.respond(401, {"error": "Unauthorized"})
        elif not environment or not route:
            self.respond(404, {"error": "Not found"})
        elif environment[1] != ENVIRONMENT_ID:
            self.respond(403, {"error": "Forbidden"})
        elif kind == "list":
            self.list_exports(parse_qs(parts.query).get("model", [None])[0])
        elif kind == "create":
            self.create_export()
        else:
            self.show_export(kind, route[1])

    def list_exports(self, model: str | None) -> None:
        sandbox = self.server.sandbox
        entries = [sandbox.poll(e) for e in list(sandbox.exports.values()) if model in {None, e.model}]
        self.respond(200, {"exports": [*entries, *sandbox.extra_entries]})

    def create_export(self) -> None:
        sandbox, payload = self.server.sandbox, json.loads(self.recorded.body or b"null")
        if not sandbox.create_allowed:
            self.respond(403, {"error": "Forbidden"})
        elif (
            not isinstance(payload, dict)
            or payload.get("format") != "csv"
            or payload.get("model") not in {"users", "visits"}
        ):
            self.respond(422, {"error": "Unprocessable", "code": "invalid", "payload": {}})
        else:
            export = sandbox.create(payload["model"])
            export.polls_left += 1
            self.respond(201, sandbox.poll(export))

    def show_export(self, kind: str, export_id: str) -> None:
        sandbox = self.server.sandbox
        export = sandbox.exports.get(export_id)
        if not export:
            self.respond(404, {"error": "Export not found"})
        elif kind == "get":
            self.respond(200, sandbox.poll(export))
        else:
            self.respond(302, b"", {"Location": sandbox.download_url(export)})


class _Store(_Handler):
    """The object store: signatures, expiry, ranges."""

    def do_GET(self) -> None:
        sandbox, parts = self.server.sandbox, urlsplit(self.path)
        fault = self.record_request("file")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        export = sandbox.exports.get(parts.path.removeprefix("/exports/").removesuffix(".csv"))
        expires = query.get("X-Amz-Expires", "0")
        if fault and fault.garbage is not None:
            self.respond_with_garbage(fault.garbage)
        elif fault and fault.status:
            self.respond_with_fault(fault)
        elif "Authorization" in self.headers:
            self.respond_with_error(400, "InvalidArgument")
        elif not export:
            self.respond_with_error(404, "NoSuchKey")
        elif (
            query.get("X-Amz-Signature") != sandbox.signature(export.id, int(expires)) or int(expires) < sandbox.clock()
        ):
            self.respond_with_error(403, "AccessDenied")
        else:
            self.send_file(export, fault or Fault("file"))

    def respond_with_error(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code></Error>".encode()
        self.respond(status, body, {"Content-Type": "application/xml"})

    def send_file(self, export: SandboxExport, fault: Fault) -> None:
        data, etag = export.data, export.etag
        requested = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status, start, end = HTTPStatus.OK, 0, len(data)
        if requested and fault.ranges and (not fault.if_range or self.headers.get("If-Range", etag) == etag):
            start = int(requested[1])
            end = min(len(data), int(requested[2]) + 1) if requested[2] else len(data)
            status = HTTPStatus.PARTIAL_CONTENT if start < len(data) else HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        self.send_head(export, fault, status, start, end)
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return
        body = memoryview(data)[start : end if fault.after is None else min(end, start + fault.after)]
        if fault.framing == "chunked":
            for offset in range(0, len(body), CHUNK_SIZE):
                chunk = bytes(body[offset : offset + CHUNK_SIZE])
                self.write_body(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        else:
            self.write_body(body)
        if len(body) < end - start:
            if fault.then == "stall":
                self.stall()
            self.drop_connection(reset=fault.then == "reset")
        elif fault.framing == "chunked":
            self.wfile.write(b"0\r\n\r\n")

    def send_head(self, export: SandboxExport, fault: Fault, status: HTTPStatus, start: int, end: int) -> None:
        self.recorded.status = status.value
        self.send_response(status)
        self.send_header("Content-Type", "text/csv")
        for name, value in {"ETag": export.etag, **export.headers}.items():
            if value:
                self.send_header(name, value)
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self.send_header("Content-Range", f"bytes */{len(export.data)}")
            self.send_header("Content-Length", "0")
        elif status == HTTPStatus.PARTIAL_CONTENT:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(export.data)}")
        if status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and fault.framing == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif status == HTTPStatus.PARTIAL_CONTENT or (status == HTTPStatus.OK and fault.framing == "length"):
            self.send_header("Content-Length", str(end - start))
        elif status == HTTPStatus.OK:
            self.close_connection = True
        self.end_headers()
