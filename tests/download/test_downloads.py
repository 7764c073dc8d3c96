"""Downloads over raw sockets: which bytes are sent, and what is taken for the whole file."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import logging
import re
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tap_dynamic.download import partial
from tap_dynamic.download.host import FileHost
from tap_dynamic.errors import FileUnusable, TapError
from tests.sockets import listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = Callable[[bytes, int], bytes]
    """From the head of a request and its number to all that is sent before the connection closes."""

LOGGER = logging.getLogger("test_downloads")
DATA = bytes(range(48, 91)) * 3
OK = b"HTTP/1.1 200 OK\r\n"
ETAG = b'ETag: "1"\r\n'


class Host:
    """A host that answers each request with what a function returns, and then closes the connection."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.port, self.url = 0, ""

    def handle(self, peer: socket.socket) -> None:
        with peer:
            request = b""
            while b"\r\n\r\n" not in request and (block := peer.recv(1 << 16)):
                request += block
            self.requests.append(request)
            peer.sendall(self.answer(request, len(self.requests)))
            peer.shutdown(socket.SHUT_WR)

    @property
    def targets(self) -> list[bytes]:
        return [request.split(b" ")[1] for request in self.requests]

    def header(self, name: bytes) -> list[bytes | None]:
        found = [re.search(rb"(?im)^%b: *(.*?)\r$" % name, request) for request in self.requests]
        return [match[1] if match else None for match in found]


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[Host]:
    host = Host(answer)
    with listening(host.handle) as host.port:
        host.url = f"http://127.0.0.1:{host.port}"
        yield host


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing, and use no proxy of this machine."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def fetch(url: str, timeout: float = 5) -> bytes:
    """Download a file."""
    host = FileHost(user_agent="agent", timeout=(5, timeout), schemes=("http",), logger=LOGGER)
    with contextlib.closing(host.session), host.fetch(lambda: url, "Export x") as file:
        return file.read()


def whole(_: bytes, __: int) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n" % len(DATA) + DATA


def part(request: bytes, *headers: bytes, data: bytes = DATA) -> bytes:
    """Answer a ranged request as a store does."""
    found = re.search(rb"Range: bytes=(\d+)-(\d*)", request)
    assert found
    first, last = int(found[1]), int(found[2] or len(data) - 1)
    if first >= len(data):
        return b"HTTP/1.1 416 x\r\nContent-Range: bytes */%d\r\n%b\r\n" % (len(data), b"".join(headers))
    body = data[first : last + 1]
    head = b"HTTP/1.1 206 x\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n" % (
        len(body),
        first,
        first + len(body) - 1,
        len(data),
    )
    return head + b"".join(headers) + b"\r\n" + body


