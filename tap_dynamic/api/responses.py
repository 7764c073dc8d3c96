"""What a response of the exports API is: an export, a list, or an error with advice."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.api.exports import Export
from tap_dynamic.errors import FileUnusable, TapError
from tap_dynamic.http.failures import CHECK_PROXY, may_pass
from tap_dynamic.redaction import first_line

if TYPE_CHECKING:
    import requests

ADVICE = {
    401: "Dynamic refused the API token (401): it is wrong or was revoked. Make a token in Dynamic's dashboard and set"
    " api_token.",
    403: "Dynamic denied access to {label} (403): the token lacks a scope, or belongs to another environment than"
    " environment_id {environment_id}.",
    404: "There is no such environment (404): environment {environment_id}. Check environment_id and api_url.",
    407: f"A proxy refused the request (407). {CHECK_PROXY}",
}
"""What to do, by status."""
CREATE_REFUSED = (
    "Dynamic does not let this token create an export (403). Make the export in Dynamic's dashboard and set"
    " request_exports to false: the tap then reads the newest one."
)
NO_SUCH_EXPORT = (
    "There is no such export ({status}): {label} is not in environment {environment_id}. It may have been deleted."
)


def check_response(response: requests.Response, environment_id: str) -> None:
    """Raise an error unless a response is what its request asked for.

    Raises:
        RetriableAPIError: If another attempt may succeed.
        FileUnusable: If there is no such export.
        TapError: If it is another error, with what to do.
    """
    status = response.status_code
    if may_pass(status):
        msg = f"Dynamic answered {status}"
        raise RetriableAPIError(msg, response)
    if status >= HTTPStatus.BAD_REQUEST:
        raise _final_error(response, environment_id)
    if urlsplit(response.url).path.endswith("/download"):
        return
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        msg = f"Dynamic answered {status}, a redirect. The token is not sent to another URL: check api_url."
        raise TapError(msg)
    if _json_object(response) is None:
        msg = f"Dynamic answered {status}, but not with a JSON object: check api_url"
        raise RetriableAPIError(msg, response)


def _final_error(response: requests.Response, environment_id: str) -> TapError:
    status, method = response.status_code, response.request.method
    export_id = re.search(r"/exports/([^/?]+)", response.url)
    is_gone = export_id is not None and status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
    if is_gone:
        text = NO_SUCH_EXPORT
    elif (method, status) == ("POST", HTTPStatus.FORBIDDEN):
        text = CREATE_REFUSED
    else:
        text = ADVICE.get(status, "Dynamic answered {status} to a {method} of {label}.")
    label = f"export {export_id[1]}" if export_id else "the exports"
    message = text.format(status=status, method=method, label=label, environment_id=environment_id)
    if detail := first_line((_json_object(response) or {}).get("error")):
        message += f" Dynamic says: {detail}"
    return FileUnusable(message) if is_gone else TapError(message)


def entries_of(response: requests.Response) -> list[Any]:
    """Return the entries of the list of exports as they are; what is not such a list is a `TapError`."""
    entries = (_json_object(response) or {}).get("exports")
    if not isinstance(entries, list):
        msg = "Dynamic's list of exports has no `exports`. Check api_url."
        raise TapError(msg)
    return entries


def export_of(response: requests.Response, label: str) -> Export:
    """Parse one export; a malformed one is a `TapError`."""
    try:
        return Export.parse(_json_object(response))
    except ValueError as error:
        msg = f"Dynamic's metadata of {label} is malformed: {error}. Make a new export."
        raise TapError(msg) from None


def _json_object(response: requests.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
