"""Two servers on 127.0.0.1: the exports API, and the object store behind its pre-signed URLs."""

from __future__ import annotations

import functools
import gzip
import hashlib
import hmac
import json
import re
import socket
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from sandbox.data import csv_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

ENVIRONMENT = "11111111-2222-4333-8444-555555555555"
TOKEN = "dyn_" + "s4ndb0x" * 8
LIFETIME = 900
"""Seconds that a pre-signed URL lives."""


def stamp(moment: datetime) -> str:
    """Write a moment as Dynamic does.

    Args:
        moment: A moment in UTC.

    Returns:
        ISO 8601 with milliseconds.
    """
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@functools.lru_cache(maxsize=8)  # a store knows it, and does not read a file to answer a range of it
def entity_tag(data: bytes) -> str:
    """Make the entity tag of a file.

    Args:
        data: The file.

    Returns:
        A strong one, in quotes.
    """
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


@dataclass
class Export:
    """An export and its file."""

    model: str
    data: bytes
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "completed"
    created_at: str = ""
    completed_at: str | None = None
    error: str | None = None
    looks: int = 0
    """How often it is looked at before it ends."""
    ends: str = "completed"
    """The status that it then has."""
    has_url: bool = True
    """Whether its metadata has a `downloadUrl`."""
    headers: dict[str, str] = field(default_factory=dict)
    """More headers of its file."""

    @property
    def etag(self) -> str:
        """The entity tag of its file."""
        return entity_tag(self.data)


