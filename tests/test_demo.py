"""The demo, in a copy of the project whose path contains a blank; the picture of it; and its parts."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import csv_file
from sandbox.demo import Record, describe_changes, describe_source
from sandbox.interpreters import NoInterpreterError, choose_interpreter, find_interpreters
from sandbox.picture import PROMPT, draw
from sandbox.server import Fault
from sandbox.steps import Steps
from sandbox.terminal import Terminal, display_width, printable, table_lines
from tests.conftest import ROOT

if TYPE_CHECKING:
    from sandbox.server import Sandbox

COPIED = ("sandbox", "tap_dynamic", "meltano.yml", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")
PICTURE = ROOT / "docs" / "images" / "demo.svg"


@dataclass
class Project:
    """A copy of the project."""

    folder: Path

    def start(self, module: str = "demo", *arguments: str, **variables: str) -> subprocess.Popen[str]:
        ignored = ("TAP_DYNAMIC_", "MELTANO_", "FORCE_COLOR")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(ignored)}
        return subprocess.Popen(
            [sys.executable, "-m", f"sandbox.{module}", *arguments],
            cwd=self.folder,
            env={**inherited, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def processes(self) -> list[str]:
        """Return the command lines of the processes that run in this folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cwd").readlink().is_relative_to(self.folder):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    if not (ROOT / ".venv" / "meltano").exists():
        pytest.skip("Meltano is not installed: run python3 -m tests")
    folder = tmp_path_factory.mktemp("a project")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / "output").mkdir()
    (folder / ".venv").mkdir()
    (folder / ".venv" / "meltano").symlink_to(ROOT / ".venv" / "meltano")
    return Project(folder)


@dataclass
class Output:
    """What a run of the demo printed."""

    text: str
    seconds_to_first_line: float

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def after(self, heading: str) -> list[str]:
        """Return the lines below a heading, up to the next blank line."""
        start = next(n for n, line in enumerate(self.lines) if line.startswith(heading))
        rest = [*self.lines[start + 1 :], ""]
        return rest[: rest.index("")]


@pytest.fixture(scope="module")
def output(project: Project) -> Output:
    """The demo's first run in the project, so the plugins are installed."""
    started = time.monotonic()
    with project.start() as demo:
        assert demo.stdout
        first = demo.stdout.readline()
        seconds = time.monotonic() - started
        rest = demo.stdout.read()  # `communicate` would lose what `readline` has read ahead
    assert demo.returncode == 0, first + rest
    return Output(first + rest, seconds)


def test_the_first_line_comes_at_once(output: Output) -> None:
    assert output.lines[0] == "Dynamic's exports into DuckDB, with tap-dynamic and Meltano"
    assert output.seconds_to_first_line < 2


def test_the_output_is_short_and_quiet(output: Output) -> None:
    assert len(output.lines) <= 60
    assert max(map(display_width, output.lines)) <= 80
    assert not re.search(r"METRIC|CREATE TABLE|\[info|warning|\x1b|Traceback", output.text)


def test_each_step_has_a_duration(output: Output) -> None:
    steps = [line.rsplit(maxsplit=2)[0].strip() for line in output.lines if re.search(r" \d+\.\d s$", line)]
    pipeline = "meltano run tap-dynamic target-duckdb"
    assert steps == ["Meltano", "tap-dynamic", "target-duckdb", pipeline, pipeline]


def test_the_second_night_loads_what_changed(output: Output) -> None:
    assert output.after("Night 1")[1:] == ["  500 users in 1,250 rows and 2,000 visits are loaded."]
    assert output.after("Night 2")[1:] == [
        "  added     Eun-ji O'Neill: 2 rows",
        "  changed   Grace Okafor: user_lastname Okafor is now Novák, in 3 rows",
        "  unlinked  rainbow 0x6012…8094 of Inés Müller: 1 row, marked in _sdc_deleted_at",
        "  deleted   Hiro de la Cruz: 2 rows, marked in _sdc_deleted_at",
        "  8 of 1,249 rows of users and 12 of 2,012 visits were sent to DuckDB.",
    ]


def test_the_tables_show_what_a_person_looks_for(output: Output) -> None:
    users, visits, exports = (output.after(f"{table} (") for table in ("users", "visits", "exports"))
    assert "users (500 users, 1,249 rows)" in output.lines
    assert users[0] == "  One row per verified credential; user_ and verified_credential_ left out:"
    assert users[1].split() == ["firstname", "lastname", "format", "walletname", "address", "lastvisit"]
    assert re.fullmatch(r"  Chloé +Smith, Jr\. +blockchain +metamask +0xEdd85\w+… +2026-09-01", users[3])
    assert visits[0].split() == ["id", "address", "chain", "walletname", "createdat"]
    assert [row.split()[1:3] for row in exports[1:]] == [["users", "completed"], ["visits", "completed"]] * 2


