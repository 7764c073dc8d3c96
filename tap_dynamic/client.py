"""The exports API: list, get, create, download URL, through one session that holds the token."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import requests
import urllib3
from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.errors import FileUnusable, TapError, first_line, host_of, status_of
from tap_dynamic.exports import Export
from tap_dynamic.retry import Backoff
from tap_dynamic.session import new_session

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable

T = TypeVar("T")
RETRIED = (RetriableAPIError, requests.RequestException, urllib3.exceptions.HTTPError)


class BearerAuth(requests.auth.AuthBase):
    """Adds the token to requests of the API."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class ExportsApi:
    """The calls of the exports API of one environment.

    Args:
        api_url: Base URL.
        environment_id: The environment.
        token: The API token.
        timeout: Seconds to wait for a connection, and for the next byte.
        user_agent: The `User-Agent`.
        logger: Receives warnings of retries.
    """

    def __init__(  # noqa: PLR0913 (one for each setting)
        self,
        *,
        api_url: str,
        environment_id: str,
        token: str,
        timeout: tuple[float, float],
        user_agent: str,
        logger: logging.Logger,
    ) -> None:
        self.environment_id, self.timeout, self.logger = environment_id, timeout, logger
        self.url = f"{api_url.rstrip('/')}/environments/{environment_id}"
        self.host = host_of(api_url)
        self.session = new_session(user_agent)
        self.session.auth = BearerAuth(token)
        self.session.headers["Accept"] = "application/json"

    def backoff(self, operation: str) -> Backoff:
        """Make the backoff of one operation."""
        return Backoff(operation, self.host, self.logger)

    def retrying(self, func: Callable[..., T]) -> Callable[..., T]:
        """Decorate a request so that it is retried after failures that may pass."""

        def call(*args: Any, **kwargs: Any) -> T:
            backoff = self.backoff("A request to Dynamic")
            while True:
                try:
                    return func(*args, **kwargs)
                except RETRIED as error:
                    backoff.wait(error)

        return call

    def list_exports(self, model: str | None = None) -> list[Export]:
        """Return the well-formed exports of the environment, or of one model, in no order."""
        params = {"model": model} if model else None
        return self.parse_entries(self.entries(self.retrying(self._send)("GET", params=params)))

    def get(self, export_id: str) -> Export:
        """Return an export in its present state.

        Raises:
            FileUnusable: If there is no such export.
        """
        response = self.retrying(self._send)("GET", f"/{quote(export_id, safe='')}")
        export = self._parse(response, f"export {export_id}")
        if export.id != export_id:
            msg = f"Dynamic answered with another export than {export_id}. Check api_url."
            raise TapError(msg)
        return export

    def create(self, model: str, known_ids: Iterable[str]) -> Export:
        """Request a fresh export.

        The POST is not idempotent: after a failure that leaves open whether it worked, the list is
        searched for the new export before it is sent again.

        Args:
            model: `users` or `visits`.
            known_ids: The exports that existed before.
        """
        known = set(known_ids)
        backoff = self.backoff(f"The request for an export of {model}")
        while True:
            try:
                response = self._send("POST", json={"format": "csv", "model": model})
            except RETRIED as error:
                is_ambiguous = status_of(error) != HTTPStatus.TOO_MANY_REQUESTS
                if is_ambiguous and (export := self._find_new(model, known)):
                    return export
                backoff.wait(error)
                if is_ambiguous and (export := self._find_new(model, known)):
                    return export
                continue
            try:
                return self._parse(response, f"the new export of {model}")
            except TapError:
                if export := self._find_new(model, known):
                    return export
                raise

    def _find_new(self, model: str, known_ids: set[str]) -> Export | None:
        exports = (e for e in self.list_exports(model) if e.model == model and e.id not in known_ids)
        return next(exports, None)

    def download_url(self, export_id: str) -> str:
        """Return a fresh pre-signed URL of an export's file: a credential."""
        if url := self.get(export_id).record["downloadUrl"]:
            return str(url)
        response = self.retrying(self._send)("GET", f"/{quote(export_id, safe='')}/download")
        if location := response.headers.get("Location"):
            try:
                return urljoin(response.url, location)
            except ValueError:
                msg = f"The download URL of export {export_id} is malformed. Make a new export."
                raise FileUnusable(msg) from None
        msg = f"Dynamic gives no download URL for export {export_id}. Make a new export."
        raise TapError(msg)

    def _send(self, method: str, path: str = "", **kwargs: Any) -> requests.Response:
        # A redirect would carry the token to a host that nobody has named.
        response = self.session.request(
            method, f"{self.url}/exports{path}", timeout=self.timeout, allow_redirects=False, **kwargs
        )
        self.check(response)
        return response

    def check(self, response: requests.Response) -> None:
        """Sort out the responses that are errors.

        Raises:
            RetriableAPIError: If another attempt may succeed.
            TapError: If not, with what to do.
        """
        status = response.status_code
        if status in {408, 429} or not 200 <= status < 500:  # noqa: PLR2004 (1xx: an informational one came first)
            msg = f"Dynamic answered {status}"
            raise RetriableAPIError(msg, response)
        if status >= HTTPStatus.BAD_REQUEST:
            is_gone = status == HTTPStatus.NOT_FOUND and "/exports/" in response.url
            raise (FileUnusable if is_gone else TapError)(self.advice(response))
        if status >= HTTPStatus.MULTIPLE_CHOICES and not urlsplit(response.url).path.endswith("/download"):
            msg = f"Dynamic answered {status}, a redirect. The token is not sent to another URL: check api_url."
            raise TapError(msg)

    def advice(self, response: requests.Response) -> str:
        """Say in one line what failed and what to do."""
        status, method = response.status_code, response.request.method
        try:
            detail = first_line(response.json()["error"])
        except (ValueError, LookupError, TypeError, RecursionError):
            detail = ""
        detail = f" Dynamic says: {detail}" if detail else ""
        export_id = re.search(r"/exports/([^/?]+)", response.url)
        label = f"export {export_id[1]}" if export_id else "the exports"
        environment = f"environment {self.environment_id}"
        if status == HTTPStatus.UNAUTHORIZED:
            return (
                "Dynamic refused the API token (401): it is wrong or was revoked. Make a token in"
                f" Dynamic's dashboard and set api_token.{detail}"
            )
        if status == HTTPStatus.FORBIDDEN and method == "POST":
            return (
                "Dynamic does not let this token create an export (403). Make the export in Dynamic's dashboard"
                f" and set request_exports to false: the tap then reads the newest one.{detail}"
            )
        if status == HTTPStatus.FORBIDDEN:
            return (
                f"Dynamic denied access to {label} (403): the token lacks a scope, or belongs to another"
                f" environment than environment_id {self.environment_id}.{detail}"
            )
        if status == HTTPStatus.NOT_FOUND and export_id:
            return f"There is no such export (404): {label} is not in {environment}. It may have been deleted.{detail}"
        if status == HTTPStatus.NOT_FOUND:
            return f"There is no such environment (404): {environment}. Check environment_id and api_url.{detail}"
        return f"Dynamic answered {status} to a {method} of {label}.{detail}"

    @staticmethod
    def entries(response: requests.Response) -> list[Any]:
        """Return the entries of the list of exports, as they are.

        Raises:
            TapError: If the response is not such a list.
        """
        entries = _json_object(response).get("exports")
        if not isinstance(entries, list):
            msg = "Dynamic's list of exports has no `exports`. Check api_url."
            raise TapError(msg)
        return entries

    def parse_entries(self, entries: Iterable[Any]) -> list[Export]:
        """Parse the list of exports; a malformed entry is a warning."""
        exports = []
        for number, entry in enumerate(entries, 1):
            try:
                exports.append(Export.parse(entry))
            except ValueError as error:
                self.logger.warning("Entry %d of the list of exports is ignored: %s.", number, error)
        return exports

    @staticmethod
    def _parse(response: requests.Response, label: str) -> Export:
        try:
            return Export.parse(_json_object(response))
        except ValueError as error:
            msg = f"Dynamic's metadata of {label} is malformed: {error}. Make a new export."
            raise TapError(msg) from None


def _json_object(response: requests.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        msg = f"Dynamic answered {response.status_code}, but not with a JSON object. Check api_url."
        raise TapError(msg)
    return body
