"""TLS: a private certificate authority, and why a certificate is refused."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
import requests

from tap_dynamic.errors import TapError
from tap_dynamic.http.failures import CHECK_TLS, Failure, explain
from tap_dynamic.http.session import CA_VARIABLES, new_session
from tests.sockets import listening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AUTHORITY = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
[extensions]
subjectAltName = {name}
"""


def make_certificate(folder: Path, name: str, *, start: str = "20200101", end: str = "20490101") -> tuple[Path, Path]:
    """Make a self-signed certificate, and its key.

    Args:
        folder: Receives the files.
        name: Its `subjectAltName`.
        start: The first day on which it is valid.
        end: The last one.
    """
    key, certificate, request = folder / "key.pem", folder / "ca.pem", folder / "request.pem"
    (folder / "index").touch()
    (folder / "ca.conf").write_text(AUTHORITY.format(folder=folder, name=name))
    new = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=A private CA", "-keyout", key, "-out", request]
    sign = ["ca", "-batch", "-selfsign", "-notext", "-config", folder / "ca.conf", "-extensions", "extensions"]
    files = ["-keyfile", key, "-in", request, "-out", certificate]
    dates = ["-startdate", f"{start}000000Z", "-enddate", f"{end}000000Z"]
    for command in (new, [*sign, *files, *dates]):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    return certificate, key


@contextlib.contextmanager
def serving(certificate: Path, key: Path, requests: list[bytes]) -> Iterator[int]:
    """Answer requests by TLS, and record them; yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def handle(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True) as tls:
            requests.append(tls.recv(1 << 16))
            tls.sendall(b"HTTP/1.1 204 x\r\n\r\n")

    with listening(handle) as port:
        yield port


PROBLEMS: dict[str, tuple[dict[str, str], bool, str | None]] = {
    # name: (the certificate, whether it is a known authority, what is said of it)
    "good": ({}, True, None),
    "expired": ({"end": "20200102"}, True, "has expired"),
    "not valid yet": ({"start": "20480101"}, True, "is not valid yet"),
    "of a name": ({"name": "DNS:files.example"}, True, "is of another host"),
    "self-signed": ({}, False, "is not trusted"),
}


@pytest.mark.parametrize(("made", "is_known", "problem"), PROBLEMS.values(), ids=PROBLEMS)
def test_why_a_certificate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: dict[str, str], problem: str | None, *, is_known: bool
) -> None:
    certificate, key = make_certificate(tmp_path, **{"name": "IP:127.0.0.1", **made})
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate) if is_known else "")
    received: list[bytes] = []
    with serving(certificate, key, received) as port, contextlib.closing(new_session("agent")) as session:
        request = session.prepare_url(f"https://127.0.0.1:{port}/x?sig=%2b", {})
        if problem is None:
            assert session.send(request, timeout=5).status_code == 204
            assert received[0].startswith(b"GET /x?sig=%2b HTTP/1.1\r\n")
            return
        with pytest.raises(requests.RequestException) as raised:
            session.send(request, timeout=5)
    reason = f"the TLS certificate of 127.0.0.1:{port} {problem}"
    assert explain(raised.value, f"127.0.0.1:{port}") == Failure(reason, CHECK_TLS)


def test_a_tunnel_of_a_proxy_is_sent_the_url_as_it_was_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make_certificate(tmp_path, "DNS:files.example")
    received: list[bytes] = []

    def tunnel(peer: socket.socket) -> None:
        received.append(peer.recv(1 << 16))
        with socket.create_connection(("127.0.0.1", port)) as host:
            peer.sendall(b"HTTP/1.1 200 x\r\n\r\n")
            back = threading.Thread(target=pump, args=(host, peer))
            back.start()
            pump(peer, host)
            back.join()

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    with serving(certificate, key, received) as port, listening(tunnel) as proxy_port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy_port}")
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with contextlib.closing(new_session("agent")) as session:
            request = session.prepare_url("https://files.example/a%2bb?sig=%2b", {})
            assert session.send(request, timeout=5).status_code == 204
    assert [r.split(b" HTTP/")[0] for r in received] == [b"CONNECT files.example:443", b"GET /a%2bb?sig=%2b"]


@pytest.mark.parametrize("content", [None, "not a certificate"], ids=["missing", "malformed"])
@pytest.mark.parametrize("variable", CA_VARIABLES)
def test_certificates_that_cannot_be_read_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, content: str | None
) -> None:
    bundle = tmp_path / "ca.pem"
    if content:
        bundle.write_text(content)
    for name in CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(bundle))
    with pytest.raises(TapError, match=f"^The environment variable {variable} names CA certificates that can't be"):
        new_session("agent")
