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

from sandbox.data import csv_file
from sandbox.server import Sandbox
from tap_dynamic.errors import TapError
from tap_dynamic.http.failures import CHECK_TLS, Failure, explain
from tap_dynamic.http.session import CA_VARIABLES, new_session
from tests.conftest import Tap

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
def serving(certificate: Path, key: Path) -> Iterator[int]:
    """Shake hands with each connection to a local port; yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(peer, server_side=True) as tls:
                tls.recv(1 << 16)
                tls.sendall(b"HTTP/1.1 204 x\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


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
    monkeypatch.setenv("no_proxy", "*")
    certificate, key = make_certificate(tmp_path, **{"name": "IP:127.0.0.1", **made})
    with serving(certificate, key) as port, contextlib.closing(new_session("agent")) as session:
        session.verify = str(certificate) if is_known else True
        url = f"https://127.0.0.1:{port}/x"
        request = session.prepare_url(url, {})
        if problem is None:
            assert session.send(request, timeout=5).status_code == 204
            return
        with pytest.raises(requests.RequestException) as raised:
            session.send(request, timeout=5)
    reason = f"the TLS certificate of 127.0.0.1:{port} {problem}"
    assert explain(raised.value, f"127.0.0.1:{port}") == Failure(reason, CHECK_TLS)


def test_a_private_certificate_authority(tmp_path: Path) -> None:
    """Both hosts use https, and `REQUESTS_CA_BUNDLE` names the certificate."""
    certificate, key = make_certificate(tmp_path, "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    sandbox = Sandbox()
    for server in sandbox._servers:  # noqa: SLF001 (only this test needs TLS)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    sandbox.api_url, sandbox.store_url = (
        url.replace("http://", "https://") for url in (sandbox.api_url, sandbox.store_url)
    )
    with sandbox:
        sandbox.add("users", csv_file("users", 5))
        tap = Tap(sandbox, tmp_path)
        trusted = tap(environment={"REQUESTS_CA_BUNDLE": str(certificate)})
        assert trusted.code == 0, trusted.log
        assert len(trusted.records("users")) == 5
        untrusted = tap(environment={"REQUESTS_CA_BUNDLE": ""})
    host = sandbox.api_url.split("/")[2]
    assert untrusted.code == 1
    reason = f"the TLS certificate of {host} is not trusted"
    assert untrusted.errors == [f"A request to Dynamic failed: {reason}. {CHECK_TLS}"]
    assert not untrusted.out


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