def half(request: bytes, *headers: bytes) -> bytes:
    """Begin an answer, and end after half of the bytes that are missing."""
    answer = (
        part(request, *headers)
        if b"\r\nRange:" in request
        else whole(b"", 0).replace(b"\r\n\r\n", b"\r\n" + b"".join(headers) + b"\r\n", 1)
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n" + body[: -(-len(body) // 2)]


# --- what is sent

TARGETS: dict[str, str] = {
    "/x.csv?sig=a": "/x.csv?sig=a",
    "/%7Ex/a%2bb%2Fc.csv?sig=%2b%7e%2F%3D": "/%7Ex/a%2bb%2Fc.csv?sig=%2b%7e%2F%3D",
    "//bucket//x.csv?a=//": "//bucket//x.csv?a=//",
    "/a/../b/./c?x=/../y": "/a/../b/./c?x=/../y",
    "/~x/(a)!*'[b]|^`\"<>{}\\?~=(!)*'[]|^`\"<>{}\\": "/~x/(a)!*'[b]|^`\"<>{}\\?~=(!)*'[]|^`\"<>{}\\",
    "/x%?a=%&b=%zz&c=%2": "/x%?a=%&b=%zz&c=%2",
    "/x?": "/x?",
    "/x?a=b?c=d": "/x?a=b?c=d",
    "/x;v=1?a;b": "/x;v=1?a;b",
    "?a=b": "/?a=b",
    "": "/",
    "/x?a=b#fragment?c": "/x?a=b",
    # What no request can hold.
    "/ä b?ö=\u20ac": "/%C3%A4%20b?%C3%B6=%E2%82%AC",
    "/%C3%A4ä": "/%C3%A4%C3%A4",
}


@pytest.mark.parametrize(("given", "sent"), TARGETS.items(), ids=ascii)
def test_a_url_is_sent_as_it_was_signed(given: str, sent: str) -> None:
    with serving(whole) as host:
        assert fetch(host.url + given) == DATA
        assert host.targets == [sent.encode()]
        assert all(b":path" not in request for request in host.requests)


@pytest.mark.parametrize(("given", "sent"), TARGETS.items(), ids=ascii)
def test_a_proxy_is_sent_the_url_as_it_was_signed(monkeypatch: pytest.MonkeyPatch, given: str, sent: str) -> None:
    with serving(whole) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{proxy.port}")
        assert fetch("http://files.example:8080" + given) == DATA
        assert proxy.targets == [b"http://files.example:8080" + sent.encode()]
        assert proxy.header(b"Host") == [b"files.example:8080"]
        assert proxy.header(b"Proxy-Authorization") == [b"Basic dXNlcjpzZWNyZXQ="]


LOCATIONS: list[tuple[bytes, bytes]] = [
    (b"{url}/a%2bb%7e//c?sig=%2b", b"/a%2bb%7e//c?sig=%2b"),
    (b"{url}/a/../b?", b"/a/../b?"),
    (b"{url}/a?sig=b \t", b"/a?sig=b"),
    (b"//127.0.0.1:{port}//a?b", b"//a?b"),
    (b"/%7e/a//b?y=%2b", b"/%7e/a//b?y=%2b"),
    (b"c%7e?y=%2b", b"/first/c%7e?y=%2b"),
    (b"?y=%2b", b"/first/x?y=%2b"),
    ("{url}/ä?ö=ü".encode(), b"/%C3%A4?%C3%B6=%C3%BC"),
    ("/ä".encode("latin-1"), b"/%E4"),
]


@pytest.mark.parametrize(("location", "sent"), LOCATIONS, ids=ascii)
def test_a_redirect_is_followed_as_it_was_signed(location: bytes, sent: bytes) -> None:
    def answer(_: bytes, number: int) -> bytes:
        if number > 1:
            return whole(b"", 0)
        target = location.replace(b"{url}", host.url.encode()).replace(b"{port}", b"%d" % host.port)
        return b"HTTP/1.1 302 x\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n"

    with serving(answer) as host:
        assert fetch(f"{host.url}/first/x?a=%2b") == DATA
        assert host.targets == [b"/first/x?a=%2b", sent]


REFUSED: dict[bytes, tuple[str, int]] = {
    # Location: the error, and the number of requests.
    b"https://127.0.0.1:9/x?sig=1": ("is malformed or not http", 1),
    b"file:///etc/passwd": ("is malformed or not http", 1),
    b"http://[::1/": ("is malformed or not http", 1),
    b"/again": ("redirects more than 5 times", 6),
}


@pytest.mark.parametrize(("location", "error", "count"), [(k, *v) for k, v in REFUSED.items()], ids=ascii)
def test_a_redirect_that_is_not_followed(location: bytes, error: str, count: int) -> None:
    with (
        serving(lambda _, __: b"HTTP/1.1 302 x\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n") as host,
        pytest.raises(TapError, match=error),
    ):
        fetch(f"{host.url}/x")
    assert len(host.requests) == count


# --- what is taken for the whole

IN_CHUNKS = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
"""The next request would be sent over this connection, perhaps before it is closed."""
CHUNKED = OK + IN_CHUNKS
BODIES: dict[str, bytes] = {
    "plain": b"%x\r\n" % 100 + DATA[:100] + b"\r\n%x\r\n" % (len(DATA) - 100) + DATA[100:] + b"\r\n0\r\n\r\n",
    "sizes of eight digits": b"%08x\r\n" % len(DATA) + DATA + b"\r\n00000000\r\n\r\n",
    "extensions and a trailer": b"%x;a=b\r\n" % len(DATA) + DATA + b"\r\n0;c\r\nX-Sum: 1\r\n\r\n",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_chunked_body_that_is_cut_is_never_whole(body: bytes) -> None:
    """Cut at each byte: the first answer is either whole, or asked for again."""
    proven = body.index(b"\r\n0", body.rindex(DATA[-9:])) + 2
    proven = body.index(b"\r\n", proven) + 2  # the line of the last chunk
    for place in range(len(body) + 1):

        def answer(request: bytes, number: int, place: int = place) -> bytes:
            if b"\r\nRange:" in request:
                return CHUNKED + body
            return CHUNKED + (body[:place] if number == 1 else body)

        with serving(answer) as host:
            assert fetch(f"{host.url}/x") == DATA
            downloads = [request for request in host.requests if b"\r\nRange:" not in request]
            assert len(downloads) == (1 if place >= proven and body[:place].endswith(b"\n") else 2), place


CUT = b"%x\r\n" % 100 + DATA[:100] + b"\r\n0\r\n\r\n"
"""A proxy ends the body in good order, before its last bytes."""
RANGED = b"206 x\r\n" + ETAG + b"Content-Length: 1\r\n"
TEXT = b"Content-Type: text/csv\r\n"
SENT = b"200 x\r\n" + ETAG + TEXT + b"Content-Length: %d\r\n" % len(DATA)
STATED: dict[str, bytes] = {
    # Answers to the request for the first byte: the size is stated.
    "206": RANGED + b"Content-Range: bytes 0-0/%d\r\n\r\nx" % len(DATA),
    "206, more than was asked for": RANGED + b"Content-Range: bytes 0-99/%d\r\n\r\nx" % len(DATA),
    "206 without an ETag": b"206 x\r\nContent-Length: 1\r\nContent-Range: bytes 0-0/%d\r\n\r\nx" % len(DATA),
    "416": b"416 x\r\nContent-Length: 0\r\nContent-Range: bytes */%d\r\n\r\n" % len(DATA),
    "200": SENT + b"\r\n" + DATA,
}
ASKED_AGAIN: dict[str, bytes] = {
    # The second answer is the size.
    **{
        f"{status}": b"%d x\r\nContent-Length: 0\r\n\r\n" % status
        for status in (400, 401, 403, 408, 410, 429, 500, 503)
    },
    "reset": b"",
    "an informational response": b"103 x\r\n\r\n",
    "another object": b'206 x\r\nETag: "2"\r\nContent-Range: bytes 0-0/999\r\nContent-Length: 1\r\n\r\nx',
}
NOT_STATED: dict[str, bytes] = {
    **{
        f"206 {place!r}": RANGED + b"Content-Range: %b\r\n\r\nx" % place
        for place in (
            b"",
            b"bytes 0-0/*",
            b"bytes */129",
            b"bytes=0-0/129",
            b"bytes 5-9/129",
            b"items 0-0/129",
            b"bytes 0-0/99",
            b"bytes 0-0/0",
        )
    },
    "206 without Content-Range": RANGED + b"\r\nx",
    "206 of several parts": b"206 x\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 1\r\n\r\nx",
    **{
        f"416 {place!r}": b"416 x\r\nContent-Length: 0\r\nContent-Range: %b\r\n\r\n" % place
        for place in (b"", b"bytes */0", b"bytes */*", b"bytes */99", b"bytes 0-0/129")
    },
    "200, in chunks": b"200 x\r\n" + ETAG + TEXT + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "200, packed": SENT + b"Content-Encoding: gzip\r\n\r\n",
    "200, another ETag": SENT.replace(b'"1"', b'"2"') + b"\r\n",
    "200, no ETag": SENT.replace(ETAG, b"") + b"\r\n",
    "200, another type": SENT.replace(b"csv", b"html") + b"\r\n",
    "200, shorter": SENT.replace(b"129", b"5") + b"\r\n<htm>",
    "a page": b"200 x\r\nContent-Type: text/html\r\nContent-Length: 999\r\n\r\n<htm>",
    **{f"{status}": b"%d x\r\nContent-Length: 0\r\n\r\n" % status for status in (204, 304, 404, 405, 407, 451, 501)},
    "a redirect to another scheme": b"302 x\r\nLocation: https://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
}
ANSWERS = [
    *((name, [answer], True) for name, answer in STATED.items()),
    *((name, [answer, STATED["206"]], True) for name, answer in ASKED_AGAIN.items()),
    *((name, [answer], False) for name, answer in NOT_STATED.items()),
    ("403 twice", [ASKED_AGAIN["403"]] * 2, False),
]


@pytest.mark.parametrize(("answers", "is_stated"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "closed"])
def test_a_body_without_a_size_is_verified_by_a_request_for_it(
    answers: list[bytes], *, is_stated: bool, is_chunked: bool
) -> None:
    """Where it is not stated, the last chunk has to prove the end."""
    left = list(answers)

    def answer(request: bytes, _: int) -> bytes:
        if b"Range: bytes=0-0" in request:
            return b"HTTP/1.1 " + first if (first := left.pop(0) if left else b"") else b""
        if b"\r\nRange:" in request:
            return part(request, ETAG)
        return OK + ETAG + TEXT + (IN_CHUNKS + CUT if is_chunked else b"\r\n" + DATA[:100])

    is_refused = not is_stated and not is_chunked
    refused = pytest.raises(TapError, match="declares no length") if is_refused else contextlib.nullcontext()
    with serving(answer) as host, refused:
        assert fetch(f"{host.url}/x") == (DATA if is_stated else DATA[:100])
    assert not left
    assert host.header(b"Range") == [None, *[b"bytes=0-0"] * len(answers), *[b"bytes=100-"] * is_stated]


@pytest.mark.parametrize("probe", [b"429", b"503", b""])
def test_a_size_that_can_not_be_had_now_fails_the_download(probe: bytes) -> None:
    """The body is not fetched again for it, nor accepted."""

    def answer(request: bytes, _: int) -> bytes:
        if b"Range: bytes=0-0" in request:
            return probe and b"HTTP/1.1 " + probe + b" x\r\nContent-Length: 0\r\n\r\n"
        return CHUNKED + BODIES["plain"]

    with serving(answer) as host, pytest.raises(TapError, match="failed after 8 attempts") as caught:
        fetch(f"{host.url}/x")
    assert type(caught.value) is TapError
    assert host.header(b"Range") == [None] + [b"bytes=0-0"] * 8


@pytest.mark.parametrize(("tag", "probes"), [(b"", 1), (b'ETag: W/"2"\r\n', 1), (b'ETag: "2"\r\n', 6)])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_size_that_is_always_of_another_replica_counts(tag: bytes, probes: int, *, is_cut: bool) -> None:
    def answer(request: bytes, _: int) -> bytes:
        if b"\r\nRange:" in request:
            return part(request, tag)
        return OK + ETAG + IN_CHUNKS + (CUT if is_cut else BODIES["plain"])

    refused = pytest.raises(TapError, match="restarted 10 times") if is_cut else contextlib.nullcontext()
    with serving(answer) as host, refused:
        assert fetch(f"{host.url}/x") == DATA
        assert host.header(b"Range") == [None] + [b"bytes=0-0"] * probes


def test_a_url_that_serves_one_request_is_asked_for_the_size_with_a_fresh_one() -> None:
    urls = iter(["/old", "/new"])

    def answer(request: bytes, _: int) -> bytes:
        if b"\r\nRange:" not in request:
            return CHUNKED + BODIES["plain"]
        return part(request) if b"/new" in request else b"HTTP/1.1 403 x\r\nContent-Length: 0\r\n\r\n"

    with serving(answer) as host:
        file_host = FileHost(user_agent="agent", timeout=(5, 5), schemes=("http",), logger=LOGGER)
        with file_host.fetch(lambda: host.url + next(urls), "Export x") as file:
            assert file.read() == DATA
        assert host.targets == [b"/old", b"/old", b"/new"]


def test_a_host_that_serves_one_request_at_a_time_is_asked_for_the_size_afterwards() -> None:
    """The body is larger than what the system takes from the host before it is read."""
    data = DATA * 80_000
    body = CHUNKED + b"%x\r\n" % len(data) + data + b"\r\n0\r\n\r\n"
    with serving(lambda _, __: body) as host:
        assert fetch(f"{host.url}/x", timeout=1) == data
        assert host.header(b"Range") == [None, b"bytes=0-0"]


@pytest.mark.parametrize(("size", "asked"), [(100, 0), (len(DATA) + 1, 1)])
def test_a_head_that_is_here_needs_no_size(size: int, asked: int) -> None:
    file_host = FileHost(user_agent="agent", timeout=(5, 5), schemes=("http",), logger=LOGGER)
    with serving(lambda _, __: CHUNKED + BODIES["plain"]) as host:
        assert file_host.fetch_head(lambda: host.url, "Export x", size) == (DATA[:size], bool(asked))
        assert len(host.requests) == 1 + asked


PACKED = gzip.compress(DATA * 99, mtime=0)


GZIP = b"Content-Encoding: gzip\r\n"
PLACES = [2, 9, 10, len(PACKED) // 2, len(PACKED) - 1]


def chunked(body: bytes, *headers: bytes) -> bytes:
    chunk = b"%x\r\n" % len(body) + body + b"\r\n" if body else b""
    return OK + b"".join(headers) + IN_CHUNKS + chunk + b"0\r\n\r\n"


@pytest.mark.parametrize("header", [GZIP, GZIP.replace(b"gzip", b"x-gzip"), b""], ids=ascii)
@pytest.mark.parametrize("tag", [b"", ETAG])
@pytest.mark.parametrize("place", PLACES)
def test_gzip_without_a_size_that_ends_early_is_fetched_again(
    monkeypatch: pytest.MonkeyPatch, place: int, tag: bytes, header: bytes
) -> None:
    """Packed on the way, it has another size than the object; its own end shows that it is whole."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    def is_probe(request: bytes) -> bool:
        return b"Range: bytes=0-0" in request

    def answer(request: bytes, number: int) -> bytes:
        return chunked(PACKED[:place] if number == 1 or is_probe(request) else PACKED, tag, header)

    with serving(answer) as host:
        assert fetch(f"{host.url}/x") == PACKED
    assert len(waits) == 1
    assert len(host.requests) == (2 if header else 4)
    assert host.header(b"Range").count(None) == 2


@pytest.mark.parametrize("header", [GZIP, b""], ids=ascii)
@pytest.mark.parametrize("place", PLACES)
def test_gzip_that_ends_early_in_the_same_place_again_is_stored_so(place: int, header: bytes) -> None:
    """Its reader says that it is damaged."""
    with serving(lambda _, __: chunked(PACKED[:place], ETAG, header)) as host:
        assert fetch(f"{host.url}/x") == PACKED[:place]
        assert host.header(b"Range").count(None) == 2


def test_gzip_that_ends_early_in_another_place_each_time_is_not_accepted() -> None:
    with (
        serving(lambda _, number: chunked(PACKED[: number + 9], ETAG, GZIP)) as host,
        pytest.raises(TapError, match="failed after 8 attempts") as caught,
    ):
        fetch(f"{host.url}/x")
    assert not isinstance(caught.value, FileUnusable)
    assert len(host.requests) == 8


def test_gzip_that_was_packed_on_the_way_is_not_asked_for_its_size() -> None:
    """The size of the object is another; a resumed download would mix the two."""

    def answer(request: bytes, _: int) -> bytes:
        return part(request, ETAG, data=DATA * 99) if b"\r\nRange:" in request else chunked(PACKED, ETAG, GZIP)

    with serving(answer) as host:
        assert fetch(f"{host.url}/x") == PACKED
        assert len(host.requests) == 1


def test_gzip_that_ends_by_closing_is_never_complete() -> None:
    with (
        serving(lambda _, __: OK + ETAG + GZIP + b"\r\n" + PACKED) as host,
        pytest.raises(TapError, match="declares no length"),
    ):
        fetch(f"{host.url}/x")


def test_a_header_of_gzip_over_a_plain_body_changes_nothing() -> None:
    with serving(lambda request, n: part(request, ETAG) if n > 1 else chunked(DATA[:100], ETAG, GZIP)) as host:
        assert fetch(f"{host.url}/x") == DATA
        assert host.header(b"Range") == [None, b"bytes=0-0", b"bytes=100-"]


@pytest.mark.parametrize("header", [GZIP, b""], ids=ascii)
def test_an_empty_body_is_handed_over(header: bytes) -> None:
    """Its reader says that it is empty."""
    with serving(lambda _, __: chunked(b"", header)) as host:
        assert fetch(f"{host.url}/x") == b""
        assert len(host.requests) == 2


def test_gzip_that_is_damaged_is_not_fetched_again() -> None:
    """Its reader says what is wrong with it."""
    damaged = PACKED[:-8] + bytes(8)
    head = OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(lambda _, __: head + b"%x\r\n" % len(damaged) + damaged + b"\r\n0\r\n\r\n") as host:
        assert fetch(f"{host.url}/x") == damaged
        assert len(host.requests) == 1


@pytest.mark.parametrize("place", range(1, len(whole(b"", 0)), 7))
def test_a_body_with_a_length_that_is_cut_is_resumed(place: int) -> None:
    answers = whole(b"", 0).replace(b"\r\n\r\n", b"\r\n" + ETAG + b"\r\n", 1)

    def answer(request: bytes, number: int) -> bytes:
        return answers[:place] if number == 1 else part(request, ETAG) if b"\r\nRange:" in request else answers

    with serving(answer) as host:
        assert fetch(f"{host.url}/x") == DATA
        received = max(0, place - answers.index(b"\r\n\r\n") - 4)
        assert host.header(b"Range")[1:] == [b"bytes=%d-" % received if received else None]


def test_a_body_without_any_end_is_refused() -> None:
    with (
        serving(lambda _, __: OK + b"\r\n" + DATA) as host,
        pytest.raises(TapError, match="it is unknown whether the file is whole") as caught,
    ):
        fetch(f"{host.url}/x")
    assert not isinstance(caught.value, FileUnusable)


ENCODINGS: dict[bytes, bool] = {
    b"Transfer-Encoding: identity": True,
    b"Transfer-Encoding: identity, chunked": False,
    b"Content-Encoding: utf-8": True,
    b"Content-Encoding: aws-chunked": True,
    b"Content-Encoding: gzip, br": False,
}


@pytest.mark.parametrize(("header", "is_read"), ENCODINGS.items(), ids=ascii)
def test_which_encodings_are_read(header: bytes, *, is_read: bool) -> None:
    answer = whole(b"", 0).replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n\r\n", 1)
    refused = contextlib.nullcontext() if is_read else pytest.raises(FileUnusable, match="an encoding")
    with serving(lambda _, __: answer) as host, refused:
        assert fetch(f"{host.url}/x") == DATA


@pytest.mark.parametrize("size", [b"-81", b"+81", b"0x81", b"8_1", b" 81", b"", b"81 81", b"81;" + b"x" * (1 << 16)])
def test_a_malformed_size_of_a_chunk_is_refused(size: bytes) -> None:
    answer = CHUNKED + size + b"\r\n" + DATA + b"\r\n0\r\n\r\n"
    with serving(lambda _, __: answer) as host, pytest.raises(TapError, match="sent a malformed response"):
        fetch(f"{host.url}/x")
    assert len([request for request in host.requests if b"\r\nRange:" not in request]) == 8


def test_an_absurd_length_is_none() -> None:
    def answer(request: bytes, _: int) -> bytes:
        return part(request) if b"\r\nRange:" in request else OK + b"Content-Length: %b\r\n\r\n" % (b"9" * 5000) + DATA

    with serving(answer) as host:
        assert fetch(f"{host.url}/x") == DATA


def test_a_repeated_length_is_one() -> None:
    length = b"Content-Length: %d\r\n" % len(DATA)
    with serving(lambda _, __: OK + length * 2 + b"\r\n" + DATA) as host:
        assert fetch(f"{host.url}/x") == DATA
        assert len(host.requests) == 1


def test_lengths_that_contradict_each_other_are_blamed_on_the_host() -> None:
    with (
        serving(lambda _, __: OK + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n" + DATA) as host,
        pytest.raises(TapError, match=r"after 8 attempts \(last error: 127\.0\.0\.1:\d+ sent a malformed header\)"),
    ):
        fetch(f"{host.url}/x")


# --- parts

UNASKED: dict[bytes, list[bytes | None]] = {
    # Content-Range of the first answer, and the ranges that are asked for.
    b"bytes 0-%d/%d" % (len(DATA) - 1, len(DATA)): [None],
    b"bytes 0-%d/*" % (len(DATA) - 1): [None, b"bytes=0-0"],
    b"bytes 0-9/%d" % len(DATA): [None, b"bytes=10-"],
}


@pytest.mark.parametrize(("content_range", "asked"), UNASKED.items(), ids=ascii)
def test_a_206_that_nobody_asked_for_is_read(content_range: bytes, asked: list[bytes | None]) -> None:
    body = DATA[:10] if b"-9/" in content_range else DATA
    headers = ETAG + b"Content-Length: %d\r\nContent-Range: %b\r\n\r\n" % (len(body), content_range)

    def answer(request: bytes, _: int) -> bytes:
        return part(request, ETAG) if b"\r\nRange:" in request else b"HTTP/1.1 206 x\r\n" + headers + body

    with serving(answer) as host:
        assert fetch(f"{host.url}/x") == DATA
        assert host.header(b"Range") == asked


@pytest.mark.parametrize(
    "content_range", [b"bytes 1-9/10", b"items 0-9/10", b"", b"bytes 0 - 9/10"], ids=lambda text: text.decode()
)
def test_a_206_that_does_not_begin_at_the_start_is_refused(content_range: bytes) -> None:
    head = b"HTTP/1.1 206 x\r\nContent-Length: 10\r\nContent-Range: " + content_range + b"\r\n\r\n"
    with serving(lambda _, __: head + DATA[:10]) as host, pytest.raises(TapError, match="restarted 10 times") as caught:
        fetch(f"{host.url}/x")
    assert not isinstance(caught.value, FileUnusable)


def test_a_200_to_if_range_is_asked_again_with_range_alone() -> None:
    """The ETag of the 206 proves that the object is the same; what is here is kept."""

    def answer(request: bytes, number: int) -> bytes:
        if number == 1 or b"\r\nIf-Range:" in request:
            return half(b"", ETAG)
        return half(request, ETAG) if number == 3 else part(request, ETAG)

    with serving(answer) as host:
        assert fetch(f"{host.url}/x") == DATA
        kept, more = -(-len(DATA) // 2), -(-len(DATA) // 2) + -(-(len(DATA) // 2) // 2)
        assert host.header(b"Range") == [None, b"bytes=%d-" % kept, b"bytes=%d-" % kept, b"bytes=%d-" % more]
        assert host.header(b"If-Range") == [None, b'"1"', None, None]


def test_a_host_that_always_answers_200_starts_over() -> None:
    with serving(lambda _, number: half(b"", ETAG) if number == 1 else whole(b"", 0)) as host:
        assert fetch(f"{host.url}/x") == DATA
        assert len(host.requests) == 4  # cut, If-Range, Range alone, the whole


def test_replicas_with_an_etag_each_end_in_the_whole_file() -> None:
    """Two replicas take turns, and each answer is cut: with a restart for each change it would never end."""

    def answer(request: bytes, number: int) -> bytes:
        tag = b'ETag: "%d"\r\n' % (number // 3 % 2)
        condition = re.search(rb"If-Range: (.*)\r", request)
        is_same = condition is None or condition[1] in tag
        return half(request if is_same else b"", tag)

    with serving(answer) as host:
        assert fetch(f"{host.url}/x") == DATA
        assert len(host.requests) < 40


def test_a_trickle_is_not_progress() -> None:
    """Each answer is cut after a byte more."""

    def answer(request: bytes, _: int) -> bytes:
        whole_answer = part(request if b"\r\nRange:" in request else b"Range: bytes=0-", ETAG)
        return whole_answer[: whole_answer.index(b"\r\n\r\n") + 5]

    with serving(answer) as host, pytest.raises(TapError, match="failed after 8 attempts"):
        fetch(f"{host.url}/x")


def test_a_host_that_stalls_is_asked_eight_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block takes longer than the window over which the rate is measured."""
    clock = itertools.count(0, 61)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(partial, "READ_SIZE", 2000)
    data = DATA * 1000

    def answer(request: bytes, _: int) -> bytes:
        return part(request if b"\r\nRange:" in request else b"Range: bytes=0-", ETAG, data=data)

    with serving(answer) as host, pytest.raises(TapError, match=r"8 attempts .* less than 1,024 bytes per second"):
        fetch(f"{host.url}/x")
    assert host.header(b"Range")[7] == b"bytes=14000-"


OTHERS: dict[str, tuple[bytes, bytes]] = {
    # The object that the 206 is of: its ETag and bytes.
    "another ETag": (b'ETag: "2"\r\n', DATA[::-1]),
    "no ETag": (b"", DATA[::-1]),
    "another size": (ETAG, DATA[::-1] * 2),
    "the size that is here": (b'ETag: "2"\r\n', DATA[: -(-len(DATA) // 2)][::-1]),
}


@pytest.mark.parametrize(("tag", "other"), OTHERS.values(), ids=OTHERS)
def test_an_object_that_changed_is_fetched_as_one(tag: bytes, other: bytes) -> None:
    def answer(request: bytes, number: int) -> bytes:
        if number == 1:
            return half(b"", ETAG)
        if b"\r\nRange:" in request:
            return part(request, tag, data=other)
        return OK + b"Content-Length: %d\r\n\r\n" % len(other) + other

    with serving(answer) as host:
        assert fetch(f"{host.url}/x") == other


def test_a_weak_etag_proves_nothing() -> None:
    tag = b'ETag: W/"1"\r\n'
    with serving(lambda _, number: half(b"", tag) if number == 1 else whole(b"", 0)) as host:
        assert fetch(f"{host.url}/x") == DATA
        assert host.header(b"Range") == [None, None]


@pytest.mark.parametrize(("size", "is_whole"), [(10, False), (len(DATA), True), (999, True)])
def test_the_head_of_a_file(size: int, *, is_whole: bool) -> None:
    file_host = FileHost(user_agent="agent", timeout=(5, 5), schemes=("http",), logger=LOGGER)
    with serving(lambda request, _: part(request, ETAG)) as host:
        assert file_host.fetch_head(lambda: host.url, "Export x", size) == (DATA[:size], is_whole)
        assert host.header(b"Range") == [b"bytes=0-%d" % (size - 1)]


# --- gone, or not to be had now

STATUSES: dict[int, type[TapError]] = {
    404: FileUnusable,
    410: FileUnusable,
    403: FileUnusable,
    **dict.fromkeys((400, 401, 405, 407, 416, 418, 429, 451, 500, 502, 503, 504), TapError),
}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_only_a_file_that_is_gone_for_good_is_unusable(status: int, kind: type[TapError]) -> None:
    answer = b"HTTP/1.1 %d x\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n" % status
    with serving(lambda _, __: answer) as host, pytest.raises(TapError) as caught:
        fetch(f"{host.url}/x")
    assert type(caught.value) is kind
    assert str(status) in str(caught.value) or status == 416


@pytest.mark.parametrize("status", [400, 401, 403, 410])
def test_an_expired_url_costs_no_byte(status: int) -> None:
    urls = iter(["/old", "/new"])

    def answer(request: bytes, number: int) -> bytes:
        if number == 1:
            return half(b"", ETAG)
        return b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status if b"/old" in request else part(request, ETAG)

    with serving(answer) as host:
        file_host = FileHost(user_agent="agent", timeout=(5, 5), schemes=("http",), logger=LOGGER)
        with file_host.fetch(lambda: host.url + next(urls), "Export x") as file:
            assert file.read() == DATA
        assert host.targets == [b"/old", b"/old", b"/new"]
        assert host.header(b"Range")[2] == b"bytes=%d-" % -(-len(DATA) // 2)


def test_an_informational_response_is_asked_again() -> None:
    with serving(lambda _, number: whole(b"", 0) if number > 1 else b"HTTP/1.1 103 x\r\n\r\n") as host:
        assert fetch(f"{host.url}/x") == DATA
