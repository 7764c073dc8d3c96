"""The matrix of faults and the expected outcomes. README.md states the number of cases."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sandbox.data import csv_file, to_csv
from sandbox.server import URL_LIFETIME, Fault, Sandbox, SandboxExport
from tap_dynamic.http.failures import CHECK_PROXY
from tests.conftest import table, texts

if TYPE_CHECKING:
    from tests.conftest import Message, Tap

USERS = csv_file("users", 300)
HALF = len(USERS) // 2
HEAD = [["id", "email"], ["1", "a@example.com"]]
Faults = Callable[[Sandbox, SandboxExport], list[Fault]]


class Case(NamedTuple):
    """A row of the matrix: the faults, and a part of the expected error, or None if the run must succeed."""

    name: str
    faults: Faults
    error: str | None = None
    data: bytes = USERS
    settings: dict[str, Any] = {}  # noqa: RUF012 (not modified)
    packed: bool = False
    headers: dict[str, str] = {}  # noqa: RUF012


def inject(*faults: Fault) -> Faults:
    return lambda _, __: [replace(fault) for fault in faults]


def cut(*places: int, then: str = "close", **fields: Any) -> Faults:
    return inject(*(Fault("file", after=place, then=then, **fields) for place in places))


def respond(kind: str, status: int, times: int = 1, **fields: Any) -> Faults:
    return inject(Fault(kind, times=times, status=status, **fields))


def change(_: Sandbox, export: SandboxExport) -> list[Fault]:
    """The object changes before the download is resumed."""
    longer = csv_file("users", 400, seed=1)

    def swap() -> None:
        export.data = longer

    return [Fault("file", after=HALF), Fault("file", callback=swap)]


def keep_changing(sandbox: Sandbox, export: SandboxExport) -> list[Fault]:
    """The object changes each time the download makes progress."""

    def swap() -> None:
        export.data = csv_file("users", 300, seed=len(sandbox.requests))

    return [Fault("file", after=1000 * (n % 20 + 1), callback=swap) for n in range(120)]


def expire(sandbox: Sandbox, _: SandboxExport) -> list[Fault]:
    """The URL expires before the download is resumed."""

    def pass_time() -> None:
        late = time.time() + URL_LIFETIME + 1
        sandbox.clock = lambda: late

    return [Fault("file", after=HALF, callback=pass_time)]


def redirect(target: str, times: int = 1) -> Faults:
    def faults(sandbox: Sandbox, export: SandboxExport) -> list[Fault]:
        location = target.format(fresh=sandbox.sign(export))
        return [Fault("file", times=times, status=302, headers={"Location": location})]

    return faults


RETRY_NOW = {"Retry-After": "0"}


HTML_PAGE = b"<html><body>Bad gateway for you@example.com</body></html>"
NO_FAULT = inject()

DOWNLOADS = [
    Case("no fault", NO_FAULT),
    Case("cut in the middle", cut(HALF)),
    Case("cut before the first byte", cut(0)),
    Case("cut twelve times", cut(*[5000] * 12)),
    Case("reset in the middle", cut(HALF, then="reset")),
    Case("stalled in the middle", cut(HALF, then="stall"), settings={"read_timeout": 0.3}),
    Case("cut, and the store does not support ranges", inject(Fault("file", after=HALF), Fault("file", ranges=False))),
    Case("cut, and the object changed", change),
    Case("the object keeps changing", keep_changing, "restarted 10 times"),
    Case("cut, and the URL expired", expire),
    Case("cut, and the store has no ETag", cut(HALF), headers={"ETag": ""}),
    Case("cut, and the ETag is weak", cut(HALF), headers={"ETag": 'W/"1"'}),
    Case("gzip object, cut", cut(3000, 3000), packed=True),
    Case("gzip file without Content-Encoding", NO_FAULT, data=gzip.compress(USERS)),
    Case("chunked, cut", cut(HALF, framing="chunked")),
    Case(
        "chunked, no ranges, cut",
        inject(
            Fault("file", 2, after=HALF, framing="chunked", ranges=False),
            Fault("file", 2, framing="chunked", ranges=False),
        ),
    ),
    Case("no length, complete", inject(Fault("file", framing="close"))),
    Case("no length, truncated", cut(HALF, framing="close")),
    Case(
        "no length and no ranges",
        inject(Fault("file", times=99, framing="close", ranges=False)),
        "it is unknown whether the file is whole",
    ),
    Case("file host: 403", respond("file", 403)),
    Case("file host: always 403", respond("file", 403, 99, headers=RETRY_NOW), "refuses fresh URLs (403)"),
    Case("file host: 503", respond("file", 503, 2, headers=RETRY_NOW)),
    Case("file host: 404", respond("file", 404), "the file is not there"),
    Case("file host: always 410", respond("file", 410, 99), "refuses fresh URLs (410)"),
    Case("file host: 405", respond("file", 405), "answered 405 instead of the file"),
    Case("redirect", redirect("{fresh}&again=1")),
    Case(
        "redirect to another scheme", redirect("https://127.0.0.1:9/x?X-Amz-Signature=1"), "is malformed or not http."
    ),
]
API = [
    Case("list: 429 with seconds", respond("list", 429, 2, headers=RETRY_NOW, body=HTML_PAGE)),
    Case(
        "list: always 500",
        respond("list", 500, 99, headers=RETRY_NOW),
        "failed after 8 attempts (last error: Dynamic answered 500)",
    ),
    Case("list: reset", inject(Fault("list", then="reset"))),
    Case("list: no response", inject(Fault("list", then="stall")), settings={"read_timeout": 0.3}),
    Case("list: 401", respond("list", 401), "Dynamic refused the API token (401)"),
    Case("list: 404", respond("list", 404), "There is no such environment (404)"),
    Case("list: 200 with an HTML page", respond("list", 200, 2, body=HTML_PAGE)),
    Case(
        "list: a redirect",
        respond("list", 302, headers={"Location": "http://127.0.0.1:9/"}),
        "a redirect. The token is not sent to another URL",
    ),
    Case("export: 404", respond("get", 404), "There is no such export (404)"),
    Case("export: reset", inject(Fault("get", then="reset"))),
]
BAD_FILES = [
    Case("JSON over several lines", NO_FAULT, "HTML, XML or JSON", b'\n {\n  "error": "secret"\n}'),
    Case("plain text", NO_FAULT, "no known column: it is text, not CSV", b"Sorry, something secret went wrong.\n"),
    Case("a zip archive", NO_FAULT, "a zip archive, not CSV", b"PK\x03\x04secret"),
    Case("no header", NO_FAULT, "the first row is not a header, but data", b"secret@example.com,secret\n"),
    Case("a row too short", NO_FAULT, "row 2: 1 field, where the header has 2", to_csv([*HEAD, ["secret"]])),
    Case("an unclosed quote", NO_FAULT, "row 2: an unclosed quote", to_csv(HEAD) + b'2,"secret\r\n3,x\r\n'),
    Case("a header that is not UTF-8", NO_FAULT, "the header: bytes that are not UTF-8", b"id,\xff\r\n"),
    Case(
        "invalid UTF-8 after 3000 rows",
        NO_FAULT,
        "row 3001: bytes that are not UTF-8",
        b"id\n" + b"%d\n" * 3000 % (*range(3000),) + b"\xff\n",
    ),
    Case("an empty file", NO_FAULT, "the file is empty", b""),
    Case("damaged gzip", NO_FAULT, "damaged gzip data", gzip.compress(USERS)[:-3000] + b"x" * 3000),
    Case(
        "gzip with a wrong checksum",
        NO_FAULT,
        "damaged gzip data",
        gzip.compress(csv_file("users", 2000))[:-8] + bytes(8),
    ),
    Case("truncated gzip", NO_FAULT, "damaged gzip data", gzip.compress(USERS)[:-9]),
]
GOOD_FILES = [
    Case("a byte-order mark", NO_FAULT, data=b"\xef\xbb\xbf" + USERS),
    Case("only a header", NO_FAULT, data=b"user_id,user_email\r\n"),
    Case("line breaks in quotes", NO_FAULT, data=b'id,email\r\n1,"a\r\nb\nc\rd"\r\n2,y\r\n'),
    Case("NA, null and 007 stay text", NO_FAULT, data=b"id,email\r\nNA,null\r\n007,None\r\n"),
]
MATRIX = [*DOWNLOADS, *API, *BAD_FILES, *GOOD_FILES]


@pytest.mark.parametrize("case", MATRIX, ids=lambda case: case.name)
def test_fault(sandbox: Sandbox, tap: Tap, documented: Message, case: Case) -> None:
    add = sandbox.add_gzip if case.packed else sandbox.add
    export = add("users", case.data)
    export.headers |= case.headers
    visits = sandbox.add("visits", csv_file("visits", 3))
    sandbox.faults = case.faults(sandbox, export)
    for fault in sandbox.faults:
        fault.path_contains = export.id if fault.kind in {"file", "get"} else ""
    run = tap(_catalog=documented, **case.settings)
    unpacked = gzip.decompress(export.data) if export.data[:2] == b"\x1f\x8b" and not case.error else export.data
    if case.error:
        assert run.code == 1
        assert len(run.errors) == 1, run.errors
        assert case.error in run.errors[0]
        assert not any(word in run.log for word in ("secret", "example.com"))
        assert export.id in run.errors[0] or case.name.startswith("list")
        assert run.bookmark("users").get("replication_key_value") is None
        assert "ACTIVATE_VERSION" not in run.out
        # The checksum of a gzip file is verified before its first row is emitted.
        assert "gzip" not in case.name or not run.of("RECORD", "users")
    else:
        assert run.code == 0, run.log
        expected = table(unpacked)
        header = expected[0].keys() if expected else ()
        assert [{name: r[name] or None for name in header} for r in texts(run.records("users"))] == expected
        assert run.bookmark("users")["export_ids"] == [export.id]
    if case in DOWNLOADS + BAD_FILES:
        assert run.bookmark("visits")["export_ids"] == [visits.id]
        assert len(run.records("visits")) == 3
    assert all("Authorization" not in request.headers for request in sandbox.requests if request.kind == "file")


def test_nul_characters_are_dropped_with_one_warning(sandbox: Sandbox, tap: Tap) -> None:
    export = sandbox.add("users", b'id,email,user_metadata\r\n1,a\0b\0,"{""k\\u0000"": ""\\\\u0000""}"\r\n')
    run = tap()
    assert run.records("users")[0] | {"email": "ab", "user_metadata": {"k": "\\u0000"}} == run.records("users")[0]
    assert [w for w in run.warnings if "NUL" in w] == [f"Export {export.id}: 3 NUL characters dropped."]


def test_insufficient_disk_space_fails_before_the_download(sandbox: Sandbox, tap: Tap) -> None:
    export = sandbox.add("users", USERS)
    huge = {"Content-Length": str(10**15)}
    sandbox.faults = [Fault("file"), Fault("file", status=200, headers=huge, body=b"id")]
    run = tap()
    assert run.code == 1
    assert len(run.errors) == 1
    assert f"export {export.id}: the file does not fit into the" in run.errors[0]


def test_a_header_without_a_comma_names_the_delimiter(sandbox: Sandbox, tap: Tap) -> None:
    export = sandbox.add("users", b'"id";email\n1;"a,b"\n2;c\n')
    run = tap()
    assert [[r["id"], r["email"]] for r in run.records("users")] == [["1", "a,b"], ["2", "c"]]
    assert f"Export {export.id}: the delimiter is a semicolon, not a comma." in run.log


def test_the_line_of_a_spreadsheet_is_not_taken_for_the_header(sandbox: Sandbox, tap: Tap) -> None:
    """It names another delimiter than the header has."""
    export = sandbox.add("users", b"sep=;\nid,email\n1,a\n")
    run = tap()
    assert [r["id,email"] for r in run.records("users")] == ["1,a"]
    assert f"Export {export.id}: the delimiter is a semicolon, not a comma." in run.log


def test_a_malformed_entry_of_the_list_is_a_warning(sandbox: Sandbox, tap: Tap) -> None:
    export = sandbox.add("users", USERS)
    whole = {"id": "1", "format": "csv", "model": "users", "status": "completed", "createdAt": "2026-01-01T00:00:00Z"}
    sandbox.extra_entries = [{}, 7, whole | {"completedAt": "noon"}, whole | {"createdAt": "now"}]
    run = tap()
    assert run.code == 0
    assert run.bookmark("users")["export_ids"] == [export.id]
    assert len([w for w in run.warnings if w.startswith("Entry ")]) == 2 * 4  # discovery and sync
    assert "Entry 4 of the list of exports is ignored: its completedAt is missing or malformed." in run.warnings


def test_an_export_of_another_format_is_not_read(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    export = sandbox.add("users", USERS, format="xlsx")
    run = tap(_catalog=documented)
    assert run.errors == [f"Stream users, export {export.id}: its format is 'xlsx', not csv. Make a CSV export."]
    assert not run.of("SCHEMA", "users")
    assert not sandbox.count("file")


def test_a_proxy_that_wants_a_password_is_named(sandbox: Sandbox, tap: Tap) -> None:
    """The sandbox is the proxy."""
    sandbox.faults = [Fault("list", times=99, status=407)]
    run = tap(environment={"http_proxy": f"http://user:secret@{sandbox.api_url.split('/')[2]}", "no_proxy": ""})
    assert run.code == 1
    (error,) = run.errors
    assert error == f"A proxy refused the request (407). {CHECK_PROXY}"
    assert len(sandbox.requests) == 1
