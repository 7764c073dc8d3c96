"""REST base of all streams: authentication, retries, and errors that say what to do."""

from __future__ import annotations

import logging
import random
import re
import sys
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click
import pendulum
import requests
from singer_sdk import RESTStream
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.exceptions import (
    AbortedSyncFailedException,
    AbortedSyncPausedException,
    RetriableAPIError,
)
from singer_sdk.pagination import SinglePagePaginator

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
Export = dict[str, Any]

LOGGER = logging.getLogger("tap-dynamic")

TRIES = 8
"""How often a request is made that makes no progress."""
PATIENCE = 600.0
"""Seconds: the longest sum of waits between two signs of progress."""
TELL_EVERY = 10.0
"""Seconds between two lines of progress."""

REASONS = {
    "ChunkedEncodingError": "the connection was cut",
    "ConnectionError": "no connection, or it was cut",
    "ConnectTimeout": "no connection within connect_timeout",
    "ProtocolError": "the connection was cut",
    "ReadTimeout": "no answer within read_timeout",
    "ReadTimeoutError": "no bytes within read_timeout",
    "SSLError": "the TLS certificate is not trusted",
}
"""What an exception of requests or urllib3 means; their texts hold URLs with signatures."""


class TapError(click.ClickException):
    """An expected failure: ERROR lines that say what to do, exit code 1, no traceback.

    Args:
        message: One line for each failure.
    """

    @override
    def show(self, file: Any = None) -> None:
        for line in self.message.splitlines():
            LOGGER.error(line)


EXPECTED = (TapError, AbortedSyncFailedException, AbortedSyncPausedException, BrokenPipeError)


class Retries:
    """The waits between the tries of one piece of work.

    `Retry-After` is obeyed, else the wait is random and doubles. Gives up after
    `TRIES` tries or `PATIENCE` seconds without progress.

    Args:
        what: The work, for messages.
        logger: Where waits are told.
    """

    def __init__(self, what: str, logger: logging.Logger) -> None:
        self.what = what
        self.logger = logger
        self.progress()

    def progress(self) -> None:
        """Start counting anew: the work went on."""
        self.tries = 0
        self.waited = 0.0

    def wait(self, error: Exception) -> None:
        """Sleep until the next try is due.

        Args:
            error: Why the last one failed.

        Raises:
            TapError: If it is of no use to try again.
        """
        reason = _reason(error)
        if isinstance(error, (requests.exceptions.SSLError, ValueError)):
            msg = f"{self.what} failed: {reason}. Check api_url, the proxy and the CA certificates of this machine."
            raise TapError(msg) from None
        self.tries += 1
        response = getattr(error, "response", None)
        seconds = None if response is None else _retry_after(response)
        if seconds is None:
            seconds = random.uniform(0, min(30.0, 0.5 * 2**self.tries))  # noqa: S311 (jitter)
        if self.tries >= TRIES or self.waited + seconds > PATIENCE:
            msg = f"{self.what} failed {self.tries} times, at last with: {reason}. Nothing is lost: run again later."
            raise TapError(msg) from None
        self.logger.warning("%s: %s. Trying again in %.1f s.", self.what, reason, seconds)
        time.sleep(seconds)
        self.waited += seconds


class Progress:
    """Lines that say how far long work on a file is; none where it is short.

    Args:
        what: The file, for messages.
        unit: What is counted.
        logger: Where it is told.
    """

    def __init__(self, what: str, unit: str, logger: logging.Logger) -> None:
        self.what, self.unit, self.logger = what, unit, logger
        self.began = self.told = time.monotonic()

    def tell(self, done: int, share: float | None) -> None:
        """Log a line, where the last one is long ago.

        Args:
            done: Number of units so far.
            share: Part of the file that is done, from 0 to 1, or None if nobody knows.
        """
        now = time.monotonic()
        if now - self.told < TELL_EVERY:
            return
        self.told, spent = now, now - self.began
        rest = f", {share:.0%} of the file, {spent / share - spent:.0f} s left" if share else ""
        self.logger.info("%s: %s %s%s, %s a second.", self.what, f"{done:,}", self.unit, rest, f"{done / spent:,.0f}")


def _reason(error: Exception) -> str:
    """Say why a request failed without its URL, which can hold a signature."""
    if isinstance(error, RetriableAPIError):
        return str(error)
    return REASONS.get(type(error).__name__, type(error).__name__)


