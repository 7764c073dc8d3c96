"""The token, URL signatures and cell contents never appear in logs or state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sandbox.data import to_csv
from sandbox.server import API_TOKEN, Fault
from tap_dynamic.download.host import FileHost
from tap_dynamic.errors import TapError
from tap_dynamic.singer.command import LOGGER

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.server import Sandbox
    from tests.conftest import Tap

CELL = "private-cell@example.com"
GOOD = to_csv([["id", "email"], ["1", CELL]])
SIGNED = "https://files.example.com/x?X-Amz-Signature=abc"


TYPES = [["id", "user_createdAt"], ["1", "2026-01-01T00:00:00Z"], ["2", ""], *[["3", ""]] * 9000, ["4", CELL]]
SCENARIOS: dict[str, tuple[bytes, bytes, list[str]]] = {
    # The files of users and visits, and what is logged.
    "files": (GOOD + f'2,"{CELL}'.encode(), to_csv([["id"], [CELL], [CELL]]), ["an unclosed quote", "rows 1 and 2"]),
    "types": (to_csv(TYPES), f"<html>{CELL} {SIGNED}".encode(), ["loaded as text", "HTML, XML or JSON"]),
    "hosts": (GOOD, GOOD, ["the file is not there", "is malformed or not http"]),
    "api": (GOOD, GOOD, ["Dynamic answered 418"]),
    "headers": (GOOD, GOOD, ["Failed to parse headers."]),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_secret_is_logged(sandbox: Sandbox, tap: Tap, name: str) -> None:
    users, visits, logged = SCENARIOS[name]
    exports = sandbox.add("users", users), sandbox.add("visits", visits)
    sandbox.add("users", status="failed", error=f"Error: dyn_another https://x.y/?Sig=1\n{CELL}")
    gone = Fault("file", times=99, status=404, body=CELL.encode(), path_contains=exports[0].id)
    elsewhere = {"Location": f"ftp{SIGNED[5:]}"}
    sandbox.faults = {
        "files": [Fault("file"), Fault("file", after=10, then="reset")],
        "hosts": [gone, Fault("file", times=99, status=302, headers=elsewhere, path_contains=exports[1].id)],
        "headers": [
            # No blank line ends them, so they hold the body.
            Fault("file", times=3, garbage=b"HTTP/1.1 200 OK\r\n" + GOOD, path_contains=exports[0].id),
            Fault("list", garbage=f"HTTP/1.1 200 OK\r\nX-Foo bar\r\nSet-Cookie: {CELL}; {API_TOKEN}\r\n\r\n".encode()),
        ],
        "api": [Fault("list", times=99, status=418, body=json.dumps({"error": f"{API_TOKEN} {SIGNED}"}).encode())],
    }.get(name, [])
    # The run itself checks for the token, signatures and tracebacks.
    run = tap(environment={"TAP_DYNAMIC_LOGLEVEL": "DEBUG"})
    assert all(text in run.log for text in logged), run.log
    assert not any(word in run.log for word in (CELL, "Signature", API_TOKEN[:12], "dyn_another", "Sig=1"))
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
