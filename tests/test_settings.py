"""Settings: a bad one is refused before any request, by a message that names it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import csv_file
from sandbox.server import ENVIRONMENT, TOKEN

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Tap

BAD: list[tuple[dict[str, Any], str]] = [
    ({"environment_id": None}, "Setting environment_id is required."),
    ({"environment_id": ENVIRONMENT.upper().replace("1", "A")}, "Setting environment_id must be a lower-case UUID"),
    ({"api_token": None}, "Setting api_token is required."),
    ({"api_token": TOKEN[4:] + "\n"}, "Setting api_token must be a token"),
    ({"api_token": f" {TOKEN}"}, "Setting api_token must be a token"),
    ({"export_ids": ["x"]}, "Setting export_ids.0 must be a lower-case UUID"),
    ({"request_exports": "yes"}, "Setting request_exports must be of type boolean"),
    ({"snapshots": "newest"}, "Setting snapshots must be one of latest, all"),
    ({"start_date": "tomorrow"}, "Setting start_date must be a date-time"),
    ({"poll_interval": 0}, "Setting poll_interval must be greater than 0"),
    ({"export_timeout": -1}, "Setting export_timeout must be greater than 0"),
    ({"read_timeout": "soon"}, "Setting read_timeout must be of type number"),
    ({"api_url": "ftp://dynamic"}, "Setting api_url must be a URL"),
    ({"api_tokn": "x"}, "There is no setting api_tokn."),
    ({"export_ids": [ENVIRONMENT], "request_exports": True}, "Settings export_ids and request_exports exclude"),
]


@pytest.mark.parametrize("mode", ["--discover", "--test"])
def test_bad_settings_are_all_named_in_every_mode(sandbox: Sandbox, tap: Tap, mode: str) -> None:
    run = tap(mode, **{name: value for settings, _ in BAD[1:-1:2] for name, value in settings.items()})
    assert run.code == 1
    assert not [message for _, message in BAD[1:-1:2] if message not in run.log]
    assert not sandbox.seen


@pytest.mark.parametrize("cases", [BAD[0:14:2], BAD[1:14:2], [BAD[2], *BAD[14:]]], ids=["even", "odd", "together"])
def test_a_bad_setting_is_named_once_without_its_value(
    sandbox: Sandbox, tap: Tap, cases: list[tuple[dict[str, Any], str]]
) -> None:
    run = tap(**{name: value for settings, _ in cases for name, value in settings.items()})
    assert run.code == 1
    for _, message in {next(iter(settings)): (settings, message) for settings, message in cases}.values():
        assert len([e for e in run.errors if e.startswith(message)]) == 1, run.log
    assert not run.out
    assert not sandbox.seen
    assert TOKEN[4:] not in run.log


def test_settings_come_from_the_environment_too(sandbox: Sandbox, tap: Tap) -> None:
    export = sandbox.add("users", csv_file("users", 3))
    sandbox.add("users", csv_file("users", 4))
    variables = {
        **sandbox.variables,
        "TAP_DYNAMIC_POLL_INTERVAL": "0.5",
        "TAP_DYNAMIC_EXPORT_IDS": json.dumps([export.id]),
    }
    run = tap("--config", "ENV", environment=variables, environment_id=None, api_token=None, api_url=None)
    assert run.code == 0
    assert len(run.records("users")) == 3


def test_about_tells_all_settings(tap: Tap) -> None:
    about = tap("--about", "--format=markdown").out
    for name in (
        "environment_id",
        "api_token",
        "export_ids",
        "request_exports",
        "snapshots",
        "start_date",
        "poll_interval",
    ):
        assert f"| {name} |" in about
    assert "| export_timeout | False | 3600 |" in about
    assert "| api_url | False | https://app.dynamicauth.com/api/v0 |" in about
