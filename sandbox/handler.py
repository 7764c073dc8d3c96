"""The HTTP server and the request handler that the API and the file host share."""

from __future__ import annotations

import json
import socket
import struct
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from sandbox.recording import RecordedRequest

if TYPE_CHECKING:
    from sandbox.faults import Fault
    from sandbox.service import Service


class Server(ThreadingHTTPServer):
    """Serves each connection in a thread."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], service: Service) -> None:
        self.service = service
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: clients that disconnect early are expected."""


class Handler(BaseHTTPRequestHandler):
    """Records a request, then responds or injects a fault."""

    protocol_version = "HTTP/1.1"
    server: Server
    timeout = 30

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def record_request(self, kind: str) -> Fault | None:
        """Record the request and return the fault to inject into it, if any."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.recorded = RecordedRequest(kind, self.command, self.path, dict(self.headers), body)
        self.server.service.requests.append(self.recorded)
        self.fault = self.server.service.take_fault(kind, self.path)
        if self.fault and self.fault.callback:
            self.fault.callback()
        return self.fault

    def respond(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        """Send a response and record it; a body that is not bytes becomes JSON."""
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
        """Send the response of a fault."""
        self.respond(fault.status or 500, fault.body, {"Content-Type": "text/html", **fault.headers})

    def respond_with_garbage(self, garbage: bytes) -> None:
        """Send bytes that are not HTTP and disconnect."""
        self.wfile.write(garbage)
        self.drop_connection()

    def write_body(self, data: bytes | memoryview) -> None:
        """Write a body, one byte at a time if the fault says so."""
        if not self.fault or self.fault.drip is None:
            self.wfile.write(data)
            return
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index in range(len(data)):
            self.wfile.write(data[index : index + 1])
            if self.server.service.stopping.wait(self.fault.drip):
                self.close_connection = True
                return

    def stall(self) -> None:
        """Keep the connection open and send nothing."""
        self.server.service.stopping.wait(5)

    def drop_connection(self, *, reset: bool = False) -> None:
        """Close the connection, or reset it."""
        self.close_connection = True
        if reset:
            linger = struct.pack("ii", 1, 0)  # on, for zero seconds: closing sends RST instead of FIN
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
