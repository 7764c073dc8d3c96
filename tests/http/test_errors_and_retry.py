"""Rules of the ground floor and of http/: redaction, why a request failed, the waits between attempts."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import logging
import random
import re
import socket
import ssl
import struct
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
import urllib3
from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.errors import TapError, plural
from tap_dynamic.http.failures import CHECK_PROXY, CHECK_TLS, Failure, explain, host_of, may_pass, status_of
from tap_dynamic.http.retry import MAX_ATTEMPTS, MAX_WAIT, Backoff, retry_after
from tap_dynamic.http.session import new_session
from tap_dynamic.redaction import MAX_DETAIL, first_line, redact, redact_record
from tap_dynamic.singer.command import error_boundary
from tests.sockets import listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sockets import Handler

SECRET = "deadbeefcafe"  # noqa: S105 (nothing's token)
TOKEN = f"dyn_{SECRET}"
SIGNED = f"X-Amz-Credential=AKIA&X-Amz-Signature={SECRET}"
ABSOLUTE = f"https://files.example/exports/x.csv?{SIGNED}"
RELATIVE = f"/exports/x.csv?{SIGNED}"
LOGGER = logging.getLogger("test_errors_and_retry")

# --- redaction

NASTY: dict[str, str] = {
    # URLs.
    "an absolute URL": f"GET {ABSOLUTE} failed",
    "a relative URL": f"GET {RELATIVE} failed",
    "a query alone": f"?{SIGNED}",
    "a query without a question mark": SIGNED,
    "a part of a query": f"expires=1&X-Amz-Signature={SECRET}&x=y",
    "of Google": f"https://h/x.csv?GoogleAccessId=a&Expires=1&Signature={SECRET}",
    "of Azure": f"https://h/x.csv?sv=2020&sig={SECRET}%3D&se=2030",
    "a security token": f"X-Amz-Security-Token={SECRET}",
    "a fragment": f"https://h/x.csv?a=b#{SECRET}",
    "in another case": f"HTTPS://H/X?x-amz-signature={SECRET}",
    "in double quotes": f'"{ABSOLUTE}"',
    "with brackets and commas": f"https://h/?a[0]=x,{SECRET}",
    "with a single quote": f"https://h/x.csv?filename='x.csv'&key={SECRET}",
    "in HTML": f'<a href="{ABSOLUTE.replace("&", "&amp;")}">',
    "on two lines": f"at x ({ABSOLUTE})\n    at y ({RELATIVE})",
    # Percent-encoded.
    "an encoded URL": quote(ABSOLUTE, safe=""),
    "an encoded URL, lower case": quote(ABSOLUTE, safe="").replace("%3F", "%3f"),
    "an encoded URL but for slashes": quote(ABSOLUTE),
    "an encoded part of a query": quote(f"expires=1&X-Amz-Signature={SECRET}", safe=""),
    "encoded twice": quote(quote(ABSOLUTE, safe=""), safe=""),
    "a query encoded twice": quote(quote(f"https://h/x.csv?email={SECRET}", safe=""), safe=""),
    "in a parameter": f"https://h/login?next={quote(ABSOLUTE, safe='')}",
    # Tokens.
    "a token": f"the token {TOKEN} is wrong",
    "a header": f"Authorization: Bearer {TOKEN}",
    "a token with hyphens": f"dyn_a-b_c.d~{SECRET}",
    "a token in another case": f"DYN_{SECRET}",
    "a token after a letter": f"x{TOKEN}",
    "a token as a parameter": f"token={TOKEN}",
    "a token with a NUL": f"dy\0n_{SECRET}",
    "a token and a line break": f"{TOKEN}\n{TOKEN}",
    "a token after a lone surrogate": f"\ud800{TOKEN}",
}
NASTY |= {f"JSON of {name}": json.dumps({"error": [text]}) for name, text in NASTY.items() if text.isprintable()}
NASTY |= {
    "JSON of JSON": json.dumps(json.dumps({"url": ABSOLUTE, "token": TOKEN})),
    "JSON with escaped slashes": json.dumps({"url": ABSOLUTE}).replace("/", "\\/"),
    "JSON with escaped ampersands": json.dumps({"url": ABSOLUTE}).replace("&", "\\u0026"),
    "a dict": str({"url": ABSOLUTE, "token": TOKEN}),
}


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_queries_and_tokens_are_removed(text: str) -> None:
    assert SECRET in text.replace("\0", "")
    for clean in (redact(text), first_line(text), first_line(f"{text}\n{text}")):
        assert SECRET not in clean
        assert redact(clean) == clean
        clean.encode()
        assert "\0" not in clean


KEPT: list[tuple[object, str]] = [
    # What is not secret stays.
    ("Out of memory", "Out of memory"),
    ("Why? Because.", "Why? Because."),
    ("https://files.example/x.csv", "https://files.example/x.csv"),
    (f"{ABSOLUTE} is gone", "https://files.example/exports/x.csv?\u2026 is gone"),
    (f"Bearer {TOKEN} is wrong", "Bearer dyn_\u2026 is wrong"),
    ("dynamic dyn dyn_", "dynamic dyn dyn_"),
    ("a\0b", "ab"),
    ("a\ud800", "a?"),
    ("two\nlines", "two\nlines"),
    (None, ""),
    ("", ""),
    (ValueError("x?y=z"), "x?\u2026"),
]


@pytest.mark.parametrize(("text", "expected"), KEPT, ids=ascii)
def test_what_redaction_keeps(text: object, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize("text", ["a", "sig", "token=", "?", "%3f", "dyn_", "&", "a=b&"])
def test_redaction_takes_linear_time(text: str) -> None:
    started = time.process_time()
    redact(text * (4_000 // len(text)))
    assert time.process_time() - started < 0.1


FIRST_LINES: list[tuple[object, str]] = [
    ("one\ntwo", "one"),
    ("\n\r\n  one\ntwo", "one"),
    ("one\r\ntwo", "one"),
    ("a\x1b[31mb\u202ec", "a[31mbc"),  # escape sequences could rewrite a terminal
    ("x" * 1000, "x" * MAX_DETAIL),
    (f"{'x' * 100} {TOKEN} {'y' * 500}", f"{'x' * 100} dyn_\u2026 {'y' * 93}"),
    (None, ""),
    (" \n ", ""),
]


@pytest.mark.parametrize(("text", "expected"), FIRST_LINES, ids=lambda text: ascii(text)[:30])
def test_the_first_line_of_a_text(text: object, expected: str) -> None:
    assert first_line(text) == expected


LOGGED: list[tuple[str, tuple[Any, ...]]] = [
    ("%s://%s:%s %s", ("https", "h", 443, RELATIVE)),
    (f"GET {RELATIVE}", ()),
    ("%(url)s", ({"url": ABSOLUTE},)),
    ("Bearer %s", (TOKEN,)),
]


@pytest.mark.parametrize(("message", "args"), LOGGED)
def test_log_records_of_libraries_are_redacted(message: str, args: tuple[Any, ...]) -> None:
    record = logging.LogRecord("urllib3", logging.DEBUG, "", 0, message, args, (ValueError, ValueError(ABSOLUTE), None))
    assert redact_record(record)
    assert SECRET not in logging.Formatter("%(message)s").format(record)


PLURALS = [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1000, "1,000 rows"), (1_000_001, "1,000,001 rows")]


@pytest.mark.parametrize(("count", "text"), PLURALS)
def test_a_count_with_its_noun(count: int, text: str) -> None:
    assert plural(count, "row") == text


HOSTS = [
    ("https://app.example/api/v0?x=y", "app.example"),
    ("http://127.0.0.1:8080/x", "127.0.0.1:8080"),
    ("https://user:password@app.example/", "app.example"),
    ("http://[::1]:8080/x", "[::1]:8080"),
    ("https://[2001:db8::1]/", "[2001:db8::1]"),
    ("https://[::1", "the host"),
    ("https://h:99999/", "the host"),
    ("x", "the host"),
]


@pytest.mark.parametrize(("url", "host"), HOSTS)
def test_the_host_of_a_url(url: str, host: str) -> None:
    assert host_of(url) == host


# --- the last boundary

SAID: list[tuple[Exception, list[str]]] = [
    (TapError("one"), ["one"]),
    (TapError("one", "two"), ["one", "two"]),
    (TapError("50 % of %s"), ["50 % of %s"]),
    (BrokenPipeError(errno.EPIPE, SECRET), ["Stdout can't be written (broken pipe)."]),
    (OSError(errno.ENOSPC, SECRET), ["Stdout can't be written (no space left on device)."]),
]


@pytest.mark.parametrize(("error", "lines"), SAID, ids=lambda value: type(value).__name__)
def test_a_failure_ends_the_run_with_a_line_each(
    caplog: pytest.LogCaptureFixture, error: Exception, lines: list[str]
) -> None:
    logging.getLogger("tap-dynamic").disabled = True  # as a logging configuration leaves it
    with pytest.raises(SystemExit) as end, error_boundary():
        raise error
    assert end.value.code == 1
    assert [(record.levelname, record.message) for record in caplog.records] == [("ERROR", line) for line in lines]


def test_an_unexpected_error_is_named_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit), error_boundary():
        raise KeyError(SECRET)
    (record,) = caplog.records
    assert re.fullmatch(r"The run failed unexpectedly \(KeyError at test_\w+\.py:\d+\)\. .*", record.message)
    assert record.exc_info is None


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_the_process_passes(end: BaseException) -> None:
    with pytest.raises(type(end)), error_boundary():
        raise end


# --- failures of real requests

URL_PATH = f"/exports/x.csv?{SIGNED}"


@contextlib.contextmanager
def closed(_: Handler) -> Iterator[int]:
    """Yield a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield port


