"""HTTP sessions: URLs are sent as they are, bodies are read to their proven end."""

from __future__ import annotations

import http.client
import io
import os
import re
import ssl
from functools import cache
from pathlib import Path
from string import ascii_letters, digits, punctuation
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from typing_extensions import override
from urllib3.connection import HTTPConnection

from tap_dynamic.errors import TapError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import PreparedRequest, Response

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
TARGET = ":path"
"""The header, by HTTP/2's name, that takes a request target past urllib3, which rewrites `%2b` to `%2B`."""
VISIBLE = digits + ascii_letters + punctuation
"""Characters that a request line can hold."""


class WholeLines(io.BufferedReader):
    """Refuses a line that the end of the connection cut: a header, or the size of a chunk."""

    @override
    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        is_full = size is not None and 0 <= size <= len(line)
        if line and not line.endswith(b"\n") and not is_full:
            raise http.client.IncompleteRead(line)
        return line


class WholeResponse(http.client.HTTPResponse):
    """A response of which all has arrived where reading it ends without an error."""

    fp: WholeLines

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = WholeLines(self.fp.detach())

    def _read_next_chunk_size(self) -> int:
        # Private in `http.client`, which reads what `int` reads: `-5`, `+5`, `5_0`, `0x5`.
        line = self.fp.readline(1 << 16)
        size = re.fullmatch(rb"([0-9A-Fa-f]+)[ \t]*(?:;.*)?\r?\n", line)
        if not line:
            raise http.client.IncompleteRead(line)
        if not size:
            msg = "malformed size of a chunk"
            raise http.client.HTTPException(msg)
        return int(size[1], 16)


class VerbatimConnection(HTTPConnection):
    """Sends the request target of the header `TARGET`."""

    response_class = WholeResponse

    @override
    def request(  # type: ignore[override] # the options are passed on
        self, method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        sent = dict(headers or {})
        super().request(method, sent.pop(TARGET, url), body, sent, **options)


class VerbatimAdapter(HTTPAdapter):
    """Sends the path and query of a request's URL byte for byte: they may be signed."""

    @override
    def get_connection_with_tls_context(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            pool: Any = super().get_connection_with_tls_context(request, *args, **kwargs)
        except ValueError as error:
            # The URL of the request was parsed before. InvalidSchema is a kind of proxy that needs another package.
            is_kind = isinstance(error, requests.exceptions.InvalidSchema)
            if select_proxy(str(request.url), kwargs.get("proxies")) and not is_kind:
                raise requests.exceptions.InvalidProxyURL(request=request) from error
            raise
        if not issubclass(pool.ConnectionCls, VerbatimConnection):
            pool.ConnectionCls = type(pool.ConnectionCls.__name__, (VerbatimConnection, pool.ConnectionCls), {})
        return pool

    @override
    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        response = super().build_response(req, resp)
        for name, value in response.headers.items():
            # Blanks around a value are not part of it (RFC 9110, 5.5). `http.client` keeps those behind it.
            response.headers[name] = value.strip(" \t")
        return response

    @override
    def request_url(self, request: PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        url = super().request_url(request, proxies)
        origin, target = split_target(str(request.url))
        # A proxy gets the whole URL.
        request.headers[TARGET] = target if url.startswith("/") else origin + target
        return url


class Session(requests.Session):
    """A session that does not follow redirects: requests would read their bodies, and rewrite their targets.

    They would also carry the API token to a host that nobody has named.
    """

    @override
    def get_redirect_target(self, resp: Response) -> None:
        return None

    def prepare_url(self, url: str, headers: Mapping[str, str]) -> PreparedRequest:
        """Prepare a GET request for a URL as it is.

        Raises:
            ValueError: If the URL is malformed.
        """
        request = self.prepare_request(requests.Request("GET", url, headers))
        request.url = split_target(str(request.url))[0] + split_target(url)[1]
        return request


def split_target(url: str) -> tuple[str, str]:
    """Split a URL into its origin, and its path and query, in which only what no request can hold is encoded."""
    found = re.match(r"([^:/?#]+://[^/?#]*)([^#]*)", url)
    if not found:
        raise requests.exceptions.InvalidURL
    target = found[2] if found[2].startswith("/") else f"/{found[2]}"
    return found[1], quote(target.encode("utf-8", "surrogateescape"), safe=VISIBLE)


def redirect_target(response: Response, url: str) -> str | None:
    """Return the URL that the response to a request for `url` redirects to, as it is; None if it does not."""
    if not response.is_redirect:
        return None
    # `http.client` reads bytes as Latin-1.
    location = response.headers["Location"].encode("latin-1").decode("utf-8", "surrogateescape")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location):
        return location
    if location.startswith("//"):
        return url.partition("//")[0] + location
    return split_target(url)[0] + location if location.startswith("/") else urljoin(url, location)


def new_session(user_agent: str) -> Session:
    """Open a session with the CA certificates of the environment, which `Session.send` does not look up.

    Raises:
        TapError: If they can't be read.
    """
    session = Session()
    session.mount("https://", VerbatimAdapter())
    session.mount("http://", VerbatimAdapter())
    session.headers["User-Agent"] = user_agent
    for name in CA_VARIABLES:
        if path := os.environ.get(name):
            check_certificates(name, path)
            session.verify = path
            break
    return session


@cache  # it takes a tenth of a short run
def check_certificates(variable: str, path: str) -> None:
    """Read the CA certificates that a variable of the environment names; a `TapError` if that fails."""
    is_folder = Path(path).is_dir()
    try:
        ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
    except OSError:  # also of ssl
        msg = f"The environment variable {variable} names CA certificates that can't be read. Correct or unset it."
        raise TapError(msg) from None
