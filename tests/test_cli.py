"""The command line: help, `--test` and the summary of a run."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

from sandbox.data import csv_file

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.server import Sandbox
    from tests.conftest import Tap


def test_help_and_version(tap: Tap) -> None:
    assert "--discover" in tap("--help").out
    assert tap("--version").out.startswith(f"tap-dynamic v{version('tap-dynamic')}, Meltano SDK v0.54")


def test_test_mode_reports_a_refused_token(sandbox: Sandbox, tap: Tap) -> None:
    run = tap("--test", api_token="dyn_of-somebody-else")
    assert run.code == 1
    (error,) = run.errors
    assert error.startswith("Dynamic refused the API token (401)")
    assert "somebody" not in run.log
    assert sandbox.requests


def test_test_mode_reports_an_unknown_environment(tap: Tap) -> None:
    run = tap("--test", environment_id="99999999-9999-4999-8999-999999999999")
    assert run.code == 1
    (error,) = run.errors
    assert "belongs to another environment than environment_id 99999999-9999-4999-8999-999999999999" in error


def test_test_mode_reports_that_there_is_no_completed_export(tap: Tap) -> None:
    run = tap("--test")
    assert run.code == 0
    assert (
        run.log.count("There is no completed export yet: make one in Dynamic's dashboard, or set request_exports.") == 2
    )


def test_a_run_ends_with_a_summary_of_each_stream(sandbox: Sandbox, tap: Tap) -> None:
    export = sandbox.add("users", csv_file("users", 1200))
    run = tap()
    assert "users: 1 export read, 1,200 rows, 22 columns, 0." in run.log
    assert "visits: 0 exports read, 0 rows, 0 columns, 0.0 s." in run.log
    again = tap(_state=run.state)
    assert f"Nothing new: the newest completed export, {export.id}, was loaded before." in again.log


def test_test_mode_ends_with_a_verdict_on_each_stream(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", status="failed")
    users = sandbox.add("users", csv_file("users", 10))
    broken = sandbox.add("visits", b"id,address\n1,2,3\n")
    run = tap("--test")
    found = f"the token is accepted for environment {sandbox.config['environment_id']}; 3 exports found"
    found += " (1 completed of users, 1 failed of users, 1 completed of visits)"
    assert [line.split(" | ", 1)[1].split("| tap-dynamic ")[1].strip(" |") for line in run.log.splitlines()[-4:]] == [
        f"Test of exports passed: {found}.",
        f"Test of users passed: export {users.id} is readable and has 22 columns; the key is id.",
        f"Test of visits failed: export {broken.id} can't be read.",
        f"Stream visits, export {broken.id}, row 1: 3 fields, where the header has 2.",
    ]
    assert len(run.errors) == 1


def test_errors_are_logged_whatever_the_logging_configuration(tap: Tap, tmp_path: Path) -> None:
    """Python disables existing loggers unless a configuration says otherwise."""
    handler = {"class": "logging.StreamHandler", "formatter": "f"}
    config = {"version": 1, "formatters": {"f": {"format": "%(message)s"}}, "handlers": {"h": handler}}
    file = tmp_path / "logging.yaml"
    file.write_text(json.dumps({**config, "root": {"level": "INFO", "handlers": ["h"]}}))
    environment = {"SINGER_SDK_LOG_CONFIG": str(file)}
    for mode in ([], ["--test"], ["--discover"]):
        run = tap(*mode, api_token="dyn_of-somebody-else", environment=environment)
        assert run.code == 1
        assert run.log.splitlines()[-1].startswith("Dynamic refused the API token (401)")
    assert tap("--test", environment=environment).log.splitlines()[-1].startswith("Test of visits passed")