@contextlib.contextmanager
def crowded(_: Handler) -> Iterator[int]:
    """Yield a port whose backlog is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _number in range(4):
            peer = stack.enter_context(socket.socket())
            peer.settimeout(0)
            peer.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def say_nothing(_: socket.socket) -> None:
    pass


def close(peer: socket.socket) -> None:
    with peer:
        peer.recv(1 << 16)


def reset(peer: socket.socket) -> None:
    with peer:
        peer.recv(10)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answer(response: bytes, *, then: Handler = socket.socket.close) -> Handler:
    def handle(peer: socket.socket) -> None:
        peer.recv(1 << 16)
        peer.sendall(response)
        then(peer)

    return handle


OK = b"HTTP/1.1 200 OK\r\n"
PARTIAL = OK + b"Content-Length: 10\r\n\r\nabc"
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n"
# name: (scheme, where, what it does, the reason); the host stands for itself
FAILURES: dict[str, tuple[str, Callable[[Handler], contextlib.AbstractContextManager[int]], Handler, str]] = {
    "nothing listens": ("http", closed, close, "HOST refused the connection"),
    "nothing listens, TLS": ("https", closed, close, "HOST refused the connection"),
    "accepts no connection": ("http", crowded, close, "HOST did not accept a connection within connect_timeout"),
    "says nothing": ("http", listening, say_nothing, "HOST sent nothing within read_timeout"),
    "stalls": ("http", listening, answer(PARTIAL, then=say_nothing), "HOST sent nothing within read_timeout"),
    "says nothing in the TLS handshake": ("https", listening, say_nothing, ".*HOST.* within connect_timeout"),
    "closes in the TLS handshake": ("https", listening, close, "the TLS handshake with HOST failed"),
    "resets in the TLS handshake": ("https", listening, reset, "HOST reset the connection"),
    "speaks no TLS": ("https", listening, answer(OK), "the TLS handshake with HOST failed"),
    "closes": ("http", listening, close, "HOST (closed|reset) the connection"),
    "resets": ("http", listening, reset, "HOST reset the connection"),
    "closes in its answer": ("http", listening, answer(PARTIAL), "HOST closed the connection"),
    "speaks no HTTP": ("http", listening, answer(b"hello\r\n\r\n"), "HOST sent a malformed response"),
    "sends too many headers": ("http", listening, answer(OK + b"X: 1\r\n" * 150), "HOST sent a malformed response"),
    "sends a long header": ("http", listening, answer(OK + b"X: " + b"a" * 70000), "HOST sent a malformed response"),
    "sends a malformed chunk": ("http", listening, answer(CHUNKS + b"zz\r\nab"), "HOST sent a malformed response"),
    "closes in a chunk": ("http", listening, answer(CHUNKS + b"5\r\nab"), "HOST closed the connection"),
}


def failure_of(url: str, **options: Any) -> Exception:
    """The exception that a request raises, short of the proxies and certificates of this machine."""
    with requests.Session() as session:
        session.trust_env = False
        timeout = (0.2, 5.0) if url.startswith("https:") else (0.2, 0.2)
        # requests lets an error of urllib3 through where a label of the host is too long.
        with pytest.raises((requests.RequestException, urllib3.exceptions.LocationParseError)) as raised:
            _ = session.get(url, timeout=timeout, **options).content
    assert SECRET in url
    return raised.value


@pytest.mark.parametrize(("scheme", "where", "handler", "reason"), FAILURES.values(), ids=FAILURES)
def test_why_a_request_failed(
    scheme: str,
    where: Callable[[Handler], contextlib.AbstractContextManager[int]],
    handler: Handler,
    reason: str,
) -> None:
    with where(handler) as port:
        url = f"{scheme}://127.0.0.1:{port}{URL_PATH}"
        error = failure_of(url)
    text = explain(error, host_of(url)).reason
    assert explain(error, "h").advice is None
    assert status_of(error) is None
    pattern = reason.replace("HOST", re.escape(host_of(url)))
    assert re.fullmatch(pattern, text), text


# status: whether another attempt may succeed
CONNECTS = {407: False, 403: False, 408: True, 503: True}


@pytest.mark.parametrize(("status", "is_retried"), CONNECTS.items())
def test_a_proxy_that_refuses_to_connect_is_named(status: int, *, is_retried: bool) -> None:
    with listening(answer(b"HTTP/1.1 %d %b\r\n\r\n" % (status, SECRET.encode()))) as port:
        proxy = f"http://user:{SECRET}@127.0.0.1:{port}"
        error = failure_of(f"https://files.example{URL_PATH}", proxies={"https": proxy})
    failed = explain(error, "files.example")
    assert failed.reason == f"the proxy answered {status} instead of connecting to files.example"
    assert failed.advice == (None if is_retried else CHECK_PROXY)


PROXIES = ["http://127.0.0.1:port", "http://h:99999", "http://", "foo://h:1", "http://[::1", "http://a b:1", "//"]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("proxy", [*PROXIES, f"http://\u20ac:{SECRET}@127.0.0.1:1"], ids=ascii)
def test_a_malformed_proxy_is_not_blamed_on_the_host(monkeypatch: pytest.MonkeyPatch, scheme: str, proxy: str) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    with contextlib.closing(new_session("agent")) as session, pytest.raises(requests.RequestException) as raised:
        session.send(session.prepare_url(f"{scheme}://files.example{URL_PATH}", {}), timeout=1)
    assert explain(raised.value, "files.example") == Failure("the URL of the proxy is malformed", CHECK_PROXY)


def test_a_name_that_can_not_be_resolved() -> None:
    failed = explain(failure_of(f"https://does-not-exist.invalid{URL_PATH}"), "does-not-exist.invalid")
    assert failed == Failure("the name does-not-exist.invalid can't be resolved")


@pytest.mark.skipif(importlib.util.find_spec("socks") is not None, reason="PySocks is installed")
def test_a_proxy_that_needs_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with contextlib.closing(new_session("agent")) as session, pytest.raises(requests.RequestException) as raised:
        session.send(session.prepare_url(f"https://files.example{URL_PATH}", {}), timeout=1)
    assert explain(raised.value, "h") == Failure("the proxy is of a kind that needs another package", CHECK_PROXY)


def test_a_value_error_that_is_a_cause_is_not_of_the_url() -> None:
    assert explain(requests.ConnectionError(ValueError()), "h") == Failure("h closed the connection")


def test_a_proxy_that_refuses_the_connection() -> None:
    with closed(close) as port:
        error = failure_of(f"http://h.invalid{URL_PATH}", proxies={"http": f"http://127.0.0.1:{port}"})
    assert explain(error, "h.invalid").reason == "the proxy refused the connection"
    assert explain(error, "h").advice is None


MALFORMED = ["http://[::1", "files.example", "http://h:99999", "ftp://h", "https://", f"http://{'a' * 64}.invalid"]


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_is_final_and_is_not_blamed_on_the_host(url: str) -> None:
    error = failure_of(f"{url}{URL_PATH}")
    text = explain(error, host_of(url)).reason
    assert explain(error, "h").advice
    assert SECRET not in text
    assert "closed the connection" not in text


# --- waits between attempts


class Clock:
    """Records sleeps instead of sleeping, and asks for the longest jitter."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sleeps: list[float] = []
        self.ranges: list[tuple[float, float]] = []
        monkeypatch.setattr(time, "sleep", self.sleeps.append)
        monkeypatch.setattr(random, "uniform", self.uniform)

    def uniform(self, low: float, high: float) -> float:
        self.ranges.append((low, high))
        return high


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def answered(status: int, after: str | None = None, date: str | None = None) -> requests.Response:
    """A response with `Retry-After` and `Date`."""
    response = requests.Response()
    response.status_code = status
    response.headers.update({k: v for k, v in (("Retry-After", after), ("Date", date)) if v is not None})
    return response


