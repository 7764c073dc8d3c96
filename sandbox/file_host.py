"""The object store behind pre-signed URLs."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from sandbox.faults import Fault
from sandbox.handler import Handler

if TYPE_CHECKING:
    from sandbox.exports import SandboxExport

CHUNK_SIZE = 1 << 16


class FileHostHandler(Handler):
    """The object store: signatures, expiry, ranges."""

    def do_GET(self) -> None:  # noqa: N802 (http.server's name)
        """Verify the signature and send the file, or inject the fault that is due."""
        service, parts = self.server.service, urlsplit(self.path)
        fault = self.record_request("file")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        export = service.exports.get(parts.path.removeprefix("/exports/").removesuffix(".csv"))
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
            query.get("X-Amz-Signature") != service.signature(export.id, int(expires)) or int(expires) < service.clock()
        ):
            self.respond_with_error(403, "AccessDenied")
        else:
            self.send_file(export, fault or Fault("file"))

    def respond_with_error(self, status: int, code: str) -> None:
        """Respond as an object store does, with an error code in XML."""
        body = f"<Error><Code>{code}</Code></Error>".encode()
        self.respond(status, body, {"Content-Type": "application/xml"})

    def send_file(self, export: SandboxExport, fault: Fault) -> None:
        """Send the whole file or the requested range."""
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
        """Send status and headers."""
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
