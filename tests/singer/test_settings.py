"""Settings: invalid ones are rejected before any request, with a message that names them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import csv_file
from sandbox.server import API_TOKEN
from tap_dynamic.settings import CONFIG_SCHEMA

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Tap


@pytest.mark.parametrize("mode", [[], ["--discover"], ["--test"]], ids=["sync", "discover", "test"])
def test_all_invalid_settings_are_named_once_in_every_mode(sandbox: Sandbox, tap: Tap, mode: list[str]) -> None:
    invalid: dict[str, Any] = {
        "api_token": API_TOKEN[4:] + "\n",
        "export_ids": ["x"],
        "poll_interval": 0,
        "api_tokn": 5,
    }
    run = tap(*mode, environment_id=None, **invalid)
    assert run.code == 1
    assert run.errors == [
        "Setting environment_id is required.",
        "Setting api_token must be a token as Dynamic makes them: dyn_ and then no blanks.",
        "Setting poll_interval must be greater than 0.",
        "Setting export_ids.0 must be a lower-case UUID of 36 characters.",
        "Setting api_tokn does not exist.",
    ]
    assert not run.out
    assert not sandbox.requests
    assert API_TOKEN[4:] not in run.log


def test_settings_are_read_from_the_environment(sandbox: Sandbox, tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    export = sandbox.add("users", csv_file("users", 3))
    sandbox.add("users", csv_file("users", 4))
    variables = {**sandbox.variables, "TAP_DYNAMIC_EXPORT_IDS": json.dumps([export.id])}
    for name, value in {**variables, "TAP_DYNAMIC_POLL_INTERVAL": "0.5"}.items():
        monkeypatch.setenv(name, value)
    wrong = "99999999-9999-4999-8999-999999999999"
    run = tap("--config", "ENV", environment_id=wrong, export_ids=[wrong])  # the environment wins
    assert run.code == 0, run.log
    assert len(run.records("users")) == 3


def test_about_lists_the_settings(tap: Tap) -> None:
    about = tap("--about", "--format=markdown").out
    for name in CONFIG_SCHEMA["properties"]:
        assert f"| {name} |" in about
    assert [name for name, schema in CONFIG_SCHEMA["properties"].items() if schema.get("secret")] == ["api_token"]
    assert "| export_timeout | False | 3600 |" in about
    assert "| api_url | False | https://app.dynamicauth.com/api/v0 |" in about
