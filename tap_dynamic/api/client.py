"""The exports API: list, get, create, download URL, through one session that holds the token."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import requests

from tap_dynamic.api.exports import Export
from tap_dynamic.api.responses import check_response, entries_of, export_of
from tap_dynamic.errors import TapError
from tap_dynamic.http.failures import RETRIED, host_of, status_of
from tap_dynamic.http.retry import Backoff
from tap_dynamic.http.session import new_session, redirect_target

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable

T = TypeVar("T")


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
        return self.parse_entries(entries_of(self.retrying(self._send)("GET", params=params)))

    def get(self, export_id: str) -> Export:
        """Return an export in its present state.

        Raises:
            FileUnusable: If there is no such export.
        """
        response = self.retrying(self._send)("GET", f"/{quote(export_id, safe='')}")
        export = export_of(response, f"export {export_id}")
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
                return export_of(response, f"the new export of {model}")
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
        if location := redirect_target(response, response.url):
            return location
        msg = f"Dynamic gives no download URL for export {export_id}. Make a new export."
        raise TapError(msg)

    def _send(self, method: str, path: str = "", **kwargs: Any) -> requests.Response:
        # A redirect would carry the token to a host that nobody has named.
        response = self.session.request(
            method, f"{self.url}/exports{path}", timeout=self.timeout, allow_redirects=False, **kwargs
        )
        check_response(response, self.environment_id)
        return response

    def parse_entries(self, entries: Iterable[Any]) -> list[Export]:
        """Parse the list of exports; a malformed entry is a warning."""
        exports = []
        for number, entry in enumerate(entries, 1):
            try:
                exports.append(Export.parse(entry))
            except ValueError as error:
                self.logger.warning("Entry %d of the list of exports is ignored: %s.", number, error)
        return exports
