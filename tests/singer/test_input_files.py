"""The files of --config, --catalog and --state: what is read, and the one line for each that can't be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tap_dynamic.errors import TapError
from tap_dynamic.singer.input_files import read_catalog, read_config, read_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.server import Sandbox
    from tests.conftest import Message, Tap

SECRET = "deadbeefcafe"  # noqa: S105 (nothing's token)
STATE: dict[str, Any] = {"bookmarks": {"users": {"replication_key_value": "2026-01-01T00:00:00Z"}}}

STATES: list[tuple[Any, dict[str, Any]]] = [
    ({}, {}),
    ({"bookmarks": {}}, {"bookmarks": {}}),
    (STATE, STATE),
    ({**STATE, "currently_syncing": None}, {**STATE, "currently_syncing": None}),
    ({"type": "STATE", "value": STATE}, STATE),
    ({"type": "STATE", "value": {}}, {}),
    ({"singer_state": STATE}, STATE),
    ({"singer_state": {}}, {}),
]


@pytest.mark.parametrize(("content", "expected"), STATES)
def test_states_that_are_read(tmp_path: Path, content: Any, expected: dict[str, Any]) -> None:
    file = tmp_path / "state"
    file.write_text(json.dumps(content))
    assert read_state(str(file)) == expected


NO_BOOKMARKS = "The state has no bookmarks."
EXPECTED = "The state is corrupt: Expected `"
NOT_JSON = "The state is corrupt: it is not JSON"
UNREADABLE_STATES: list[tuple[bytes, str]] = [
    (b'{"value": {"bookmarks": {}}}', NO_BOOKMARKS),
    (b'{"completed": {"singer_state": {"bookmarks": {}}}, "partial": {}}', NO_BOOKMARKS),
    (b'{"singer_state": {"bookmarks": {}}, "x": 1}', NO_BOOKMARKS),
    (b'{"singer_state": {"singer_state": {"bookmarks": {}}}}', NO_BOOKMARKS),
    (b'{"users": {"replication_key_value": "2026-01-01T00:00:00Z"}}', NO_BOOKMARKS),
    (b'{"currently_syncing": null}', NO_BOOKMARKS),
    (b'{"type": "STATE"}', EXPECTED),
    (b'{"type": "STATE", "value": null}', EXPECTED),
    (b'{"type": "STATE", "value": []}', EXPECTED),
    (b'{"singer_state": null}', EXPECTED),
    (b'{"bookmarks": null}', EXPECTED),
    (b'{"bookmarks": {"users": []}}', EXPECTED),
    (b"[]", EXPECTED),
    (b"", NOT_JSON),
    (b"{}\n{}", NOT_JSON),
    (b'{"bookmarks": NaN}', NOT_JSON),
    (b"[" * 100_000, NOT_JSON),
    (b'{"x": "\\ud800"}', NOT_JSON),
    ('{"x": "\u00e9"}'.encode("latin-1"), NOT_JSON),
    ("{}".encode("utf-16"), NOT_JSON),
]


@pytest.mark.parametrize(("content", "message"), UNREADABLE_STATES, ids=lambda value: ascii(value)[:60])
def test_states_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "state"
    file.write_bytes(content)
    with pytest.raises(TapError) as raised:
        read_state(str(file))
    (line,) = raised.value.lines
    assert line.startswith(message)


ENTRY: dict[str, Any] = {"tap_stream_id": "users", "schema": {}, "metadata": []}
PINNED = [{"breadcrumb": [], "metadata": {"table-key-properties": "id"}}]
UNREADABLE_CATALOGS: list[Any] = [
    [],
    {},
    STATE,
    {"streams": 7},
    {"streams": [{}]},
    {"streams": [{**ENTRY, "schema": {"properties": {"id": 5}}}]},
    {"streams": [{**ENTRY, "metadata": [{}]}]},
    {"streams": [{**ENTRY, "key_properties": "id"}]},
    {"streams": [{**ENTRY, "metadata": PINNED}]},
]


@pytest.mark.parametrize("content", UNREADABLE_CATALOGS, ids=str)
def test_catalogs_that_are_refused(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "catalog"
    file.write_text(json.dumps(content))
    with pytest.raises(TapError, match=r"^The catalog is corrupt: .* Run the discovery again\.$"):
        read_catalog(str(file))


READERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "config": read_config,
    "catalog": read_catalog,
    "state": read_state,
}


@pytest.mark.parametrize("name", READERS)
def test_a_byte_order_mark_is_skipped(tmp_path: Path, name: str) -> None:
    content = {"bookmarks": {}, "streams": [], "x": "\u00e9"}
    file = tmp_path / "file"
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8-sig")
    assert READERS[name](str(file)) == content


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("path", ["nowhere", "", ".", "a\0b"])
def test_a_path_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TapError, match=f"The file of --{name} can't be read"):
        READERS[name](path)


def test_files_are_utf_8_whatever_the_locale(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", b"id,gr\xc3\xb6\xc3\x9fe\n1,a\n")
    catalog = tap.discover()
    state: Message = {"bookmarks": {"exports": {"note": "\u00e9"}}}
    for name, content in (("utf8-catalog", catalog), ("utf8-state", state)):
        (tap.folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    command = tap.command("--catalog", str(tap.folder / "utf8-catalog"), "--state", str(tap.folder / "utf8-state"))
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    run = subprocess.run(command, capture_output=True, timeout=60, check=False, env={**environment, **locale})
    assert run.returncode == 0, run.stderr
    records = [json.loads(line) for line in run.stdout.decode().splitlines() if '"users","record"' in line]
    assert [message["record"]["gr\u00f6\u00dfe"] for message in records] == ["a"]


def test_a_closed_stdin_has_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(TapError, match="The file of --state can't be read"):
        read_state("-")


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="needs /dev/fd")  # noqa: PTH110
def test_files_that_can_be_read_once_only(sandbox: Sandbox) -> None:
    """As the shell's `--config <(...)` makes them."""
    reading, writing = os.pipe()
    os.write(writing, json.dumps(sandbox.config).encode())
    os.close(writing)
    command = [sys.executable, "-m", "tap_dynamic", "--config", f"/dev/fd/{reading}", "--state", "-"]
    state = b'{"bookmarks": {"exports": {"x": 5}}}'
    run = subprocess.run(command, input=state, capture_output=True, timeout=60, check=False, pass_fds=[reading])
    os.close(reading)
    assert run.returncode == 0, run.stderr
    assert b'"x":5' in run.stdout


