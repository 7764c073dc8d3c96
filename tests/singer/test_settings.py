"""Settings: invalid ones are rejected before any request, with a message that names them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import csv_file
from sandbox.server import API_TOKEN, ENVIRONMENT_ID
from tap_dynamic.errors import TapError
from tap_dynamic.tap import TapDynamic

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Tap

BATCH = {"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": {"root": "file:///tmp"}}
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"environment_id": None}, "Setting environment_id is required."),
    ({"environment_id": ENVIRONMENT_ID.upper().replace("1", "A")}, "Setting environment_id must be a lower-case UUID"),
    ({"api_token": None}, "Setting api_token is required."),
    ({"api_token": API_TOKEN[4:] + "\n"}, "Setting api_token must be a token"),
    ({"api_token": f"{API_TOKEN} {API_TOKEN}"}, "Setting api_token must be a token"),
    ({"export_ids": [ENVIRONMENT_ID + "\n"]}, "Setting export_ids.0 must be a lower-case UUID"),
    ({"export_ids": ["x"]}, "Setting export_ids.0 must be a lower-case UUID"),
    ({"request_exports": "yes"}, "Setting request_exports must be of type boolean"),
    ({"snapshots": "newest"}, "Setting snapshots must be one of latest, all"),
    *(
        ({"start_date": text}, "Setting start_date must be a date-time")
        for text in ("tomorrow", "now", "12:30", "2021", "2021-02-30", "2021-01-01/2021-02-01", "")
    ),
    ({"poll_interval": math.nan}, "Setting poll_interval must be a finite number"),
    ({"read_timeout": math.inf}, "Setting read_timeout must be a finite number"),
    ({"export_timeout": 1e12}, "Setting export_timeout must be at most 86400"),
    ({"batch_config": {"encoding": {"format": "jsonl"}}}, "Setting batch_config must have storage."),
    ({"batch_config": {**BATCH, "batch_size": 0}}, "Setting batch_config.batch_size must be at least 1"),
    (
        {"batch_config": {**BATCH, "encoding": {"format": "avro"}}},
        "Setting batch_config.encoding.format must be one of",
    ),
    ({"stream_maps": {"users": {"email": "md5("}}}, "Setting stream_maps is not accepted by the Meltano SDK"),
    ({"stream_maps": {"users": "drop"}}, "Setting stream_maps"),
    ({"stream_maps": {"__else__": "x"}}, "Setting stream_maps is not accepted by the Meltano SDK"),
    ({"flattening_enabled": True}, "Setting flattening_enabled needs flattening_max_depth"),
    ({"poll_interval": 0}, "Setting poll_interval must be greater than 0"),
    ({"export_timeout": -1}, "Setting export_timeout must be greater than 0"),
    ({"read_timeout": "soon"}, "Setting read_timeout must be of type number"),
    ({"api_url": "ftp://dynamic"}, "Setting api_url must be a URL"),
    ({"api_tokn": "x"}, "Setting api_tokn does not exist."),
    ({"export_ids": [ENVIRONMENT_ID], "request_exports": True}, "Setting export_ids excludes request_exports"),
]


@pytest.mark.parametrize(("settings", "message"), INVALID)
def test_an_invalid_setting_is_named_without_its_value(
    sandbox: Sandbox, settings: dict[str, Any], message: str
) -> None:
    config = {name: value for name, value in {**sandbox.config, **settings}.items() if value is not None}
    with pytest.raises(TapError) as raised:
        TapDynamic(config=config)
    (error,) = raised.value.lines
    assert error.startswith(message)
    assert API_TOKEN[4:] not in error
    assert not sandbox.requests


@pytest.mark.parametrize("mode", [[], ["--discover"], ["--test"]], ids=["sync", "discover", "test"])
def test_all_invalid_settings_are_named_once_in_every_mode(sandbox: Sandbox, tap: Tap, mode: list[str]) -> None:
    run = tap(
        *mode,
        environment_id=None,
        api_token=API_TOKEN[4:] + "\n",
        export_ids=["x"],
        start_date="tomorrow",
        poll_interval=0,
        api_tokn="x",
    )
    assert run.code == 1
    for message in (
        "Setting environment_id is required.",
        "Setting api_token must be a token",
        "Setting export_ids.0 must be a lower-case UUID",
        "Setting start_date must be a date-time",
        "Setting poll_interval must be greater than 0",
        "Setting api_tokn does not exist.",
    ):
        assert len([error for error in run.errors if message in error]) == 1, run.log
    assert not run.out
    assert not sandbox.requests
    assert API_TOKEN[4:] not in run.log


def test_settings_are_read_from_the_environment(sandbox: Sandbox, tap: Tap) -> None:
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


def test_about_lists_the_settings(tap: Tap) -> None:
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
