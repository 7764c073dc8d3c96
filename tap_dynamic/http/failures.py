"""Failures of requests in words, without URLs: which ones may pass, and what to do about the others."""

from __future__ import annotations

import http.client
import re
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.redaction import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRIED = (RetriableAPIError, requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError)
"""Exceptions of a request that another attempt may not meet again; `explain` knows the final ones."""
CHECK_TLS = "Check api_url, the proxy, and the CA certificates and the clock of this machine."
CHECK_PROXY = "Check the proxy settings (https_proxy, http_proxy, no_proxy), user and password included."
CHECK_URL = "Check api_url."
CERTIFICATE_PROBLEMS = {
    9: "is not valid yet",
    10: "has expired",
    **dict.fromkeys((18, 19, 20, 21), "is not trusted"),
    **dict.fromkeys((62, 64), "is of another host"),
}
"""By OpenSSL's codes of verification (X509_V_ERR_…)."""
REASONS: tuple[tuple[type[BaseException], str, str | None], ...] = (
    # A type, what happened, and what to do where another attempt would fail in the same way.
    (requests.exceptions.InvalidProxyURL, "the URL of the proxy is malformed", CHECK_PROXY),
    (http.client.InvalidURL, "the URL of the proxy is malformed", CHECK_PROXY),
    (requests.exceptions.InvalidSchema, "the proxy is of a kind that needs another package", CHECK_PROXY),
    (requests.exceptions.InvalidHeader, "{host} sent a malformed header", None),
    (ValueError, "the URL of {host} is malformed", CHECK_URL),
    (urllib3.exceptions.NameResolutionError, "the name {host} can't be resolved", None),
    (ConnectionRefusedError, "{host} refused the connection", None),
    (urllib3.exceptions.ConnectTimeoutError, "{host} did not accept a connection within connect_timeout", None),
    (ssl.SSLError, "the TLS handshake with {host} failed", None),
    (urllib3.exceptions.NewConnectionError, "{host} can't be reached", None),
    (urllib3.exceptions.ReadTimeoutError, "{host} sent nothing within read_timeout", None),
    (ConnectionResetError, "{host} reset the connection", None),
    (urllib3.exceptions.ProxyError, "{host} can't be used", None),
    (urllib3.exceptions.InvalidChunkLength, "{host} sent a malformed response", None),
    (http.client.IncompleteRead, "{host} closed the connection", None),
    (http.client.HTTPException, "{host} sent a malformed response", None),
    (Exception, "{host} closed the connection", None),
)
"""The first type that an exception or one of its causes has says what happened."""


class Failure(NamedTuple):
    """Why a request failed, and what to do if another attempt would fail in the same way."""

    reason: str
    advice: str | None = None


def explain(error: Exception, host: str) -> Failure:
    """Say why a request to a host failed, without its URL: the query can hold a signature."""
    if isinstance(error, RetriableAPIError):
        return Failure(str(error))
    chain = tuple(causes(error))
    # A proxy refuses connections, too; one of https has a certificate and a handshake of its own.
    peer = "the proxy" if any(isinstance(e, urllib3.exceptions.ProxyError) for e in chain) else host
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            problem = CERTIFICATE_PROBLEMS.get(cause.verify_code, f"is refused ({first_line(cause.verify_message)})")
            return Failure(f"the TLS certificate of {peer} {problem}", CHECK_TLS)
        # `http.client` has no type of its own for a proxy that refuses CONNECT.
        if isinstance(cause, OSError) and (refused := re.match(r"Tunnel connection failed: (\d{3})", str(cause))):
            reason = f"the proxy answered {refused[1]} instead of connecting to {host}"
            return Failure(reason, None if may_pass(int(refused[1])) else CHECK_PROXY)
        if isinstance(cause, TimeoutError) and "handshake" in str(cause):
            return Failure(f"the TLS handshake with {peer} did not end within connect_timeout")
    # requests wraps the ValueErrors of a URL; others are causes of failures that may pass.
    reason, advice = next(
        (reason, advice)
        for kind, reason, advice in REASONS
        if any(isinstance(e, kind) for e in (chain[:1] if kind is ValueError else chain))
    )
    return Failure(reason.format(host=peer), advice)


def may_pass(status: int) -> bool:
    """Whether a status is a failure that may pass."""
    is_answer = HTTPStatus.OK <= status < HTTPStatus.INTERNAL_SERVER_ERROR  # 1xx: an informational one came first
    return not is_answer or status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that it wraps, as requests and urllib3 nest them."""
    pending, known = [error], set[int]()
    while pending:
        current = pending.pop(0)
        known.add(id(current))
        yield current
        nested = (getattr(current, "reason", None), current.__cause__, current.__context__, *current.args)
        pending += [e for e in nested if isinstance(e, BaseException) and id(e) not in known]


def host_of(url: str) -> str:
    """Return the host (and port) of a URL for messages; a malformed one has none."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the host"
    name = parts.hostname or ""
    return f"{f'[{name}]' if ':' in name else name}{port}" if name else "the host"


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that an error is about, or None without a response."""
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)