# --- .env, which the SDK reads by itself


def run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tap as a program without a file, for which the SDK looks for `.env` in the working directory."""
    command = [sys.executable, "-c", "from tap_dynamic.__main__ import main; main()", "--config", "ENV", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_settings_in_a_dotenv_file_are_checked_too(sandbox: Sandbox, tmp_path: Path) -> None:
    lines = {
        **sandbox.variables,
        "TAP_DYNAMIC_CHANGES_ONLY": "ture",
        "TAP_DYNAMIC_STREAM_MAPS": "{" + SECRET,
        "TAP_DYNAMIC_FLATTENING_MAX_DEPTH": SECRET,
    }
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    run = run_in(tmp_path)
    assert run.returncode == 1
    assert [line.split(" | ")[-1] for line in run.stderr.splitlines() if "ERROR" in line] == [
        "Setting changes_only must be of type boolean.",
        "Setting stream_maps must be of type object.",
        "Setting flattening_max_depth must be of type integer.",
    ]
    assert SECRET not in run.stdout + run.stderr
    assert not sandbox.requests


def test_blanks_around_credentials_in_a_dotenv_file(sandbox: Sandbox, tmp_path: Path) -> None:
    text = "".join(f'{name}=" {value}\\n"\n' for name, value in sandbox.variables.items())
    (tmp_path / ".env").write_text(text)
    run = run_in(tmp_path, "--discover")
    assert run.returncode == 0, run.stderr
    assert sandbox.requests


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"TAP_DYNAMIC_API_TOKEN=\xff\n", "The file .env can't be read: it must be text in UTF-8."),
        (b"LOGLEVEL=trace\n", "Setting loglevel must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL."),
    ],
)
def test_a_dotenv_file_that_cannot_be_used(tmp_path: Path, content: bytes, error: str) -> None:
    (tmp_path / ".env").write_bytes(content)
    run = run_in(tmp_path)
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.endswith(f"| {error}")
