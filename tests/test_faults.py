"""The matrix of faults: what happens, and what the tap must do. README.md counts its rows."""

from __future__ import annotations

import gzip
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sandbox.data import csv_file, to_csv
from sandbox.server import LIFETIME, Fault, Sandbox
from tests.conftest import select, table, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.server import Export
    from tests.conftest import Message, Tap

USERS = csv_file("users", 300)
HALF = len(USERS) // 2
HEAD = [["id", "email"], ["1", "a@example.com"]]


class Case(NamedTuple):
    """A row of the matrix: the fault, and the error that the tap must end with, or None."""

    name: str
    faults: Callable[[Sandbox, Export], list[Fault]]
    error: str | None = None
    data: bytes = USERS
    settings: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)
    packed: bool = False
    headers: dict[str, str] = {}  # noqa: RUF012


def cut(*places: int, then: str = "close", **fields: Any) -> Callable[[Sandbox, Export], list[Fault]]:
    return lambda _, __: [Fault("file", after=place, then=then, **fields) for place in places]


def answer(kind: str, status: int, times: int = 1, **fields: Any) -> Callable[[Sandbox, Export], list[Fault]]:
    return lambda _, __: [Fault(kind, times=times, status=status, **fields)]


def change(_: Sandbox, export: Export) -> list[Fault]:
    """The object is another one when the download goes on."""
    longer = csv_file("users", 400, seed=1)

    def swap() -> None:
        export.data = longer

    return [Fault("file", after=HALF), Fault("file", call=swap)]


def change_unnoticed(_: Sandbox, export: Export) -> list[Fault]:
    """As before, but the store does not know If-Range, and the other object is as long."""

    def swap() -> None:
        export.data = USERS.swapcase()

    return [Fault("file", after=HALF), Fault("file", call=swap, if_range=False)]


def keep_changing(sandbox: Sandbox, export: Export) -> list[Fault]:
    """Whenever the download comes further, the object is another one."""

    def swap() -> None:
        export.data = csv_file("users", 300, seed=len(sandbox.seen))

    return [Fault("file", after=1000 * n, call=swap) for n in range(1, 40)]


def expire(sandbox: Sandbox, _: Export) -> list[Fault]:
    """The URL expires while the download is cut."""

    def pass_time() -> None:
        late = time.time() + LIFETIME + 1
        sandbox.clock = lambda: late

    return [Fault("file", after=HALF, call=pass_time)]


def redirect(target: str, times: int = 1) -> Callable[[Sandbox, Export], list[Fault]]:
    def faults(sandbox: Sandbox, export: Export) -> list[Fault]:
        place = target.format(fresh=sandbox.sign(export))
        return [Fault("file", times=times, status=302, headers={"Location": place})]

    return faults


NOW = {"Retry-After": "0"}
PAGE = b"<html><body>Bad gateway for you@example.com</body></html>"
NONE: Callable[[Sandbox, Export], list[Fault]] = lambda _, __: []  # noqa: E731

