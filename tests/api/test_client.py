"""Rules of client.py: an export that this run requested may not be found yet."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

import pytest

from sandbox.data import csv_file
from sandbox.server import API_TOKEN, ENVIRONMENT_ID, Fault, SandboxExport
from tap_dynamic.api.client import GRACE, GRACE_INTERVAL, ExportsApi
from tap_dynamic.errors import FileUnusable, TapError
from tests.builders import export

if TYPE_CHECKING:
    from sandbox.server import Sandbox


@pytest.fixture
def api(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> ExportsApi:
    """A client that sleeps by moving its clock."""
    slept, real = [0.0], time.monotonic
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "monotonic", lambda: real() + sum(slept))
    monkeypatch.setenv("no_proxy", "*")
    sandbox.export_factory = lambda model: SandboxExport(model, csv_file(model, 5), has_url=False)
    return ExportsApi(
        api_url=sandbox.api_url,
        environment_id=ENVIRONMENT_ID,
        token=API_TOKEN,
        timeout=(5, 5),
        user_agent="agent",
        logger=logging.getLogger("test_client"),
    )


@pytest.mark.parametrize("kind", ["get", "download"])
def test_an_export_that_was_just_requested_may_not_be_found_yet(sandbox: Sandbox, api: ExportsApi, kind: str) -> None:
    made = api.create("users", ())
    sandbox.exports[made.id].polls_left = 0
    sandbox.faults = [Fault(kind, times=3, status=404)]
    assert made.id in api.download_url(made.id)
    assert sandbox.count(kind) == 4


def test_it_is_asked_for_thirty_seconds(sandbox: Sandbox, api: ExportsApi) -> None:
    made = api.create("users", ())
    del sandbox.exports[made.id]
    with pytest.raises(FileUnusable):
        api.get(made.id)
    assert sandbox.count("get") == pytest.approx(GRACE / GRACE_INTERVAL, abs=2)


def test_an_export_of_an_earlier_run_is_gone_at_once(sandbox: Sandbox, api: ExportsApi) -> None:
    api.create("users", ())
    with pytest.raises(FileUnusable):
        api.get("another")
    assert sandbox.count("get") == 1


def test_an_export_that_someone_else_filtered_is_not_taken_for_the_requested_one(
    sandbox: Sandbox, api: ExportsApi
) -> None:
    others = sandbox.add("users", csv_file("users", 1), filter={"q": "a"})
    sandbox.faults = [Fault("create", status=500)]
    made = api.create("users", ())
    assert made.id != others.id
    assert sandbox.count("create") == 2


def test_the_metadata_of_another_export_is_an_error(sandbox: Sandbox, api: ExportsApi) -> None:
    sandbox.faults = [Fault("get", status=200, body=json.dumps(dict(export("another").record)).encode())]
    with pytest.raises(TapError, match=r"another export than a\. Check api_url"):
        api.get("a")
