"""A private certificate authority: both hosts use https, and `REQUESTS_CA_BUNDLE` names its certificate."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

from sandbox.data import csv_file
from sandbox.server import Sandbox
from tests.conftest import Tap

if TYPE_CHECKING:
    from pathlib import Path


def test_a_private_certificate_authority(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    subject = ["-subj", "/CN=A private CA", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
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
    advice = "Check api_url, the proxy, and the CA certificates and the clock of this machine."
    assert untrusted.errors == [f"A request to Dynamic failed: {reason}. {advice}"]
    assert not untrusted.out