DOWNLOADS = [
    Case("no fault", NONE),
    Case("cut in the middle", cut(HALF)),
    Case("cut before the first byte", cut(0)),
    Case("cut after the first byte", cut(1)),
    Case("cut before the last byte", cut(len(USERS) - 1)),
    Case("cut twelve times", cut(*[5000] * 12)),
    Case("reset in the middle", cut(HALF, then="reset")),
    Case("stalled in the middle", cut(HALF, then="stall"), settings={"read_timeout": 0.3}),
    Case("cut, and the store knows no ranges", lambda _, __: [Fault("file", after=HALF), Fault("file", ranges=False)]),
    Case("cut, and the object changed", change),
    Case("cut, and the object changed unnoticed", change_unnoticed),
    Case("the object changes for ever", keep_changing, "begun anew 10 times"),
    Case("cut, and the URL expired", expire),
    Case("cut, and the store has no ETag", cut(HALF), headers={"ETag": ""}),
    Case("cut, and the ETag is a weak one", cut(HALF), headers={"ETag": 'W/"1"'}),
    Case("gzip object", NONE, packed=True),
    Case("gzip object, cut", cut(3000, 3000), packed=True),
    Case("gzip file that nobody declares", NONE, data=gzip.compress(USERS)),
    Case("chunked", cut(framing="chunked") if False else lambda _, __: [Fault("file", framing="chunked")]),
    Case("chunked, cut", cut(HALF, framing="chunked")),
    Case("chunked, no ranges", lambda _, __: [Fault("file", times=2, framing="chunked", ranges=False)]),
    Case(
        "chunked, no ranges, cut",
        lambda _, __: [
            Fault("file", 2, after=HALF, framing="chunked", ranges=False),
            Fault("file", 2, framing="chunked", ranges=False),
        ],
    ),
    Case("no length, whole", lambda _, __: [Fault("file", framing="close")]),
    Case("no length, half of it", cut(HALF, framing="close")),
    Case(
        "no length and no ranges",
        lambda _, __: [Fault("file", times=99, framing="close", ranges=False)],
        "nobody can tell whether the file is whole",
    ),
    Case("the file host says 403", answer("file", 403)),
    Case("the file host says 403 for ever", answer("file", 403, 99), "refuses fresh URLs (403)"),
    Case("the file host says 503", answer("file", 503, 2, headers=NOW)),
    Case("the file host says 503 for ever", answer("file", 503, 99, headers=NOW), "failed 8 times"),
    Case("the file host says 429", answer("file", 429, 2, headers=NOW)),
    Case("the file host says 404", answer("file", 404), "the file is not there"),
    Case("the file host says 400", answer("file", 400), "the file host answered 400"),
    Case("redirect", redirect("{fresh}&again=1")),
    Case("redirect to another scheme", redirect("https://127.0.0.1:9/x?X-Amz-Signature=1"), "to another scheme"),
    Case("redirect to a local file", redirect("file:///etc/passwd"), "to another scheme"),
    Case("redirects without end", redirect("{fresh}", 99), "redirects more than 5 times"),
    Case("an encoding that the tap does not know", NONE, "encoded as br", headers={"Content-Encoding": "br"}),
]
API = [
    Case("list: 429 with seconds", answer("list", 429, 2, headers=NOW, body=PAGE)),
    Case("list: 429 with a date", answer("list", 429, headers={"Retry-After": formatdate(0)})),
    Case("list: 429 that asks for hours", answer("list", 429, 9, headers={"Retry-After": "7200"}), "failed 1 times"),
    Case("list: 503 as a page", answer("list", 503, body=PAGE)),
    Case(
        "list: 500 for ever", answer("list", 500, 99, headers=NOW), "failed 8 times, at last with: Dynamic answered 500"
    ),
    Case("list: reset", lambda _, __: [Fault("list", then="reset")]),
    Case("list: no answer", lambda _, __: [Fault("list", then="stall")], settings={"read_timeout": 0.3}),
    Case("list: 401", answer("list", 401), "Dynamic refused the API token (401)"),
    Case("list: 403", answer("list", 403), "Dynamic denied access to the exports (403)"),
    Case("list: 404", answer("list", 404), "There is no such environment (404)"),
    Case("list: 200 as a page", answer("list", 200, body=PAGE), "but no JSON object. Check the setting api_url"),
    Case("list: 200 without exports", answer("list", 200, body=b"{}"), "has no `exports`"),
    Case(
        "list: an export without an id", answer("list", 200, body=b'{"exports": [{}]}'), "an export without a valid id"
    ),
    Case(
        "list: an odd timestamp",
        answer("list", 200, body=b'{"exports": [{"id":"1","model":"users","status":"completed","createdAt":"noon"}]}'),
        "an export without a valid id",
    ),
    Case(
        "list: a redirect",
        answer("list", 302, headers={"Location": "http://127.0.0.1:9/"}),
        "a redirect that is not followed",
    ),
    Case("export: 500", answer("get", 500, 2, headers=NOW)),
    Case("export: 404", answer("get", 404), "There is no such export (404)"),
    Case("export: reset", lambda _, __: [Fault("get", then="reset")]),
]
BAD_FILES = [
    Case("a row too short", NONE, "row 2: 1 fields, where the header has 2", to_csv([*HEAD, ["secret"]])),
    Case("a row too long", NONE, "row 2: 3 fields, where the header has 2", to_csv([*HEAD, ["secret"] * 3])),
    Case("an unclosed quote", NONE, "row 2: an unclosed quote", to_csv(HEAD) + b'2,"secret\r\n3,x\r\n'),
    Case("text after a quote", NONE, "row 2: malformed quotes", to_csv(HEAD) + b'2,"sec"ret\r\n'),
    Case("bytes that are no UTF-8", NONE, "row 2: bytes that are no UTF-8", to_csv(HEAD) + b"2,secret\xff\r\n"),
    Case("UTF-8 that ends too early", NONE, "row 2: bytes that are no UTF-8", to_csv(HEAD) + b"2,secret\xc3"),
    Case("a header that is no UTF-8", NONE, "the header: bytes that are no UTF-8", b"id,\xff\r\n"),
    Case("UTF-16", NONE, "the header: bytes that are no UTF-8", "id,email\r\n1,secret\r\n".encode("utf-16")),
    Case(
        "bad bytes behind 3000 rows",
        NONE,
        "row 3001: bytes that are no UTF-8",
        b"id\n" + b"%d\n" * 3000 % (*range(3000),) + b"\xff\n",
    ),
    Case("an empty file", NONE, "the file is empty", b""),
    Case("a file of blank lines", NONE, "the file is empty", b"\r\n\r\n"),
    Case("an HTML page", NONE, "the file is a page", PAGE),
    Case("an XML error", NONE, "the file is a page", b'<?xml version="1.0"?><Error><Code>SlowDown</Code></Error>'),
    Case("a JSON error", NONE, "the file is a page", b'{"error": "gone"}'),
    Case("gzip that is damaged", NONE, "damaged gzip data", gzip.compress(USERS)[:-3000] + b"x" * 3000),
    Case(
        "gzip whose checksum is wrong",
        NONE,
        "damaged gzip data",
        gzip.compress(csv_file("users", 2000))[:-8] + bytes(8),
    ),
    Case("gzip that ends too early", NONE, "damaged gzip data", gzip.compress(USERS)[:-9]),
]
GOOD_FILES = [
    Case("a byte-order mark", NONE, data=b"\xef\xbb\xbf" + USERS),
    Case("a byte-order mark before a quote", NONE, data=b'\xef\xbb\xbf"id","email"\r\n"1","x"\r\n'),
    Case("LF", NONE, data=b"id,email\n1,x\n2,y\n"),
    Case("no final line break", NONE, data=b"id,email\r\n1,x\r\n2,y"),
    Case("blank lines", NONE, data=b"\r\nid,email\r\n\r\n1,x\r\n\r\n\r\n2,y\r\n\r\n"),
    Case("a header and nothing else", NONE, data=b"id,email\r\n"),
    Case("line breaks in quotes", NONE, data=b'id,email\r\n1,"a\r\nb\nc\rd"\r\n2,y\r\n'),
    Case("a field of a megabyte", NONE, data=to_csv([*HEAD, ["2", "x" * 1_000_000], ["3", "y"]])),
    Case("NA, null and 007 stay text", NONE, data=b"id,email\r\nNA,null\r\n007,None\r\n"),
    Case("Unicode", NONE, data="id,email\r\n1,\u2028\x85 \U0001f600é\r\n".encode()),
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
        fault.only = export.id if fault.kind in {"file", "get"} else ""
    run = tap(_catalog=documented, **case.settings)
    unpacked = gzip.decompress(export.data) if export.data[:2] == b"\x1f\x8b" and not case.error else export.data
    if case.error:
        assert run.code == 1
        assert len(run.errors) == 1, run.errors
        assert case.error in run.errors[0]
        assert not any(word in run.log for word in ("secret", "example.com"))
        assert export.id in run.errors[0] or case.name.startswith("list")
        assert "replication_key_value" not in run.bookmark("users")
        assert "ACTIVATE_VERSION" not in run.out
        # The checksum of a gzip file is proven before a row of it is believed.
        assert "gzip" not in case.name or not run.of("RECORD", "users")
    else:
        assert run.code == 0, run.log
        documented = dict.fromkeys(table(unpacked)[0]) if table(unpacked) else {}
        got = [{k: v for k, v in r.items() if k in documented} for r in texts(run.records("users"))]
        assert got == table(unpacked)
        assert run.bookmark("users")["export_ids"] == [export.id]
    if case in DOWNLOADS + BAD_FILES:
        assert run.bookmark("visits")["export_ids"] == [visits.id]
        assert len(run.records("visits")) == 3
    assert all("Authorization" not in seen.headers for seen in sandbox.seen if seen.kind == "file")


def test_a_resumed_download_asks_only_for_what_is_missing(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", USERS)
    catalog = tap.discover()
    sandbox.seen.clear()
    sandbox.faults = [Fault("file", after=1000), Fault("file", after=500)]
    tap(_catalog=select(catalog, "users"))
    files = [seen.headers for seen in sandbox.seen if seen.kind == "file"]
    assert [headers.get("Range") for headers in files] == [None, "bytes=1000-", "bytes=1500-"]
    assert files[1]["If-Range"] == next(iter(sandbox.exports.values())).etag


def test_a_nul_is_dropped_and_told_once(sandbox: Sandbox, tap: Tap) -> None:
    export = sandbox.add("users", b'id,email,metadata\r\n1,a\0b\0,"{""k\\u0000"": ""\\\\u0000""}"\r\n')
    run = tap()
    assert run.records("users")[0] | {"email": "ab", "metadata": {"k": "\\u0000"}} == run.records("users")[0]
    assert run.warnings == [f"Export {export.id}: 3 NUL characters were dropped."]


def test_too_little_disk_is_told_before_the_download(sandbox: Sandbox, tap: Tap) -> None:
    export = sandbox.add("users", USERS)
    huge = str(10**15)
    sandbox.faults = [Fault("file"), Fault("file", status=200, headers={"Content-Length": huge})]
    run = tap()
    assert run.code == 1
    assert len(run.errors) == 1
    assert f"export {export.id}: the file has 1,000,000,000,000,000 bytes, but only" in run.errors[0]