def test_the_next_steps_work(output: Output, project: Project) -> None:
    steps = output.after("What next")
    assert "  The database is output/sandbox.duckdb. Query it:" in steps
    assert steps[-3:] == [
        "    export TAP_DYNAMIC_ENVIRONMENT_ID=...",
        "    export TAP_DYNAMIC_API_TOKEN=dyn_...",
        "    python3 -m sandbox.demo",
    ]
    command = "\n".join(steps).partition("python3 -m ")[2].partition("\n  Load")[0]
    module, *arguments = shlex.split(command.replace("\\\n", ""))  # as a shell reads a continued line
    query = project.start(module.removeprefix("sandbox."), *arguments)
    rows = query.communicate(timeout=60)[0].splitlines()
    assert query.returncode == 0
    assert rows[0].split() == ["verified_credential_chain", "count_star()"]
    assert sum(int(row.split()[-1]) for row in rows[1:]) == 1252  # with the three that are marked as deleted


def test_the_picture_shows_the_output(output: Output) -> None:
    """If it does not: `python3 -m sandbox.picture docs/images/demo.svg`."""
    words = [" ".join(re.sub(r"\d+\.\d s$", "", line).split()) for line in [PROMPT, *output.lines]]
    assert picture_lines(PICTURE.read_text("utf-8")) == [line for line in words if line]


def picture_lines(svg: str) -> list[str]:
    """Return the text of a picture by line, without durations."""
    lines: dict[float, list[str]] = {}
    for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):  # noqa: S314 (our own file)
        lines.setdefault(float(text.attrib["y"]), []).append(text.text or "")
    return [" ".join(word for word in line if not re.fullmatch(r"\d+\.\d s", word)) for line in lines.values()]


def test_the_picture_places_words_by_cells() -> None:
    lines = draw("a  \033[1m王 c\033[0m  <d>").splitlines()
    assert [line for line in lines if line.startswith("<text")] == [
        '<text x="20.0" y="50" textLength="8.4">a</text>',
        '<text x="45.2" y="50" textLength="33.6" class="bold">王 c</text>',
        '<text x="95.6" y="50" textLength="25.2">&lt;d&gt;</text>',
    ]


def test_with_a_token_it_reads_from_dynamic(output: Output, project: Project, sandbox: Sandbox) -> None:
    assert output  # the plugins are installed
    sandbox.add("users", csv_file("users", 7))
    demo = project.start(**sandbox.variables, COLUMNS="60")
    text, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, text
    assert "Source: your environment of Dynamic" in text
    assert "users (3 users, 7 rows)" in text
    assert "The database is output/warehouse.duckdb." in text
    assert sandbox.config["api_token"] not in text
    assert max(map(display_width, text.splitlines())) <= 60


def test_ctrl_c_ends_the_demo_and_what_it_started(output: Output, project: Project, sandbox: Sandbox) -> None:
    assert output  # the plugins are installed
    called = threading.Event()
    sandbox.faults.append(Fault("list", then="stall", callback=called.set))
    demo = project.start(**sandbox.variables)
    assert called.wait(60)
    assert any("tap-dynamic" in command for command in project.processes())
    demo.send_signal(signal.SIGINT)
    text, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert text.splitlines()[-1] == "Stopped. Run it again at any time."
    assert "Traceback" not in text
    assert project.processes() == []


def test_the_source_depends_on_both_variables() -> None:
    environment_id, token = {"TAP_DYNAMIC_ENVIRONMENT_ID": "x"}, {"TAP_DYNAMIC_API_TOKEN": "dyn_x"}
    assert describe_source({**environment_id, **token}) == "your environment of Dynamic"
    assert describe_source({}) == "a simulated Dynamic"
    assert describe_source(environment_id) == "a simulated Dynamic (TAP_DYNAMIC_API_TOKEN is not set)"


CHOICES: dict[str, tuple[tuple[int, int], dict[tuple[int, int], str], str | None]] = {
    "the running one is suitable": ((3, 12), {(3, 13): "/usr/bin/python3.13"}, None),
    "the oldest suitable": ((3, 10), {}, None),
    "too new": ((3, 14), {(3, 11): "/usr/bin/python3.11"}, "/usr/bin/python3.11"),
    "the newest suitable": ((3, 14), {(3, 10): "a", (3, 13): "b", (3, 12): "c"}, "b"),
    "others are unsuitable": ((3, 15), {(3, 14): "a", (3, 9): "b", (3, 10): "c"}, "c"),
}


@pytest.mark.parametrize(("own", "others", "chosen"), CHOICES.values(), ids=CHOICES)
def test_the_choice_of_an_interpreter(
    own: tuple[int, int], others: dict[tuple[int, int], str], chosen: str | None
) -> None:
    assert choose_interpreter(own, others) == chosen