def _retry_after(response: requests.Response) -> float | None:
    """Seconds of `Retry-After`, given as a number or a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


def first_line(text: object) -> str:
    """First line of what Dynamic says, at most 200 characters, without secrets.

    Args:
        text: An error text of the API, of any type.

    Returns:
        The line, or an empty string.
    """
    line = next(iter(str(text or "").strip().splitlines()), "")
    line = re.sub(r"dyn_\w+", "dyn_…", line)
    return re.sub(r"(https?://[^\s?]*)\?\S*", r"\1?…", line)[:200]


def moment(text: str) -> pendulum.DateTime:
    """Read a timestamp of the API, the state or the settings.

    Args:
        text: A date-time or date of ISO 8601; UTC where it names no zone.

    Returns:
        The moment.

    Raises:
        ValueError: If it is none.
    """
    parsed = pendulum.parse(text)
    if not isinstance(parsed, pendulum.DateTime):
        msg = "no date-time"
        raise ValueError(msg)  # noqa: TRY004 (it is the text that is wrong)
    return parsed


def completed_at(export: Export) -> str:
    """Tell when an export was completed; as a last resort, when it was requested.

    Args:
        export: Its metadata.

    Returns:
        The timestamp as Dynamic writes it.
    """
    return str(export.get("completedAt") or export["createdAt"])


class DynamicStream(RESTStream[None]):
    """Base of the streams: one session to the API, which alone holds the token."""

    # A redirect would carry the token to a place that nobody has named.
    allow_redirects = False

    @override
    @property
    def url_base(self) -> str:
        return f"{self.config['api_url'].rstrip('/')}/environments/{self.config['environment_id']}"

    @override
    @property
    def authenticator(self) -> BearerTokenAuthenticator:
        return BearerTokenAuthenticator(token=self.config["api_token"])

    @override
    @property
    def http_headers(self) -> dict[str, str]:
        return {"Accept": "application/json", "User-Agent": self.agent}

    @property
    def agent(self) -> str:
        """The `User-Agent` of all requests."""
        return f"{self.tap_name}/{self._tap.plugin_version}"

    @override
    @property
    def timeout(self) -> tuple[float, float]:  # type: ignore[override]
        """Seconds to wait for a connection, and for the next byte."""
        return self.config["connect_timeout"], self.config["read_timeout"]

    @override
    def get_new_paginator(self) -> SinglePagePaginator:
        return SinglePagePaginator()

    @override
    def log(self, message: str, *args: Any, **kwargs: Any) -> None:
        # The SDK logs "An unhandled error occurred" for whatever passes its sync:
        # what is expected is told by its own line, once.
        if kwargs.get("level") != logging.ERROR or not isinstance(sys.exc_info()[1], EXPECTED):
            super().log(message, *args, **kwargs)

    @override
    def request_decorator(self, func: Callable[..., T]) -> Callable[..., T]:
        def call(*args: Any, **kwargs: Any) -> T:
            retries = Retries("A request to Dynamic", self.logger)
            while True:
                try:
                    return func(*args, **kwargs)
                except (RetriableAPIError, requests.RequestException) as error:
                    retries.wait(error)

        return call

    @override
    def validate_response(self, response: requests.Response) -> None:
        status = response.status_code
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            msg = f"Dynamic answered {status}"
            raise RetriableAPIError(msg, response)
        if status >= HTTPStatus.BAD_REQUEST:
            raise TapError(self._advice(response))
        if status >= HTTPStatus.MULTIPLE_CHOICES and not response.url.endswith("/download"):
            msg = (
                f"Dynamic answered {status}, a redirect that is not followed with the token. Check the setting api_url."
            )
            raise TapError(msg)

    def _advice(self, response: requests.Response) -> str:
        """One line that says what failed and what to do."""
        status = response.status_code
        try:
            said = first_line(response.json()["error"])
        except (ValueError, LookupError, TypeError):
            said = ""
        said = f" Dynamic says: {said}" if said else ""
        export_id = re.search(r"/exports/([^/?]+)", response.url)
        what = f"export {export_id[1]}" if export_id else "the exports"
        if status == HTTPStatus.UNAUTHORIZED:
            return (
                "Dynamic refused the API token (401): it is wrong or was revoked. Make a token in"
                f" Dynamic's dashboard and set api_token.{said}"
            )
        if status == HTTPStatus.FORBIDDEN and response.request.method == "POST":
            return (
                "Dynamic does not let this token create an export (403). Make the export in Dynamic's dashboard"
                f" and set request_exports to false: the tap then reads the newest one.{said}"
            )
        if status == HTTPStatus.FORBIDDEN:
            return (
                f"Dynamic denied access to {what} (403): the token lacks a scope, or belongs to another"
                f" environment than environment_id {self.config['environment_id']}.{said}"
            )
        if status == HTTPStatus.NOT_FOUND:
            where = f"environment {self.config['environment_id']}"
            if export_id:
                return f"There is no such export (404): {what} is not in {where}. Check export_ids.{said}"
            return f"There is no such environment (404): {where}. Check environment_id and api_url.{said}"
        return f"Dynamic answered {status} to a {response.request.method} of {what}.{said}"

    @override
    def parse_response(self, response: requests.Response) -> Iterable[Export]:
        exports = self._json(response).get("exports")
        if not isinstance(exports, list):
            msg = "Dynamic's list of exports has no `exports`. Check the setting api_url."
            raise TapError(msg)
        return [_checked(export) for export in exports]

    @staticmethod
    def _json(response: requests.Response) -> dict[str, Any]:
        try:
            body = response.json()
        except requests.exceptions.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            msg = f"Dynamic answered {response.status_code}, but no JSON object. Check the setting api_url."
            raise TapError(msg)
        return body

    def send(self, method: str, path: str = "", **kwargs: Any) -> requests.Response:
        """Make one request of the exports API, once.

        Args:
            method: The HTTP method.
            path: What follows `/environments/{environment_id}/exports`.
            kwargs: As of `requests.Request`.

        Returns:
            An answer that is no error.

        Raises:
            TapError: If the answer is final.
        """
        request = self.build_prepared_request(
            method, f"{self.url_base}/exports{path}", headers=self.http_headers, **kwargs
        )
        response = self.requests_session.send(
            request,
            timeout=self.timeout,
            allow_redirects=False,
            **self.requests_session.merge_environment_settings(request.url, {}, None, None, None),
        )
        self.validate_response(response)
        return response

    def list_exports(self, **params: str) -> list[Export]:
        """Fetch the metadata of the environment's exports.

        Args:
            params: `model`, to see only its exports.

        Returns:
            The exports, in no order.
        """
        return list(self.parse_response(self.request_decorator(self.send)("GET", params=params)))

    def get_export(self, export_id: str) -> Export:
        """Fetch an export in its present state, with a fresh URL.

        Args:
            export_id: The export's id.

        Returns:
            Its metadata.
        """
        return _checked(self._json(self.request_decorator(self.send)("GET", f"/{quote(export_id, safe='')}")))

    def create_export(self, model: str, known: list[Export]) -> Export:
        """Ask Dynamic for a fresh export.

        The POST is not idempotent: where nobody knows whether it worked, the list is
        looked through for the new export before it is sent again.

        Args:
            model: `users` or `visits`.
            known: The exports that existed before.

        Returns:
            The new export's metadata.
        """
        old = {export["id"] for export in known}
        retries = Retries(f"Asking Dynamic for an export of {model}", self.logger)
        while True:
            try:
                return _checked(self._json(self.send("POST", json={"format": "csv", "model": model})))
            except (RetriableAPIError, requests.RequestException) as error:
                retries.wait(error)
                if status_of(error) != HTTPStatus.TOO_MANY_REQUESTS:
                    for export in self.list_exports(model=model):
                        if export["model"] == model and export["id"] not in old:
                            return export

    def get_download_url(self, export_id: str) -> str:
        """Fetch a fresh URL of an export's file.

        Args:
            export_id: The export's id.

        Returns:
            The pre-signed URL: a credential.
        """
        if url := self.get_export(export_id).get("downloadUrl"):
            return str(url)
        response = self.request_decorator(self.send)("GET", f"/{quote(export_id, safe='')}/download")
        if url := response.headers.get("Location"):
            return url
        msg = f"Dynamic gives no download URL for export {export_id}. Ask for a new export."
        raise TapError(msg)


def status_of(error: Exception) -> int | None:
    """Tell the HTTP status that an error is about.

    Args:
        error: What a request ended with.

    Returns:
        The status, or None if there was no answer.
    """
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _checked(export: object) -> Export:
    """Refuse metadata without the fields that everything rests on."""
    try:
        if isinstance(export, dict) and all(isinstance(export[field], str) for field in ("id", "model", "status")):
            moment(export["createdAt"])
            moment(completed_at(export))
            return export
    except (LookupError, TypeError, ValueError):
        pass
    msg = "Dynamic answered with an export without a valid id, model, status, createdAt or completedAt. Check api_url."
    raise TapError(msg)
