"""The command line: what is printed, what is selected, and what ends it before and after a run."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import csv_file
from tests.conftest import select

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Run, Tap


def test_help_and_version(tap: Tap) -> None:
    assert "--discover" in tap("--help").out
    assert tap("--version").out.startswith(f"tap-dynamic v{version('tap-dynamic')}, Meltano SDK v0.54")


def verdicts(run: Run) -> list[str]:
    """Return what a test says, without times and names of loggers."""
    return [" ".join(line.split("|")[index].strip() for index in (1, 3)) for line in run.log.splitlines()]


@pytest.mark.parametrize(("settings", "columns"), [({}, 41), ({"changes_only": True}, 42)])
def test_test_mode_prints_a_verdict_on_each_stream_and_no_record(
    sandbox: Sandbox, tap: Tap, settings: dict[str, Any], columns: int
) -> None:
    users = sandbox.add("users", csv_file("users", 10))
    visits = sandbox.add("visits", csv_file("visits", 10))
    run = tap("--test", **settings)
    assert (run.code, run.out) == (0, "")
    found = f"the token is accepted for environment {sandbox.config['environment_id']}; 2 exports found"
    readable = f"export {users.id} is readable and has {columns} columns; the key is user_id, verified_credential_id"
    exports, rows, other = verdicts(run)
    assert exports == f"INFO Test of exports passed: {found} (1 completed of users, 1 completed of visits)."
    assert rows == f"INFO Test of users passed: {readable}."
    assert other.startswith(f"INFO Test of visits passed: export {visits.id} is readable and has ")


def test_test_mode_says_that_there_is_nothing_to_read(tap: Tap) -> None:
    run = tap("--test")
    assert run.code == 0
    assert verdicts(run)[-3].endswith("; 0 exports found.")
    assert verdicts(run)[-2:] == [f"INFO Test of {s} passed: there is nothing to read." for s in ("users", "visits")]


def test_test_mode_names_an_environment_that_is_not_the_tokens(tap: Tap) -> None:
    unknown = "99999999-9999-4999-8999-999999999999"
    run = tap("--test", environment_id=unknown)
    assert run.code == 1
    assert f"belongs to another environment than environment_id {unknown}" in run.errors[-1]


def test_test_mode_ends_with_what_failed(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", csv_file("users", 3))  # the SDK stops a test at its second record
    broken = sandbox.add("visits", b"id,address\n1,2,3\n")
    run = tap("--test")
    assert (run.code, run.out) == (1, "")
    assert verdicts(run)[-2:] == [
        f"WARNING Test of visits failed: export {broken.id} can't be read.",
        f"ERROR Stream visits, export {broken.id}, row 1: 3 fields, where the header has 2.",
    ]


def test_test_mode_at_debug_says_all(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLEVEL", "debug")
    run = tap("--test")
    assert "METRIC" in run.log
    assert run.out == ""


def test_test_mode_can_still_print_schemas(tap: Tap) -> None:
    assert [m["stream"] for m in tap("--test=schema").of("SCHEMA")] == ["exports", "users", "visits"]


def test_a_run_ends_with_a_summary_of_each_stream(sandbox: Sandbox, tap: Tap) -> None:
    export = sandbox.add("users", csv_file("users", 1200))
    run = tap()
    assert "users: 1 export read, 1,200 rows, 41 columns, 0." in run.log
    again = tap(_state=run.state)
    assert f"Nothing new of users: the newest completed export, {export.id}, was loaded before." in again.log


# --- what is selected

UNSELECTED: list[tuple[tuple[str, ...], list[str]]] = [
    ((), ["No stream is selected: nothing is loaded. Check the selection (select)."]),
    (
        ("exports",),
        ["Neither users nor visits is selected: only the list of exports is loaded. Check the selection (select)."],
    ),
    (("users",), []),
    (("exports", "visits"), []),
]


@pytest.mark.parametrize(("streams", "warnings"), UNSELECTED)
def test_a_run_warns_where_no_rows_are_selected(
    sandbox: Sandbox, tap: Tap, documented: Message, streams: tuple[str, ...], warnings: list[str]
) -> None:
    sandbox.add("users", csv_file("users", 3))
    sandbox.add("visits", csv_file("visits", 3))
    run = tap(_catalog=select(copy.deepcopy(documented), *streams))
    assert run.code == 0
    assert run.warnings == warnings


def test_a_named_export_of_a_deselected_stream_is_named(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    users, visits = sandbox.add("users", csv_file("users", 3)), sandbox.add("visits", csv_file("visits", 3))
    run = tap(_catalog=select(copy.deepcopy(documented), "exports", "users"), export_ids=[users.id, visits.id])
    assert run.code == 0
    assert run.warnings == [f"Export {visits.id} is not read: visits is not selected."]
    assert len(run.records("users")) == 3


def test_metadata_for_all_streams_leaves_the_exports_as_they_are(
    sandbox: Sandbox, tap: Tap, documented: Message
) -> None:
    """As Meltano documents: `metadata: {"*": {replication-key: updated_at}}`."""
    sandbox.add("users", csv_file("users", 3))
    plain = tap(_catalog=copy.deepcopy(documented))
    catalog = copy.deepcopy(documented)
    for entry in catalog["streams"]:
        root = next(item["metadata"] for item in entry["metadata"] if not item["breadcrumb"])
        root.update({"replication-key": "updated_at", "replication-method": "INCREMENTAL"})
        entry.update(replication_key="updated_at", replication_method="INCREMENTAL")
    run = tap(_catalog=catalog)
    assert run.code == 0, run.log
    assert run.state == plain.state
    assert [m["record"] for m in run.of("RECORD")] == [m["record"] for m in plain.of("RECORD")]


def test_a_catalog_with_little_metadata(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    """The stream is selected, its key included, and the credential left out."""
    sandbox.add("users", csv_file("users", 3))
    catalog = copy.deepcopy(documented)
    for entry in catalog["streams"]:
        entry["metadata"] = [{"breadcrumb": ["properties", "id"], "metadata": {"selected": False}}]
    run = tap(_catalog=catalog)
    assert run.code == 0, run.log
    (record,) = run.records("exports")
    assert set(record) == {*documented["streams"][0]["schema"]["properties"]} - {"downloadUrl"}


def test_a_stream_map_can_name_a_column_that_only_the_file_has(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    sandbox.add("users", b"user_id,tier\n1,a\n")
    run = tap(_catalog=copy.deepcopy(documented), stream_maps={"users": {"__key_properties__": ["tier"]}})
    assert run.code == 0, run.log
    assert run.of("SCHEMA", "users")[0]["key_properties"] == ["tier"]


@pytest.mark.parametrize("is_batch", [False, True])
def test_maps_that_fail_are_reported_for_each_stream_without_a_cell(
    sandbox: Sandbox, tap: Tap, tmp_path: Path, *, is_batch: bool
) -> None:
    export = sandbox.add("users", b"id\nsecret\n")
    batch = {"encoding": {"format": "jsonl"}, "storage": {"root": str(tmp_path)}}
    settings: dict[str, Any] = {"batch_config": batch} if is_batch else {}
    run = tap(stream_maps={"users": {"x": "int(id)"}, "exports": {"x": "int(id)"}}, **settings)
    assert run.code == 1
    assert run.errors == [
        f"{label}: the record can't be mapped or encoded (ValueError). Check stream_maps."
        for label in (f"Stream users, export {export.id}, row 1", "Stream exports")
    ]


def test_flattening_that_gives_two_columns_one_name(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", b'id,m,m__plan\n1,"{""plan"": ""free""}",x\n')
    catalog = select(tap.discover(), "users")
    users = next(entry for entry in catalog["streams"] if entry["stream"] == "users")
    users["schema"]["properties"]["m"] = {"type": ["object", "null"], "properties": {"plan": {"type": "string"}}}
    run = tap(_catalog=catalog, flattening_enabled=True, flattening_max_depth=1)
    assert run.code == 1
    assert "flattening gives two columns one name." in run.errors[0]


def test_an_export_of_which_no_row_passes_a_filter_deletes_nothing(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", b"id\n1\n")
    second = sandbox.add("users", b"id\n2\n")
    maps = {"users": {"__filter__": "id == '1'"}}
    run = tap(snapshots="all", emit_activate_version_messages=True, stream_maps=maps)
    assert run.code == 0
    assert len(run.of("ACTIVATE_VERSION", "users")) == 1
    note = "no row of users passes its stream map: none are deleted from the table"
    assert f"Export {second.id}: {note}." in run.warnings


def test_an_api_at_an_ipv6_address(tap: Tap) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

    class Server(HTTPServer):
        address_family = socket.AF_INET6

    try:
        server = Server(("::1", 0), Refusing)
    except OSError:
        pytest.skip("no IPv6")
    with server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        run = tap("--discover", api_url=f"http://[::1]:{server.server_port}/api/v0")
    assert run.code == 1
    assert run.errors[0].startswith("Dynamic refused the API token (401)")


# --- before and after the run

LOGGING: list[tuple[str, str, str]] = [
    # Each with another mode.
    ("LOGLEVEL", "trace", "--discover"),
    ("TAP_DYNAMIC_LOGLEVEL", "10", "--version"),
    ("SINGER_SDK_LOG_CONFIG", "/", "--test"),
    ("SINGER_SDK_LOG_CONFIG", __file__, "--test"),
]


@pytest.mark.parametrize(("name", "value", "mode"), LOGGING)
def test_logging_that_cannot_be_set_up(
    tap: Tap, monkeypatch: pytest.MonkeyPatch, name: str, value: str, mode: str
) -> None:
    monkeypatch.setenv(name, value)
    run = tap(mode)
    assert (run.code, run.out) == (1, "")
    assert run.errors == [f"Logging can't be set up by {name}: correct or unset it."]
    assert len(run.log.splitlines()) == 1


def test_empty_variables_of_logging_are_ignored(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGLEVEL", "TAP_DYNAMIC_LOGLEVEL", "SINGER_SDK_LOG_CONFIG"):
        monkeypatch.setenv(name, "")
    assert tap("--discover").code == 0


UNREADABLE = [
    ("--state", "/nowhere", "--test=disabled"),
    ("--catalog", "/", "--test=disabled"),
    *(("--config", path, mode) for path in ("/nowhere", "") for mode in ("--test=disabled", "--discover", "--test")),
]


@pytest.mark.parametrize(("option", "path", "mode"), UNREADABLE)
def test_an_input_file_that_cannot_be_read(tap: Tap, option: str, path: str, mode: str) -> None:
    run = tap(option, path, mode)
    assert run.code == 1
    (line,) = run.log.splitlines()
    assert f"The file of {option} can't be read (" in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_is_one_error() -> None:
    with Path("/dev/full").open("wb") as full:
        run = process("--version", stdout=full)
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.endswith("| Stdout can't be written (no space left on device).")


def test_a_stdout_that_is_full_before_its_last_bytes_is_one_error(tmp_path: Path) -> None:
    """They are still buffered when the command has ended."""
    file = tmp_path / "about"
    with file.open("wb") as out:
        assert process("--about", stdout=out).returncode == 0
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({file.stat().st_size - 100},) * 2)"
    with file.open("wb") as out:
        run = process("--about", code=limit, stdout=out)
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.endswith("| Stdout can't be written (file too large).")


def test_a_reader_that_has_ended_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:  # noqa: PTH123 (a descriptor)
        run = process("--help", stdout=closed)
    assert (run.returncode, run.stderr) == (1, "")


def process(*arguments: str, code: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, after some code."""
    command = [sys.executable, "-c", f"{code}\nfrom tap_dynamic.__main__ import main\nmain()", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        command, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=environment, **options
    )