@pytest.mark.parametrize("others", [{}, {(3, 14): "a"}, {(3, 9): "a"}])
def test_without_a_suitable_interpreter_one_line_says_what_to_install(others: dict[tuple[int, int], str]) -> None:
    with pytest.raises(NoInterpreterError, match=r"^.* 3\.14: install Python 3\.13, .*\.$") as raised:
        choose_interpreter((3, 14), others)
    assert len(str(raised.value)) <= 80


def test_an_interpreter_that_does_not_start_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = (sys.version_info.major, sys.version_info.minor)
    name = f"python{own[0]}.{own[1]}"
    for folder in ("shims", "bin"):
        (tmp_path / folder).mkdir()
    shim = tmp_path / "shims" / name
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    (tmp_path / "bin" / name).symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    assert find_interpreters() == {}
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}{os.pathsep}{tmp_path / 'bin'}")
    assert find_interpreters() == {own: str(tmp_path / "bin" / name)}


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_a_table_fits_its_width(width: int) -> None:
    columns = ["user_id", "email", "lastname", "address", "note"]
    rows: list[list[Any]] = [["5" * 36, f"{'a' * 30}@example.com", "王" * 9, "0x" + "f" * 40, None], [1, 2, 3, 4, 5]]
    lines = list(table_lines(columns, rows, width))
    assert max(map(display_width, lines)) <= width
    assert lines[0].startswith("user_id")
    assert (lines[1].split()[0] == "5" * 36) is (width == 200)


def test_a_column_is_left_out_rather_than_its_name_cut() -> None:
    columns, address = ["user_id", "verified_credential_address", "chain"], "0x" + "f" * 40
    assert list(table_lines(columns, [["5" * 36, address, "EVM"]], 38)) == [
        "user_id    verified_credential_address",
        "55555555…  0xffffffffffffffffffffffff…",
        "Too narrow for: chain",
    ]


PERSON = {"user_id": "1", "user_firstname": "Ada", "user_lastname": None, "_sdc_deleted_at": None}
EMAIL = {**PERSON, "verified_credential_id": "e", "verified_credential_walletname": None}
WALLET = {
    **PERSON,
    "verified_credential_id": "w",
    "verified_credential_walletname": "phantom",
    "verified_credential_address": "0123456789abcdef",
}
NONE = {**PERSON, "verified_credential_id": "", "verified_credential_walletname": None}
RENAMED = {"user_firstname": "Grace"}
GONE = {"_sdc_deleted_at": "2026-10-02"}
CHANGES: dict[str, tuple[list[Record], list[Record], list[tuple[str, str]]]] = {
    "nothing": ([EMAIL, WALLET], [EMAIL, WALLET], []),
    "a new user": ([], [EMAIL, WALLET], [("added", "Ada: 2 rows")]),
    "a new user without a credential": ([], [NONE], [("added", "Ada: 1 row")]),
    "a new name": (
        [EMAIL, WALLET],
        [{**EMAIL, **RENAMED}, {**WALLET, **RENAMED}],
        [("changed", "Ada: user_firstname Ada is now Grace, in 2 rows")],
    ),
    "a name that was empty": (
        [EMAIL],
        [{**EMAIL, "user_lastname": "Müller"}],
        [("changed", "Ada: user_lastname (empty) is now Müller, in 1 row")],
    ),
    "a wallet is unlinked": (
        [EMAIL, WALLET],
        [EMAIL, {**WALLET, **GONE}],
        [("unlinked", "phantom 012345…cdef of Ada: 1 row, marked in _sdc_deleted_at")],
    ),
    "the user is deleted": (
        [EMAIL, WALLET],
        [{**EMAIL, **GONE}, {**WALLET, **GONE}],
        [("deleted", "Ada: 2 rows, marked in _sdc_deleted_at")],
    ),
}


@pytest.mark.parametrize(("before", "now", "described"), CHANGES.values(), ids=CHANGES)
def test_what_became_of_a_user(before: list[Record], now: list[Record], described: list[tuple[str, str]]) -> None:
    assert list(describe_changes(before, now)) == described


def test_cells_contain_no_control_characters() -> None:
    assert printable("a\nb\x1b[31mc\x07") == "a b [31mc "
    assert printable(None) == ""


def test_a_failed_command_is_shown_without_the_token(capfd: pytest.CaptureFixture[str]) -> None:
    steps = Steps(Terminal(), os.environ, secret="dyn_secret")
    steps.run("quiet", sys.executable, "-c", "print('noise')")
    with pytest.raises(SystemExit) as raised:
        steps.run("loud", sys.executable, "-c", "print('reason: dyn_secret'); exit(3)")
    assert raised.value.code == 1
    out = re.sub(r" +\d\.\d s", "", capfd.readouterr().out)
    assert out == "  quiet\n  loud\n  failed with exit code 3:\nreason: ...\n"


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert Terminal().style("x", "red") == "x"  # standard output is not a terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Terminal().style("x", "red") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Terminal().style("x", "red") == "x"
