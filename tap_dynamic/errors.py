"""Expected failures, and what may be said of them: no token, no URL query, no cell."""

from __future__ import annotations

import logging
import re
import ssl
import sys
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import requests
import urllib3
from singer_sdk.exceptions import RetriableAPIError

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LOGGER = logging.getLogger("tap-dynamic")
MAX_DETAIL = 200
"""Characters of a foreign text that are logged."""
QUERIES = re.compile(r"(?:\?|%(?:25)*3f)\S+", re.IGNORECASE)
PARAMETERS = re.compile(r"(?:signature|credential|token|sig)(?:=|%(?:25)*3d)\S+", re.IGNORECASE)
TOKENS = re.compile(r"dyn_\S+", re.IGNORECASE)


class TapError(click.ClickException):
    """An expected failure: ERROR lines that say what to do, exit code 1, no traceback.

    Args:
        message: One line for each failure.
    """

    @override
    def show(self, file: IO[Any] | None = None) -> None:
        LOGGER.disabled = False  # a logging configuration disables existing loggers unless it says otherwise
        for line in self.message.splitlines():
            LOGGER.error(line)


class FileUnusable(TapError):  # noqa: N818 (a TapError)
    """A file that is gone, or is not CSV: another attempt gets the same."""


def redact(text: object) -> str:
    """Remove every URL query and every token from a foreign text, and what no log or target can hold."""
    clean = str(text or "").encode("utf-8", "replace").decode()
    clean = "".join(c for c in clean if c.isprintable() or c in "\r\n\t")
    return PARAMETERS.sub("…", QUERIES.sub("?…", TOKENS.sub("dyn_…", clean)))


def first_line(text: object) -> str:
    """Return the first line of a foreign text, redacted, `MAX_DETAIL` characters at most."""
    return next(iter(redact(text).strip().splitlines()), "").replace("\t", " ")[:MAX_DETAIL]


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that it wraps, as requests and urllib3 nest them."""
    pending, known = [error], set[int]()
    while pending:
        current = pending.pop(0)
        known.add(id(current))
        yield current
        nested = (getattr(current, "reason", None), current.__cause__, current.__context__, *current.args)
        pending += [e for e in nested if isinstance(e, BaseException) and id(e) not in known]


REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "the TLS certificate of {host} is not trusted"),  # a ValueError
    (requests.exceptions.InvalidProxyURL, "the URL of the proxy is malformed"),
    (requests.exceptions.InvalidSchema, "the proxy is of a kind that needs another package"),
    (ValueError, "the URL of {host} is malformed"),
    (urllib3.exceptions.ProxyError, "the proxy can't be used for {host}"),
    (urllib3.exceptions.NameResolutionError, "the name {host} can't be resolved"),
    (ConnectionRefusedError, "{host} refused the connection"),
    (urllib3.exceptions.ConnectTimeoutError, "{host} did not accept a connection within connect_timeout"),
    (ssl.SSLError, "the TLS handshake with {host} failed"),
    (urllib3.exceptions.NewConnectionError, "{host} can't be reached"),
    (urllib3.exceptions.ReadTimeoutError, "{host} sent nothing within read_timeout"),
    (ConnectionResetError, "{host} reset the connection"),
    (urllib3.exceptions.HTTPError, "{host} closed the connection"),
    (requests.Timeout, "{host} did not answer in time"),
    (requests.RequestException, "{host} closed the connection"),
)
"""The first type that an exception or one of its causes has says what happened."""


def failure_reason(error: Exception, host: str) -> str:
    """Say why a request failed, without its URL: the query can hold a signature."""
    if isinstance(error, RetriableAPIError):
        return str(error)
    chain = tuple(causes(error))
    if any(isinstance(e, TimeoutError) and "handshake" in str(e) for e in chain):
        return f"the TLS handshake with {host} did not end within connect_timeout"
    texts = (text for kind, text in REASONS if any(isinstance(e, kind) for e in chain))
    return next(texts, type(error).__name__).format(host=host)


def is_final(error: Exception) -> bool:
    """Whether another attempt would fail alike: an untrusted certificate or a malformed URL."""
    return isinstance(error, ValueError) or any(isinstance(e, ssl.SSLCertVerificationError) for e in causes(error))


def host_of(url: str) -> str:
    """Return the host (and port) of a URL for messages; a malformed one has none."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the host"
    return f"{parts.hostname}{port}" if parts.hostname else "the host"


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that an error is about, or None without a response."""
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: `1 row`, `2,000 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class RedactingFilter(logging.Filter):
    """Redacts log records of libraries that log whole URLs, whatever the logging configuration."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        record.exc_info = record.exc_text = None
        return True


_FILTER = RedactingFilter()


def drop_debug(record: logging.LogRecord) -> bool:
    """Filter that drops DEBUG records."""
    return record.levelno > logging.DEBUG


for _name in (
    "singer_sdk.mapper",
    "singer_sdk.singerlib.catalog",
):  # they log the values of filters, and cells as names
    logging.getLogger(_name).addFilter(drop_debug)


def redact_logs_of(packages: Iterable[str]) -> None:
    """Install `RedactingFilter` on the loggers of packages and their modules that exist by now."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in packages:
            logging.getLogger(name).addFilter(_FILTER)
