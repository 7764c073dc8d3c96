"""The simulated service: two servers on 127.0.0.1, the exports API and the file host."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from sandbox.api import API_TOKEN, ENVIRONMENT_ID, ApiHandler
from sandbox.exports import SandboxExport, format_timestamp
from sandbox.faults import Fault
from sandbox.file_host import FileHostHandler
from sandbox.handler import Server
from sandbox.recording import RecordedRequest
from sandbox.service import URL_LIFETIME, Service

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = [
    "API_TOKEN",
    "ENVIRONMENT_ID",
    "URL_LIFETIME",
    "Fault",
    "RecordedRequest",
    "Sandbox",
    "SandboxExport",
    "format_timestamp",
]


class Sandbox(Service):
    """The running service, as a context manager; its threads are daemons."""

    def __init__(self, *, create_allowed: bool = True) -> None:
        super().__init__(create_allowed=create_allowed)
        self._servers = [Server(("127.0.0.1", 0), handler, self) for handler in (ApiHandler, FileHostHandler)]
        api, files = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)
        self.api_url, self.store_url = f"{api}/api/v0", files

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
