"""What surrounds a run: stdout, temporary files, catalogs, states, logging, BATCH files and discovery."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import csv_file
from sandbox.server import Fault

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Tap

USERS = csv_file("users", 6000)


def with_column(catalog: Message, name: str, schema: Message) -> Message:
    """A copy of a catalog in which a user has set the schema of a column of users."""
    catalog = copy.deepcopy(catalog)
    next(e for e in catalog["streams"] if e["stream"] == "users")["schema"]["properties"][name] = schema
    return catalog


@pytest.mark.parametrize("is_blocking", [True, False], ids=["blocking", "non-blocking"])
def test_every_byte_is_written_however_slowly_it_is_read(
    sandbox: Sandbox, tap: Tap, documented: Message, *, is_blocking: bool
) -> None:
    """An unbuffered stdout takes a part of what is written when the process is stopped and continued."""
    sandbox.add("users", USERS)
    reader, writer = os.pipe()
    os.set_blocking(writer, is_blocking)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    command, variables = tap.command(_catalog=documented), {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=writer, stderr=subprocess.DEVNULL, env=variables)
    os.close(writer)
    out, stops = b"", 0
    while block := os.read(reader, 50_000):
        out += block
        if b'"RECORD"' in out and stops < 20:
            stops += 1
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.001)  # let the pipe fill
            process.send_signal(signal.SIGCONT)
    os.close(reader)
    assert process.wait() == 0
    messages = [json.loads(line) for line in out.splitlines()]
    assert sum(m["type"] == "RECORD" and m["stream"] == "users" for m in messages) == 6000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_is_one_error(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", USERS)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(tap.command(), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if "| ERROR" in line]
    assert done.returncode == 1
    assert len(errors) == 1
    assert "Stdout can't be written (no space left on device)" in errors[0]
    assert "Traceback" not in done.stderr


def test_a_file_limit_is_one_error(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    export = sandbox.add("users", USERS)
    command = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *tap.command(_catalog=documented)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"export {export.id}: temporary files can't be written (file too large)" in done.stderr
    assert f"Make room in {tempfile.gettempdir()}, or set TMPDIR to a folder on a larger disk." in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_names_the_folder_that_is_used_instead_of_one_that_does_not_exist(
    sandbox: Sandbox, tap: Tap, tmp_path: Path
) -> None:
    export = sandbox.add("users", USERS)
    huge = Fault("file", status=200, headers={"Content-Length": str(10**15)}, body=b"id")
    code = "import tempfile; print(tempfile.gettempdir())"
    variables = {"TMPDIR": str(tmp_path / "missing")}
    folder = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    sandbox.faults = [Fault("file"), huge]
    command = tap.command()
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"export {export.id}: the file does not fit into the" in done.stderr
    assert f"bytes that are left in {folder.stdout.strip()} for temporary files. Make room there" in done.stderr


def users_catalog(properties: Message) -> Message:
    """A catalog of users with some columns."""
    entry = {"tap_stream_id": "users", "schema": {"type": "object", "properties": properties}}
    return {"streams": [{**entry, "metadata": [{"breadcrumb": [], "metadata": {"selected": True}}]}]}


CORRUPT: list[tuple[str, Any, str]] = [
    ("state", 7, "The state is corrupt"),
    ("catalog", {"streams": 7}, "The catalog is corrupt"),
    ("catalog", users_catalog({"codes": {"type": "array", "items": True}}), "The catalog is corrupt"),
    ("catalog", users_catalog({"codes": {"type": "array", "items": [{}]}}), "The catalog is corrupt"),
    ("catalog", {"streams": [{"tap_stream_id": "users", "metadata": [{}]}]}, "The catalog is corrupt"),
]


@pytest.mark.parametrize(("name", "content", "error"), CORRUPT)
def test_a_corrupt_state_or_catalog_is_one_error(
    sandbox: Sandbox, tap: Tap, name: str, content: Any, error: str
) -> None:
    sandbox.add("users", USERS)
    run = tap(**{f"_{name}": content})
    assert run.code == 1
    assert len(run.errors) == 1
    assert run.errors[0].startswith(error)


def test_urls_are_redacted_whatever_the_logging_configuration(sandbox: Sandbox, tap: Tap, tmp_path: Path) -> None:
    sandbox.add("users", csv_file("users", 3))
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"class": "logging.StreamHandler", "level": "DEBUG"}},
        "loggers": {"urllib3": {"level": "DEBUG", "handlers": ["stderr"]}},
    }
    file = tmp_path / "logging.yaml"
    file.write_text(json.dumps(config))
    run = tap(environment={"SINGER_SDK_LOG_CONFIG": str(file)})  # it looks for token and signature
    assert run.code == 0
    assert "GET /exports/" in run.log


TROUBLES = {
    "503": [Fault("file", status=503, headers={"Retry-After": "0"})],
    "403": [Fault("file", status=403)],
    "cut": [Fault("file", after=1000)],
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_discovery_is_retried_as_a_download_is(sandbox: Sandbox, tap: Tap, trouble: str) -> None:
    sandbox.add("users", csv_file("users", 30))
    expected = tap.discover()
    sandbox.faults = copy.deepcopy(TROUBLES[trouble])
    assert tap.discover() == expected
    assert sandbox.count("file") == 3


def test_discovery_fails_if_the_file_host_stays_down(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", csv_file("users", 30))
    sandbox.faults = [Fault("file", times=99, status=503, headers={"Retry-After": "0"})]
    run = tap("--discover")
    assert run.code == 1
    assert "failed after 8 attempts" in run.errors[0]


def test_a_catalog_without_metadata_has_no_download_url(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", csv_file("users", 3))
    catalog = tap.discover()
    for entry in catalog["streams"]:
        entry["metadata"] = []
    run = tap(_catalog=catalog)
    assert run.records("exports")
    assert all("downloadUrl" not in record for record in run.records("exports"))


@pytest.mark.parametrize("expression", ["md5(user_email)", "1 / (_sdc_row_number - 3)", "json.dumps(points)"])
def test_a_failing_map_names_the_row_and_keeps_visits_loading(
    sandbox: Sandbox, tap: Tap, documented: Message, expression: str
) -> None:
    export = sandbox.add("users", b"user_id,user_email,points\n1,secret@example.com,1\n2,a,2\n3,,1.5\n")
    visits = sandbox.add("visits", csv_file("visits", 3))
    catalog = with_column(documented, "points", {"type": ["number", "null"]})
    run = tap(_catalog=catalog, stream_maps={"users": {"extra": expression}})
    assert run.code == 1
    (error,) = run.errors
    assert error.startswith(f"Stream users, export {export.id}, row ")
    assert "secret" not in run.log
    assert run.bookmark("visits")["export_ids"] == [visits.id]


def test_a_chunked_file_that_is_cut_after_its_last_byte_is_not_fetched_again(
    sandbox: Sandbox, tap: Tap, documented: Message
) -> None:
    export = sandbox.add("users", USERS)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: %s\r\n\r\n" % export.etag.encode()
    sandbox.faults.append(Fault("file", garbage=head + b"%x\r\n" % len(USERS) + USERS))
    run = tap(_catalog=documented)
    assert run.code == 0, run.log
    assert len(run.records("users")) == 6000
    assert "restarting" not in run.log
    assert sandbox.count("file") == 2  # the second one asks for the size


def test_the_export_of_an_environment_without_users_is_an_empty_one(
    sandbox: Sandbox, tap: Tap, documented: Message
) -> None:
    sandbox.add("users", csv_file("users", 1).partition(b"\n")[0].strip())
    assert [entry["stream"] for entry in tap.discover()["streams"]] == ["exports", "users", "visits"]
    run = tap(_catalog=documented)
    assert (run.code, run.errors, run.records("users")) == (0, [], [])
    assert run.of("SCHEMA", "users")


WATCHED = """
import atexit, sys
from tap_dynamic.tap import TapDynamic
atexit.register(lambda: sys.stderr.write(open("/proc/self/status").read()))
TapDynamic.cli()
"""
"""Runs the tap and reports its peak of memory: `ru_maxrss` would count the process that it was started from."""
MIB, EMOJI = 1 << 20, "\U0001f600".encode()
HOSTILE: dict[str, tuple[bytes, str | None]] = {
    # name: (what begins with row 2, the error)
    "many fields": (b"ab," * (23 * MIB // 4), "row 2: more than 65,536 fields"),
    "many fields after a bare quote": (b'x"y,' + b"ab," * (23 * MIB // 4), "row 2: more than 65,536 fields"),
    "many fields on many lines": (b'"ab\n",' * (4 * MIB), "row 2: more than 65,536 fields"),
    "two large fields": (b"x" * (16 * MIB) + b"," + b"x" * (15 * MIB) + b"\n", None),
    "three large fields": (b",".join([b"x" * (15 * MIB)] * 3), "row 2: a row over 32 MiB"),
    "no line end": (b"x" * (40 * MIB), "row 2: a row over 32 MiB"),
    # With one of them in a text, Python takes four bytes for each of its characters.
    "an emoji in a large field": (b"1," + b"x" * (15 * MIB) + EMOJI, "row 2: a row over 32 MiB"),
    "many emoji": (b",".join([(b"x" * 9999 + EMOJI) * 1500] * 2), "row 2: a row over 32 MiB"),
    "an emoji on the first of many lines": (b'"' + EMOJI + (b"x" * 999 + b"\n") * 15_000, "row 2: a row over 32 MiB"),
    "nothing but emoji": (EMOJI * (4 * MIB - 1) + b"," + EMOJI * (4 * MIB - 9) + b"\n", None),
    # JSON writes six characters for each, or two.
    "control characters": (b",".join([b"\x01" * (15 * MIB)] * 2) + b"\n", "row 2: a row over 32 MiB as JSON"),
    "backslashes": (b",".join([b"\\" * (15 * MIB)] * 2) + b"\n", "row 2: a row over 32 MiB as JSON"),
    "a few control characters": (b",".join([b"\x01" * (5 * MIB // 2)] * 2) + b"\n", None),
    "three bytes as JSON, two in memory": (
        b",".join(["\u20ac".encode() * (78 * MIB // 10)] * 2) + b"\n",
        "row 2: a row over 32 MiB as JSON, in which some characters are longer",
    ),
    "large JSON": (b'1,"[' + b"1," * (7 * MIB) + b'1]"\n', "row 2: the cell of column 'user_metadata' is over 1 MiB"),
}


def peak_of(tap: Tap, catalog: Message) -> tuple[subprocess.CompletedProcess[str], int]:
    """Run the tap in a process of its own; return it, and its peak of memory in MiB."""
    command = [sys.executable, "-c", WATCHED, *tap.arguments(_catalog=catalog)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done, next(int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("VmHWM:")) >> 10


BLANK: dict[str, bytes] = {
    "CRLF": b"u1,1\r\n" + b"\r\n" * (4 * MIB) + b"u2,2\r\n",
    "LF at the end": b"u1,1\nu2,2\n" + b"\n" * (8 * MIB),
    "CR": b"u1,1\r" + b"\r" * (8 * MIB) + b"u2,2\r",
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("case", BLANK)
def test_blank_lines_take_no_memory(sandbox: Sandbox, tap: Tap, documented: Message, case: str) -> None:
    sandbox.add("users", b"user_id,user_alias\n" + BLANK[case])
    done, peak = peak_of(tap, documented)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["record"]["user_id"] for line in done.stdout.splitlines() if '"user_id":"u' in line] == [
        "u1",
        "u2",
    ]
    assert peak < 100


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("case", HOSTILE)
def test_no_row_takes_250_mib(sandbox: Sandbox, tap: Tap, documented: Message, case: str) -> None:
    row, error = HOSTILE[case]
    sandbox.add("users", b"user_id,user_metadata\n1,[]\n" + row)
    # The user insists on the type.
    catalog = with_column(
        documented, "user_metadata", {"type": [("array" if case == "large JSON" else "string"), "null"]}
    )
    done, peak = peak_of(tap, catalog)
    assert done.returncode == bool(error), done.stderr
    assert (error or "") in done.stderr
    assert peak < 250
