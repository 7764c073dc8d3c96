"""The exports API."""

from __future__ import annotations

import json
import re
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from sandbox.handler import Handler

ENVIRONMENT_ID = "11111111-2222-4333-8444-555555555555"
API_TOKEN = "dyn_" + "s4ndb0x" * 8


class ApiHandler(Handler):
    """The four operations of the exports API."""

    ROUTES: ClassVar[list[tuple[str, str, str]]] = [
        ("list", "GET", r"/exports"),
        ("create", "POST", r"/exports"),
        ("get", "GET", r"/exports/([^/]+)"),
        ("download", "GET", r"/exports/([^/]+)/download"),
    ]

    def do_GET(self) -> None:  # noqa: N802 (http.server's name)
        """Handle GET."""
        self.handle_api()

    def do_POST(self) -> None:  # noqa: N802 (http.server's name)
        """Handle POST."""
        self.handle_api()

    def handle_api(self) -> None:
        """Respond to a request, or inject the fault that is due."""
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
            self.server.service.create(json.loads(self.recorded.body)["model"])
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
        """Respond with all exports, or those of a model."""
        service = self.server.service
        entries = [service.poll(e) for e in list(service.exports.values()) if model in {None, e.model}]
        self.respond(200, {"exports": [*entries, *service.extra_entries]})

    def create_export(self) -> None:
        """Create the export that the request's body asks for."""
        service, payload = self.server.service, json.loads(self.recorded.body or b"null")
        if not service.create_allowed:
            self.respond(403, {"error": "Forbidden"})
        elif (
            not isinstance(payload, dict)
            or payload.get("format") != "csv"
            or payload.get("model") not in {"users", "visits"}
        ):
            self.respond(422, {"error": "Unprocessable", "code": "invalid", "payload": {}})
        else:
            export = service.create(payload["model"])
            export.polls_left += 1
            self.respond(201, service.poll(export))

    def show_export(self, kind: str, export_id: str) -> None:
        """Respond with an export's metadata, or redirect to its file."""
        service = self.server.service
        export = service.exports.get(export_id)
        if not export:
            self.respond(404, {"error": "Export not found"})
        elif kind == "get":
            self.respond(200, service.poll(export))
        else:
            self.respond(302, b"", {"Location": service.download_url(export)})