def failure(status: int, after: str | None = None) -> RetriableAPIError:
    return RetriableAPIError(f"Dynamic answered {status}", answered(status, after))


PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
RETRY_AFTER: list[tuple[str | None, str | None, float]] = [
    # Retry-After, Date, seconds.
    *((text, None, 0) for text in (None, "", " ", "soon", "-5", "1.5", "nan", "1e3", "21 Oct")),
    ("7", None, 7),
    (" 120 ", None, 120),
    ("86400", None, 86400),
    ("7, 7", None, 7),
    ("7, 8", None, 0),
    ("9" * 400, None, float("inf")),
    (format_datetime(datetime.now(timezone.utc) + timedelta(days=99), usegmt=True), None, 99 * 86400),
    (PAST, None, 0),
    # A date counts from the clock of the host, not from this machine's.
    ("Wed, 21 Oct 2015 07:30:00 GMT", PAST, 120),
    ("Wed, 21 Oct 2099 07:30:00 GMT", "Wed, 21 Oct 2099 07:28:00 GMT", 120),
    ("Wednesday, 21-Oct-15 07:30:00 GMT", "Wed Oct 21 07:28:00 2015", 120),
    (PAST, "Wed, 21 Oct 2015 07:30:00 GMT", 0),
    (PAST, "noon", 0),
]


