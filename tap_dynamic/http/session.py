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
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from typing_extensions import override
from urllib3.connection import HTTPConnection

from tap_dynamic.errors import TapError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import PreparedRequest, Response
    from urllib3 import PoolManager

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
TARGET = ":path"
"""The header, by HTTP/2's name, that takes a request target past urllib3, which rewrites `%2b` to `%2B`."""
VISIBLE = digits + ascii_letters + punctuation
"""Characters that a request line can hold."""


class WholeLines(io.BufferedReader):
    """Refuses a line that the end of the connection cut: `http.client` takes the size `0000` for the last chunk."""

    @override
    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        is_full = size is not None and 0 <= size <= len(line)
        if line and not line.endswith(b"\n") and not is_full:
            raise http.client.IncompleteRead(line)
        return line


class WholeResponse(http.client.HTTPResponse):
    """A response of whole lines: all of a chunked body has arrived where reading it ends without an error."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = WholeLines(self.fp.detach())


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
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        use_verbatim_connections(self.poolmanager)

    @override
    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if is_new:
            use_verbatim_connections(manager)
        return manager

    @override
    def get_connection_with_tls_context(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_connection_with_tls_context(request, *args, **kwargs)
        except requests.exceptions.InvalidSchema:
            raise
        except ValueError as error:
            # The URL of the request was parsed before.
            if select_proxy(str(request.url), kwargs.get("proxies")):
                raise requests.exceptions.InvalidProxyURL(request=request) from error
            raise

    @override
    def request_url(self, request: PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        url = super().request_url(request, proxies)
        target = split_target(str(request.url))[1]
        # A proxy gets the whole URL.
        request.headers[TARGET] = target if url.startswith("/") else split_target(url)[0] + target
        return url


def use_verbatim_connections(manager: PoolManager) -> None:
    """Make a pool manager use `VerbatimConnection`, by urllib3's hooks; one of a proxy has classes of its own."""
    classes = dict[str, Any]()
    pools: Mapping[str, Any] = manager.pool_classes_by_scheme
    for scheme, pool in pools.items():
        connection = type(pool.ConnectionCls.__name__, (VerbatimConnection, pool.ConnectionCls), {})
        classes[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": connection})
    manager.pool_classes_by_scheme = classes


class Session(requests.Session):
    """A session that leaves redirects alone: requests would read their bodies, and rewrite their targets."""

    def __init__(self) -> None:
        super().__init__()
        for prefix in ("https://", "http://"):
            self.mount(prefix, VerbatimAdapter())

    @override
    def get_redirect_target(self, resp: Response) -> None:
        return None

    def open_url(self, url: str, headers: Mapping[str, str], timeout: tuple[float, float]) -> Response:
        """Send a GET request for a URL as it is; the body is not read yet.

        Raises:
            requests.RequestException: If there is no response.
        """
        request = self.prepare_request(requests.Request("GET", url, headers))
        request.url = split_target(str(request.url))[0] + split_target(url)[1]
        return self.send(request, timeout=timeout, stream=True, allow_redirects=False)


def split_target(url: str) -> tuple[str, str]:
    """Split a URL into its origin, and its path and query, in which only what no request can hold is encoded."""
    found = re.match(r"([^:/?#]+://[^/?#]*)([^#]*)", url)
    if not found:
        raise requests.exceptions.InvalidURL
    target = found[2] if found[2].startswith("/") else f"/{found[2]}"
    return found[1], quote(target.encode("utf-8", "surrogateescape"), safe=VISIBLE)


def redirect_target(response: Response, url: str) -> str | None:
    """Return the URL that a response redirects to, as it is; None if it does not.

    Args:
        response: The response.
        url: The URL that was requested.
    """
    header = response.headers.get("Location")
    if header is None:
        return None
    location = header.encode("latin-1").decode("utf-8", "surrogateescape")  # `http.client` reads bytes as Latin-1
    parts = urlsplit(url)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location):
        return location
    if location.startswith("//"):
        return f"{parts.scheme}:{location}"
    return f"{parts.scheme}://{parts.netloc}{location}" if location.startswith("/") else urljoin(url, location)


def new_session(user_agent: str) -> Session:
    """Open a session with the CA certificates of the environment, which `Session.send` does not look up.

    Raises:
        TapError: If they can't be read.
    """
    session = Session()
    session.headers["User-Agent"] = user_agent
    variable = next((name for name in CA_VARIABLES if os.environ.get(name)), None)
    if variable:
        session.verify = os.environ[variable]
        check_certificates(variable, os.environ[variable])
    return session


@cache  # it takes a tenth of a short run
def check_certificates(variable: str, path: str) -> None:
    """Read the CA certificates that a variable of the environment names.

    Raises:
        TapError: If they can't be read.
    """
    is_folder = Path(path).is_dir()
    try:
        ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
    except OSError:  # also of ssl
        msg = f"The environment variable {variable} names CA certificates that can't be read. Correct or unset it."
        raise TapError(msg) from None