OLD_PYTHON = """
import datetime, sys
from singer_sdk.helpers import _compat
_compat._PYTHON_EOL_DATES[sys.version_info[:2]] = datetime.date(2020, 1, 1)
"""


def test_the_sdks_advice_to_upgrade_python_is_not_for_users(tap: Tap) -> None:
    run = process(*tap.arguments("--discover"), code=OLD_PYTHON, stdout=subprocess.DEVNULL)
    assert run.returncode == 0
    assert "end of life" not in run.stderr
    assert "WARNING" not in run.stderr


def test_errors_are_logged_whatever_the_logging_configuration(
    tap: Tap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python disables existing loggers unless a configuration says otherwise."""
    handler = {"class": "logging.StreamHandler", "formatter": "f"}
    config = {"version": 1, "formatters": {"f": {"format": "%(message)s"}}, "handlers": {"h": handler}}
    file = tmp_path / "logging.yaml"
    file.write_text(json.dumps({**config, "root": {"level": "INFO", "handlers": ["h"]}}))
    monkeypatch.setenv("SINGER_SDK_LOG_CONFIG", str(file))
    for mode in ([], ["--test"], ["--discover"]):
        run = tap(*mode, api_token="dyn_of-somebody-else")
        assert run.code == 1
        assert run.log.splitlines()[-1].startswith("Dynamic refused the API token (401)")
    assert tap("--test").log.splitlines()[-1].startswith("Test of visits passed")
