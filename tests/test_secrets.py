"""The token, URL signatures and cell contents never appear in logs or state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sandbox.data import to_csv
from sandbox.server import API_TOKEN, Fault
from tap_dynamic.download.host import FileHost
from tap_dynamic.errors import TapError
from tap_dynamic.singer.boundary import LOGGER

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.server import Sandbox
    from tests.conftest import Tap

CELL = "private-cell@example.com"
GOOD = to_csv([["id", "email"], ["1", CELL]])
SIGNED = "https://files.example.com/x?X-Amz-Signature=abc"


@pytest.mark.parametrize(
    "scenario", ["none", "cut", "refused", "broken", "type", "key", "page", "redirect", "failed", "named", "api"]
)
def test_nothing_secret_is_logged(sandbox: Sandbox, tap: Tap, scenario: str) -> None:
    data = {
        "broken": GOOD + f'2,"{CELL}'.encode(),
        "type": to_csv(
            [["id", "user_createdAt"], ["1", "2026-01-01T00:00:00Z"], ["2", ""], *[["3", ""]] * 9000, ["4", CELL]]
        ),
        "key": to_csv([["id", "email"], [CELL, CELL], [CELL, CELL]]),
        "page": f"<html>{CELL} {SIGNED}".encode(),
    }.get(scenario, GOOD)
    export = sandbox.add("users", data)
    if scenario == "failed":
        sandbox.add("users", status="failed", error=f"Error: dyn_another https://x.y/?Sig=1\n{CELL}")
    sandbox.faults = {
        "cut": [Fault("file"), Fault("file", after=10, then="reset")],
        "refused": [Fault("file", times=99, status=403, body=CELL.encode())],
        "redirect": [Fault("file", times=99, status=302, headers={"Location": f"ftp{SIGNED[5:]}"})],
        "api": [Fault("list", times=99, status=418, body=json.dumps({"error": f"{API_TOKEN} {SIGNED}"}).encode())],
    }.get(scenario, [])
    settings = {"export_ids": [export.id]} if scenario == "named" else {}
    run = tap(
        environment={"TAP_DYNAMIC_LOGLEVEL": "DEBUG"}, **settings
    )  # checks for the token, signatures and tracebacks
    assert CELL not in run.log
    assert "Signature" not in run.log
    assert not any(word in run.log for word in (API_TOKEN[:12], "dyn_another", "Sig=1"))
    for message in run.messages:
        if message["type"] != "RECORD":
            assert not any(word in json.dumps(message) for word in (CELL, API_TOKEN, "Signature"))


def test_the_token_and_netrc_are_not_sent_to_the_file_host(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    sandbox.add("users", GOOD)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password something\n")
    sandbox.faults = [
        Fault("file", status=302, headers={"Location": sandbox.sign(next(iter(sandbox.exports.values())))})
    ]
    run = tap(environment={"NETRC": str(netrc)})
    assert run.code == 0
    files = [request for request in sandbox.requests if request.kind == "file"]
    assert files
    for request in files:
        assert not {"authorization", "cookie"} & {name.lower() for name in request.headers}
        assert API_TOKEN not in str(request.headers)
    assert {request.headers["Authorization"] for request in sandbox.requests if request.kind != "file"} == {
        f"Bearer {API_TOKEN}"
    }


def test_http_file_urls_are_rejected_if_the_api_uses_https(sandbox: Sandbox, tap: Tap) -> None:
    """Tests `FileHost` directly: an https API would need a certificate."""
    host = FileHost(user_agent="agent", timeout=(1, 1), schemes=("https",), logger=LOGGER)
    export = sandbox.add("users", GOOD)
    with pytest.raises(TapError, match="its URL, or a redirect of the file host, is malformed or not https"):
        host.fetch(lambda: sandbox.sign(export), "Export x")
    assert not sandbox.count("file")
    assert tap().code == 0


def test_proxies_and_certificates_of_the_environment_are_honoured(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", GOOD)
    proxy = sandbox.store_url  # not a proxy: the requests fail, but show where they were sent
    run = tap(environment={"http_proxy": proxy, "no_proxy": ""})
    assert run.code == 1
    assert sandbox.requests
    assert all(request.path.startswith("http://127.0.0.1") for request in sandbox.requests)


@pytest.mark.parametrize("content", [None, "not a certificate"], ids=["missing", "malformed"])
def test_certificates_that_cannot_be_read_are_one_error(
    sandbox: Sandbox, tap: Tap, tmp_path: Path, content: str | None
) -> None:
    bundle = tmp_path / "ca.pem"
    if content:
        bundle.write_text(content)
    run = tap(environment={"REQUESTS_CA_BUNDLE": str(bundle)})
    assert run.code == 1
    (error,) = run.errors
    assert error.startswith("The environment variable REQUESTS_CA_BUNDLE names CA certificates that can't be read.")
    assert not sandbox.requests
