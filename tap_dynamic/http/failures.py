"""Failures of requests, in words that hold no URL."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
import urllib3
from singer_sdk.exceptions import RetriableAPIError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
