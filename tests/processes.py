"""Processes of the tap that start at once: forked from a process that has imported it."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

from tap_dynamic.http.session import CA_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
TIMEOUT = 60.0
"""Seconds without output after which the tap hangs."""


class Completed(NamedTuple):
    """The exit code of a process, and what it wrote."""

    code: int
    out: bytes
    log: bytes


def serve_forks(connection: socket.socket) -> None:
    """Run the tap in a forked process for each request: `python -m tap_dynamic` without the time that imports take.

    A request has the command-line arguments, the environment and the file descriptors of stdout and stderr; the answer
    is the process id. The process is reaped, and its exit code sent, when the other side asks for it.
    """
    from tap_dynamic.singer.command import run  # noqa: PLC0415 (only the server needs it)

    gc.freeze()
    while True:
        request, descriptors, _, _ = socket.recv_fds(connection, 1 << 18, 2)
        if not request:
            return
        pid = os.fork()
        if not pid:
            connection.close()
            for number, descriptor in enumerate(descriptors, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            arguments, environment, max_sleep = json.loads(request)
            sys.argv = ["tap-dynamic", *arguments]
            os.environ.clear()
            os.environ.update(environment)
            run_and_exit(run, max_sleep)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send(b"%d" % pid)
        connection.recv(1)
        connection.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def run_and_exit(command: Callable[[], object], max_sleep: float | None) -> None:
    """Run a command, and end as Python does, but without taking all modules down: that takes longer than a run."""
    code, pause = 0, time.sleep
    if max_sleep is not None:
        mock.patch("time.sleep", lambda seconds: pause(min(seconds, max_sleep))).start()
    try:
        command()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Forks:
    """Starts processes of the tap through `serve_forks`, which runs in a process without threads."""

    def __init__(self) -> None:
        self._connection, other = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.processes", str(other.fileno())], pass_fds=[other.fileno()], cwd=ROOT
        )
        other.close()

    def close(self) -> None:
        self._connection.close()
        self._server.wait(10)

    def run(self, arguments: list[str], *, limit: int | None = None, max_sleep: float | None = None) -> Completed:
        """Run the tap.

        Args:
            arguments: Its command line.
            limit: Kill it when so many bytes of its output were read.
            max_sleep: Shorten the waits between attempts and polls to so many seconds.
        """
        reading, writing = os.pipe()
        if limit is not None and hasattr(fcntl, "F_SETPIPE_SZ"):  # the tap is hardly ahead of its reader
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        with tempfile.TemporaryFile() as log:
            # The sandbox needs no CA certificates, and reading them takes as long as a run.
            environment = {name: value for name, value in os.environ.items() if name not in CA_VARIABLES}
            request = json.dumps([arguments, environment, max_sleep]).encode()
            socket.send_fds(self._connection, [request], [writing, log.fileno()])
            os.close(writing)
            pid = int(self._connection.recv(16))
            blocks, received = [], 0
            while True:
                if limit is not None and received >= limit:
                    os.kill(pid, signal.SIGKILL)
                    limit = None
                if not select.select([reading], [], [], TIMEOUT)[0]:
                    os.kill(pid, signal.SIGKILL)
                    msg = f"The tap hangs: {arguments}"
                    raise TimeoutError(msg)
                block = os.read(reading, 1 << 20 if limit is None else min(1 << 16, limit - received))
                if not block:
                    break
                blocks.append(block)
                received += len(block)
            os.close(reading)
            self._connection.send(b".")
            code = int(self._connection.recv(16))
            log.seek(0)
            return Completed(code, b"".join(blocks), log.read())


if __name__ == "__main__":
    serve_forks(socket.socket(fileno=int(sys.argv[1])))
