"""The exports API: list, get, create, download URL, through one session that holds the token."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from singer_sdk.authenticators import BearerTokenAuthenticator

from tap_dynamic.api.exports import Export
from tap_dynamic.api.responses import check_response, entries_of, export_of
from tap_dynamic.errors import FileUnusable, FilteredExport, TapError
from tap_dynamic.http.failures import RETRIED, host_of, status_of
from tap_dynamic.http.retry import Backoff
from tap_dynamic.http.session import new_session, redirect_target

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection, Iterable

    import requests

T = TypeVar("T")

GRACE = 30.0
"""Seconds in which an export that was just requested may not be found yet."""
GRACE_INTERVAL = 0.5
"""Seconds between two requests for such an export."""


class ExportsApi:
    """The calls of the exports API of one environment."""

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
        self.session = new_session(user_agent)
        self.session.auth = BearerTokenAuthenticator(token=token)
        self.session.headers["Accept"] = "application/json"
        self.created: dict[str, float] = {}
        """When this run requested which export."""

    def retrying(self, func: Callable[..., T]) -> Callable[..., T]:
        """Decorate a request so that it is retried after failures that may pass."""

        def call(*args: Any, **kwargs: Any) -> T:
            backoff = Backoff("A request to Dynamic", host_of(self.url), self.logger)
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

    def parse_entries(self, entries: Iterable[Any]) -> list[Export]:
        """Parse the list of exports; a malformed entry is a warning."""
        exports = []
        for number, entry in enumerate(entries, 1):
            try:
                exports.append(Export.parse(entry))
            except ValueError as error:
                self.logger.warning("Entry %d of the list of exports is ignored: %s.", number, error)
        return exports

    def get(self, export_id: str) -> Export:
        """Return an export in its present state.

        Raises:
            FileUnusable: If there is no such export.
        """
        export = export_of(self._get(export_id), f"export {export_id}")
        if export.id != export_id:
            msg = f"Dynamic answered with another export than {export_id}. Check api_url."
            raise TapError(msg)
        return export

    def download_url(self, export_id: str, *, is_part: bool = False) -> str:
        """Return a fresh pre-signed URL of an export's file: a credential.

        Raises:
            FileUnusable: If there is no such export.
            FilteredExport: If it is a part, unless that is known.
        """
        export = self.get(export_id)
        if export.is_part and not is_part:
            raise FilteredExport(export.part_reason)
        if url := export.record["downloadUrl"]:
            return str(url)
        response = self._get(export_id, "/download")
        if location := redirect_target(response, response.url):
            return location
        msg = f"Dynamic gives no download URL for export {export_id}. Make a new export."
        raise TapError(msg)

    def create(self, model: str, known_ids: Collection[str]) -> Export:
        """Request a fresh export of a model.

        The POST is not idempotent: after a failure that leaves open whether it worked, the list is
        searched for an export that was not known before, and only then is it sent again.
        """
        backoff = Backoff(f"The request for an export of {model}", host_of(self.url), self.logger)
        export = None
        while not export:
            try:
                response = self._send("POST", json={"format": "csv", "model": model})
                export = export_of(response, f"the new export of {model}")
            except RETRIED as error:
                backoff.wait(error)
                if status_of(error) != HTTPStatus.TOO_MANY_REQUESTS:
                    exports = (e for e in self.list_exports(model) if e.model == model and not e.is_part)
                    export = next((e for e in exports if e.id not in known_ids), None)
        self.created[export.id] = time.monotonic()
        return export

    def _get(self, export_id: str, path: str = "") -> requests.Response:
        while True:
            try:
                return self.retrying(self._send)("GET", f"/{quote(export_id, safe='')}{path}")
            except FileUnusable:
                if export_id not in self.created or time.monotonic() - self.created[export_id] > GRACE:
                    raise
                time.sleep(GRACE_INTERVAL)

    def _send(self, method: str, path: str = "", **kwargs: Any) -> requests.Response:
        response = self.session.request(method, f"{self.url}/exports{path}", timeout=self.timeout, **kwargs)
        check_response(response, self.environment_id)
        return response