@dataclass
class Fault:
    """What goes wrong with the next requests of a kind.

    Args:
        kind: `list`, `create`, `get`, `download` (API) or `file` (store).
        times: How many requests.
        status: Answer with this status.
        headers: Headers of that answer.
        body: Body of that answer.
        after: Send only so many bytes of the file.
        then: `close` the connection after them, `reset` it, or `stall` (send no more).
        framing: `length`, `chunked` or `close`: how the end of the file is shown.
        ranges: Whether `Range` is understood.
        if_range: Whether `If-Range` is understood.
        acts: Create the export all the same before the fault.
        call: Is called first.
        only: Part of the path of the requests that it strikes.
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
    acts: bool = False
    call: Callable[[], object] | None = None
    only: str = ""


@dataclass
class Seen:
    """A request and its answer."""

    kind: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    answer: bytes = b""


class Sandbox:
    """The simulated service, as a context manager; it ends with its process."""

    def __init__(self, *, create_allowed: bool = True) -> None:
        self.exports: dict[str, Export] = {}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.create_allowed = create_allowed
        self.make: Callable[[str], Export] = lambda model: Export(model, csv_file(model, 5), looks=2)
        """Makes the export that a POST asks for."""
        self.clock: Callable[[], float] = time.time
        self._lock = threading.RLock()
        self._stopping = threading.Event()
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
        self._stopping.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the tap for this sandbox."""
        return {"environment_id": ENVIRONMENT, "api_token": TOKEN, "api_url": self.api_url, "poll_interval": 0.01}

    @property
    def variables(self) -> dict[str, str]:
        """The same for Meltano, as environment variables."""
        names = ("environment_id", "api_token", "api_url")
        return {f"TAP_DYNAMIC_{name.upper()}": self.config[name] for name in names}

    def add(self, model: str, data: bytes = b"", **fields: Any) -> Export:
        """Add an export.

        Args:
            model: `users` or `visits`.
            data: The file, as it is stored.
            fields: As of `Export`; completions follow each other by an hour.

        Returns:
            The export.
        """
        with self._lock:
            export = Export(model, data, **fields)
            latest = max((e.created_at for e in self.exports.values()), default="2026-10-01T00:00:00.000Z")
            next_hour = datetime.strptime(latest, "%Y-%m-%dT%H:%M:%S.%f%z") + timedelta(hours=1)
            export.created_at = export.created_at or stamp(next_hour)
            if export.status == "completed" and export.completed_at is None:
                export.completed_at = stamp(next_hour + timedelta(minutes=2))
            self.exports[export.id] = export
            return export

    def add_gzip(self, model: str, data: bytes, **fields: Any) -> Export:
        """Add an export whose file is stored as gzip.

        Args:
            model: `users` or `visits`.
            data: The file, unpacked.
            fields: As of `Export`.

        Returns:
            The export.
        """
        return self.add(model, gzip.compress(data, mtime=0), headers={"Content-Encoding": "gzip"}, **fields)

    def create(self, model: str) -> Export:
        """Do what a POST asks for.

        Args:
            model: `users` or `visits`.

        Returns:
            The pending export.
        """
        with self._lock:
            export = self.make(model)
            export.status, export.completed_at = "pending", None
            export.created_at = stamp(datetime.fromtimestamp(self.clock(), timezone.utc))
            self.exports[export.id] = export
            return export

    def count(self, kind: str) -> int:
        """Count the requests of a kind.

        Args:
            kind: As of `Fault`.

        Returns:
            How many there were.
        """
        return sum(seen.kind == kind for seen in self.seen)

    def take_fault(self, kind: str, path: str) -> Fault | None:
        """Take the fault that is due for a request.

        Args:
            kind: As of `Fault`.
            path: The request's path.

        Returns:
            The fault, if there is one.
        """
        with self._lock:
            for fault in self.faults:
                if fault.kind == kind and fault.times > 0 and fault.only in path:
                    fault.times -= 1
                    return fault
        return None

    def look(self, export: Export) -> dict[str, Any]:
        """Show an export's metadata; a pending one comes nearer to its end.

        Args:
            export: The export.

        Returns:
            The `Export` of the API.
        """
        with self._lock:
            if export.status == "pending":
                if export.looks <= 0:
                    export.status = export.ends
                    export.completed_at = export.completed_at or stamp(
                        datetime.fromtimestamp(self.clock(), timezone.utc)
                    )
                export.looks -= 1
            shown = {
                "id": export.id,
                "format": "csv",
                "model": export.model,
                "status": export.status,
                "createdAt": export.created_at,
                "startedAt": export.created_at,
                "completedAt": export.completed_at if export.status != "pending" else None,
            }
            if export.status == "completed" and export.has_url:
                shown["downloadUrl"] = self.sign(export)
            if export.status == "failed":
                shown["error"] = export.error or "Error: out of memory\n    at Exporter.run (exporter.js:1:1)"
            return shown

    def sign(self, export: Export) -> str:
        """Make a pre-signed URL.

        Args:
            export: The export.

        Returns:
            The URL of its file, for `LIFETIME` seconds.
        """
        expires = int(self.clock()) + LIFETIME
        query = f"X-Amz-Expires={expires}&X-Amz-Signature={self.signature(export.id, expires)}"
        return f"{self.store_url}/exports/{export.id}.csv?{query}"

    def signature(self, export_id: str, expires: int) -> str:
        """Compute the signature of a URL.

        Args:
            export_id: The export's id.
            expires: When the URL expires, in seconds since 1970.

        Returns:
            The signature.
        """
        return hmac.new(self._secret, f"{export_id}{expires}".encode(), "sha256").hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 30

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def begin(self, kind: str) -> Fault | None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen = Seen(kind, self.command, self.path, dict(self.headers), body)
        self.server.sandbox.seen.append(self.seen)
        fault = self.server.sandbox.take_fault(kind, self.path)
        if fault and fault.call:
            fault.call()
        return fault

    def answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.seen.status, self.seen.answer = status, data
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def fail(self, fault: Fault) -> None:
        self.answer(fault.status or 500, fault.body, {"Content-Type": "text/html", **fault.headers})

    def hang_up(self, *, reset: bool = False) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR) if not reset else self.connection.close()