@pytest.mark.parametrize(("after", "date", "seconds"), RETRY_AFTER, ids=range(len(RETRY_AFTER)))
def test_seconds_of_retry_after(after: str | None, date: str | None, seconds: float) -> None:
    assert retry_after(answered(429, after, date)) == pytest.approx(seconds, rel=1e-4)


STATUSES = {100: True, 103: True, 200: False, 206: False, 302: False, 400: False, 404: False, 407: False, 408: True}
STATUSES |= {410: False, 429: True, 499: False, 500: True, 501: True, 503: True, 511: True, 599: True, 999: True}


@pytest.mark.parametrize(("status", "is_retried"), STATUSES.items())
def test_which_statuses_may_pass(status: int, *, is_retried: bool) -> None:
    assert may_pass(status) == is_retried


def test_a_certificate_that_fails_another_check_is_refused_with_its_reason() -> None:
    error = untrusted()
    error.verify_code, error.verify_message = 85, "Missing Authority Key Identifier"
    reason = "the TLS certificate of h is refused (Missing Authority Key Identifier)"
    assert explain(requests.exceptions.SSLError(error), "h") == Failure(reason, CHECK_TLS)


def test_waits_double_up_to_a_limit_with_full_jitter(clock: Clock) -> None:
    backoff = Backoff("The download", "h", LOGGER)
    for _ in range(MAX_ATTEMPTS - 1):
        backoff.wait(failure(500))
    assert clock.ranges == [(0, high) for high in (1, 2, 4, 8, 16, 30, 30)]
    assert max(clock.sleeps) == MAX_WAIT
    with pytest.raises(TapError) as raised:
        backoff.wait(failure(500))
    assert str(raised.value) == (
        "The download failed after 8 attempts (last error: Dynamic answered 500). No data was lost; run again later."
    )
    assert len(clock.sleeps) == MAX_ATTEMPTS - 1


