"""Servers of raw sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handler = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(handler: Handler) -> Iterator[int]:
    """Pass each connection to a local port to a handler; yield the port, and close what the handler left open."""
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as peers:

        def serve() -> None:
            while True:
                try:
                    peer = peers.enter_context(server.accept()[0])
                except OSError:
                    return
                with contextlib.suppress(OSError):
                    handler(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
