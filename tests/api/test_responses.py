"""Rules of responses.py: which responses of the API are retried, which are errors, and what their messages advise."""

from __future__ import annotations

import json

import pytest
import requests
from singer_sdk.exceptions import RetriableAPIError

from tap_dynamic.api.responses import check_response, entries_of, export_of
from tap_dynamic.errors import FileUnusable, TapError

ENVIRONMENT = "11111111-2222-4333-8444-555555555555"
LIST = f"https://example.com/environments/{ENVIRONMENT}/exports"


def response(status: int, body: object = None, *, method: str = "GET", path: str = "") -> requests.Response:
    made = requests.Response()
    made.status_code, made.url = status, LIST + path
    made.request = requests.Request(method, made.url).prepare()
    made._content = body if isinstance(body, bytes) else json.dumps(body).encode()  # noqa: SLF001 (it has no setter)
    return made


@pytest.mark.parametrize("status", [102, 408, 429, 500, 503, 599])
def test_failures_that_may_pass_are_retried(status: int) -> None:
    with pytest.raises(RetriableAPIError, match=f"Dynamic answered {status}"):
        check_response(response(status), ENVIRONMENT)


@pytest.mark.parametrize(
    ("status", "method", "path", "advice"),
    [
        (401, "GET", "", "set api_token"),
        (401, "POST", "", "set api_token"),
        (403, "POST", "", "set request_exports to false"),
        (403, "GET", "", f"denied access to the exports .* environment_id {ENVIRONMENT}"),
        (403, "GET", "/abc", "denied access to export abc "),
        (404, "GET", "/abc", rf"no such export \(404\): export abc is not in environment {ENVIRONMENT}"),
        (410, "GET", "/abc", r"no such export \(410\)"),
        (404, "GET", "/abc/download", r"no such export \(404\): export abc "),
        (410, "GET", "", "Dynamic answered 410 to a GET of the exports"),
        (404, "GET", "", f"environment {ENVIRONMENT}. Check environment_id and api_url"),
        (404, "POST", "", "Check environment_id and api_url"),
        (422, "POST", "", "Dynamic answered 422 to a POST of the exports"),
        (407, "GET", "", r"A proxy refused the request \(407\)\. Check the proxy settings"),
        (407, "POST", "", "Check the proxy settings"),
        (302, "GET", "", "The token is not sent to another URL"),
    ],
)
def test_errors_say_what_to_do(status: int, method: str, path: str, advice: str) -> None:
    with pytest.raises(TapError, match=advice) as caught:
        check_response(response(status, method=method, path=path), ENVIRONMENT)
    assert isinstance(caught.value, FileUnusable) == (status in {404, 410} and bool(path))


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"error": "scope missing"}, " Dynamic says: scope missing"),
        ({"error": "GET https://files.example.com/a?sig=1 with dyn_abc"}, "?… with dyn_…"),
        ({"error": "first\nsecond"}, " Dynamic says: first"),
        ({"error": {}}, None),
        ({}, None),
        ([], None),
        (b"<html>", None),
    ],
)
def test_dynamics_own_words_are_redacted(body: object, detail: str | None) -> None:
    with pytest.raises(TapError) as caught:
        check_response(response(403, body), ENVIRONMENT)
    message = str(caught.value)
    assert message.endswith(detail) if detail else "Dynamic says" not in message
    assert "sig=" not in message


@pytest.mark.parametrize(("status", "path"), [(200, ""), (201, ""), (302, "/abc/download"), (200, "/abc/download")])
def test_good_responses_pass(status: int, path: str) -> None:
    check_response(response(status, b"" if path else {}, path=path), ENVIRONMENT)


NOT_OBJECTS = [b"<html>", b"", b"null", b"[]", b'"x"', b'{"exports": [', b"[" * 100_000, b"\xff"]


@pytest.mark.parametrize("body", NOT_OBJECTS, ids=lambda body: body[:20].decode("latin-1"))
@pytest.mark.parametrize("status", [200, 201])
def test_an_answer_that_is_not_a_json_object_is_retried(status: int, body: bytes) -> None:
    with pytest.raises(RetriableAPIError, match=f"Dynamic answered {status}, but not with a JSON object: .*api_url"):
        check_response(response(status, body), ENVIRONMENT)


@pytest.mark.parametrize("body", [[], {}, {"exports": None}, {"exports": {}}, b"<html>", b"[" * 100_000])
def test_what_is_not_a_list_of_exports(body: object) -> None:
    with pytest.raises(TapError, match=r"Check api_url\."):
        entries_of(response(200, body))


def test_a_list_is_returned_as_it_is() -> None:
    assert entries_of(response(200, {"exports": [1, None, {}]})) == [1, None, {}]


def test_a_malformed_export_is_named() -> None:
    with pytest.raises(TapError, match="metadata of export abc is malformed: its id is missing"):
        export_of(response(200, {"format": "csv"}), "export abc")