WAITS: dict[str, tuple[list[str | None], list[float], str | None]] = {
    # name: (Retry-After of each failure, waits, a part of the error)
    "seconds: a floor beneath the backoff": (["7", "0"], [7, 2], None),
    "then none: jitter of that attempt": (["7", None], [7, 2], None),
    "just within the budget": (["600"], [600], None),
    "beyond the budget": (
        ["601"],
        [],
        "The request failed after 1 attempt (last error: Dynamic answered 429 and asks to wait 601 seconds)",
    ),
    "the sum is beyond the budget": (["300", "200", "101"], [300, 200], "after 3 attempts"),
    "the sum is within the budget": (["300", "200", "100"], [300, 200, 100], None),
}


@pytest.mark.parametrize(("headers", "sleeps", "problem"), WAITS.values(), ids=WAITS)
def test_retry_after_is_honoured_within_a_budget(
    clock: Clock, headers: list[str | None], sleeps: list[float], problem: str | None
) -> None:
    backoff = Backoff("The request", "h", LOGGER)
    message = None
    try:
        for header in headers:
            backoff.wait(failure(429, header))
    except TapError as error:
        message = str(error)
    assert clock.sleeps == sleeps
    assert (message is None) == (problem is None)
    assert (problem or "") in (message or "")


def test_progress_restores_the_budget(clock: Clock) -> None:
    backoff = Backoff("The download", "h", LOGGER)
    for _ in range(3):
        for _ in range(MAX_ATTEMPTS - 1):
            backoff.wait(failure(500, "80"))
        backoff.reset()
    assert clock.sleeps == [80] * 3 * (MAX_ATTEMPTS - 1)


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "self-signed")
    error.verify_code, error.verify_message = 18, "self-signed certificate"
    return error


FINAL: list[Exception] = [
    requests.exceptions.InvalidURL(ABSOLUTE),
    requests.exceptions.MissingSchema(ABSOLUTE),
    requests.exceptions.SSLError(
        urllib3.exceptions.MaxRetryError(urllib3.HTTPSConnectionPool("h"), RELATIVE, untrusted())
    ),
]


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_what_can_not_be_helped_is_not_tried_again(clock: Clock, error: Exception) -> None:
    with pytest.raises(TapError, match=r"^The request failed: .*Check api_url") as raised:
        Backoff("The request", "h", LOGGER).wait(error)
    assert not clock.sleeps
    assert SECRET not in str(raised.value)


def test_each_wait_is_one_warning_without_the_url(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER.name)
    error = requests.ConnectionError(
        urllib3.exceptions.MaxRetryError(urllib3.HTTPSConnectionPool("h"), RELATIVE, ConnectionRefusedError(ABSOLUTE))
    )
    Backoff("The download", "files.example:8443", LOGGER).wait(error)
    assert clock.sleeps == [1]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message == "The download: files.example:8443 refused the connection. Trying again in 1.0 s."