class _Api(_Handler):
    """The four calls of the exports API."""

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
        sandbox, parts = self.server.sandbox, urlsplit(self.path)
        found = re.fullmatch(r"/api/v0/environments/([^/]+)(/.*)", parts.path)
        rest = found[2] if found else ""
        kind, match = next(
            (
                (k, m)
                for k, method, pattern in self.ROUTES
                if method == self.command and (m := re.fullmatch(pattern, rest))
            ),
            ("other", None),
        )
        fault = self.begin(kind)
        if fault and fault.acts:
            sandbox.create(json.loads(self.seen.body)["model"])
        if fault and fault.then == "reset":
            self.hang_up(reset=True)
        elif fault and fault.then == "stall":
            sandbox._stopping.wait(5)  # noqa: SLF001 (its own other half)
        elif fault and fault.status:
            self.fail(fault)
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Unauthorized"})
        elif not found or not match:
            self.answer(404, {"error": "Not found"})
        elif found[1] != ENVIRONMENT:
            self.answer(403, {"error": "Forbidden"})
        elif kind == "list":
            model = parse_qs(parts.query).get("model", [None])[0]
            shown = [sandbox.look(e) for e in list(sandbox.exports.values()) if model in {None, e.model}]
            self.answer(200, {"exports": shown})
        elif kind == "create":
            self.create(sandbox)
        elif match[1] not in sandbox.exports:
            self.answer(404, {"error": "Export not found"})
        elif kind == "get":
            self.answer(200, sandbox.look(sandbox.exports[match[1]]))
        else:
            self.answer(302, b"", {"Location": sandbox.sign(sandbox.exports[match[1]])})

    def create(self, sandbox: Sandbox) -> None:
        asked = json.loads(self.seen.body or b"null")
        if not sandbox.create_allowed:
            self.answer(403, {"error": "Forbidden"})
        elif (
            not isinstance(asked, dict) or asked.get("format") != "csv" or asked.get("model") not in {"users", "visits"}
        ):
            self.answer(422, {"error": "Unprocessable", "code": "invalid", "payload": {}})
        else:
            export = sandbox.create(asked["model"])
            export.looks += 1
            self.answer(201, sandbox.look(export))


class _Store(_Handler):
    """The object store: signatures, expiry, ranges."""

    def do_GET(self) -> None:
        sandbox, parts = self.server.sandbox, urlsplit(self.path)
        fault = self.begin("file")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        export = sandbox.exports.get(parts.path.removeprefix("/exports/").removesuffix(".csv"))
        expires = query.get("X-Amz-Expires", "0")
        if fault and fault.status:
            self.fail(fault)
        elif "Authorization" in self.headers:
            self.answer(400, b"<Error><Code>InvalidArgument</Code></Error>", {"Content-Type": "application/xml"})
        elif not export:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})
        elif (
            query.get("X-Amz-Signature") != sandbox.signature(export.id, int(expires)) or int(expires) < sandbox.clock()
        ):
            self.answer(403, b"<Error><Code>AccessDenied</Code></Error>", {"Content-Type": "application/xml"})
        else:
            self.send_file(export, fault or Fault("file"))

    def send_file(self, export: Export, fault: Fault) -> None:
        data, etag = export.data, export.etag
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status, start, end = 200, 0, len(data)
        if wanted and fault.ranges and (not fault.if_range or self.headers.get("If-Range", etag) == etag):
            start, end = int(wanted[1]), min(len(data), int(wanted[2]) + 1) if wanted[2] else len(data)
            status = 206 if start < len(data) else 416
        self.send_head(export, fault, status, start, end)
        if status == 416:  # noqa: PLR2004
            return
        body = memoryview(data)[start : end if fault.after is None else min(end, start + fault.after)]
        chunks = (
            [bytes(body[at : at + (1 << 16)]) for at in range(0, len(body), 1 << 16)]
            if fault.framing == "chunked"
            else []
        )
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if not chunks:
            self.wfile.write(body)
        if len(body) < end - start:
            if fault.then == "stall":
                self.server.sandbox._stopping.wait(5)  # noqa: SLF001
            self.hang_up(reset=fault.then == "reset")
        elif fault.framing == "chunked":
            self.wfile.write(b"0\r\n\r\n")

    def send_head(self, export: Export, fault: Fault, status: int, start: int, end: int) -> None:
        self.seen.status = status
        self.send_response(status)
        self.send_header("Content-Type", "text/csv")
        for name, value in {"ETag": export.etag, **export.headers}.items():
            if value:
                self.send_header(name, value)
        if status == 416:  # noqa: PLR2004
            self.send_header("Content-Range", f"bytes */{len(export.data)}")
            self.send_header("Content-Length", "0")
        elif status == 206:  # noqa: PLR2004
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(export.data)}")
        if status != 416 and fault.framing == "chunked":  # noqa: PLR2004
            self.send_header("Transfer-Encoding", "chunked")
        elif status == 206 or (status == 200 and fault.framing == "length"):  # noqa: PLR2004
            self.send_header("Content-Length", str(end - start))
        elif status == 200:  # noqa: PLR2004
            self.close_connection = True
        self.end_headers()
