"""The commands of docs/operations.md and docs/sandbox.md, as cron, systemd and a container run them."""

from __future__ import annotations

import ast
import configparser
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from sandbox.data import HEADERS, to_csv, user_rows
from sandbox.exports import format_timestamp
from tests.conftest import ROOT
from tests.meltano_project import MELTANO, Project
from tests.test_docs import DOCS, NOT_RUN, blocks

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Tap
    from tests.meltano_project import Postgres

PAGE = ROOT / "docs" / "operations.md"
SANDBOX = ROOT / "docs" / "sandbox.md"
CRON = {"SHELL": "/bin/sh", "LOGNAME": "me", "PATH": "/usr/bin:/bin"}
"""The environment that cron gives to a command, but for HOME."""
ROWS = list(user_rows(12))
USER_ID = HEADERS["users"].index("user_id")
DELETED = ROWS[-1][USER_ID]


def run(command: str | list[str], folder: Path, environment: dict[str, str], *, code: int = 0) -> str:
    """Run a command in this environment and nothing else; return its output."""
    completed = subprocess.run(
        ["/bin/bash", "-c", command] if isinstance(command, str) else command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert completed.returncode == code, completed.stdout[-2000:] + completed.stderr[-3000:]
    return completed.stdout


def block(page: Path, language: str, text: str) -> str:
    """Return the block of a page that contains a text."""
    return next(content for content in blocks(page, language) if text in content)


def add_users(sandbox: Sandbox, rows: list[list[str]], *, hours_ago: float) -> None:
    completed = format_timestamp(datetime.now(timezone.utc) - timedelta(hours=hours_ago))
    sandbox.add("users", to_csv([HEADERS["users"], *rows]), created_at=completed, completed_at=completed)


def home_of(project: Project, sandbox: Sandbox, postgres: Postgres, folder: Path) -> Path:
    """A home directory as the pages assume it: the project with its job and its credentials, and Meltano."""
    if not MELTANO:
        pytest.skip("Meltano is not installed: run python3 -m tests")
    home = folder / "home"
    home.mkdir()
    (home / "warehouse").symlink_to(project.folder)
    (home / "meltano-env").symlink_to(Path(str(MELTANO)).parent.parent)
    with (project.folder / "meltano.yml").open("a") as file:
        file.write(block(ROOT / "docs" / "meltano.md", "yaml", "schedules:"))
    variables = {**sandbox.variables, "TAP_DYNAMIC_CHANGES_ONLY": "true"}
    variables.update({f"TARGET_POSTGRES_{name.upper()}": str(value) for name, value in postgres.config.items()})
    (project.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    return home


def crontab(number: int = 0) -> str:
    """Return the command of a crontab line."""
    line = blocks(PAGE, "cron")[number].strip()
    assert "\n" not in line
    fields = line.split(maxsplit=5)
    assert all(re.fullmatch(r"[\d*/,-]+", field) for field in fields[:5])
    assert "%" not in fields[5], "cron would end the command there"
    return fields[5]


def test_nights_by_cron_and_systemd(project: Project, sandbox: Sandbox, postgres: Postgres, tmp_path: Path) -> None:
    home = home_of(project, sandbox, postgres, tmp_path)
    late, nights = (q for q in blocks(PAGE, "sql"))
    (home / "warehouse" / "late.sql").write_text(late)
    alert = re.sub(r"postgresql://\S+(?=\")", f"postgresql://tap@127.0.0.1:{postgres.port}/postgres", crontab(1))
    changes = ROOT / "docs" / "changes.md"
    deleted = block(changes, "sql", "having")

    # The first night, by cron. Nothing is printed, so nothing is mailed.
    add_users(sandbox, ROWS, hours_ago=60)
    assert run(crontab(), home, {"HOME": str(home), **CRON}) == ""
    assert postgres.query("select count(*) from dynamic.users") == [[str(len(ROWS))]]
    assert "users: 1 export read" in (home / "warehouse" / "nightly.log").read_text()
    users, visits = sorted(run(alert, home, {"HOME": str(home), **CRON}).splitlines())
    assert users.startswith("users: no export since 20")
    assert visits == "visits: no export since ever"

    # The second one, by systemd: a user is gone.
    add_users(sandbox, [row for row in ROWS if row[USER_ID] != DELETED], hours_ago=1)
    service = configparser.ConfigParser(interpolation=None)
    service.read_string(block(PAGE, "ini", "ExecStart"))
    command, folder = (service["Service"][key].replace("%h", str(home)) for key in ("ExecStart", "WorkingDirectory"))
    run(shlex.split(command), Path(folder), {"HOME": str(home), "PATH": CRON["PATH"]})
    gone = sum(row[USER_ID] == DELETED for row in ROWS)
    assert [row[0] for row in postgres.query(deleted)] == [DELETED]
    assert [row[1:] for row in postgres.query(nights)] == [["0", str(gone)], [str(len(ROWS) - gone), "0"]]
    assert run(alert, home, {"HOME": str(home), **CRON}) == "visits: no export since ever\n"

    # A night that is still running: the next one does not start, and says so.
    with (home / "warehouse" / "nightly.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        requests = len(sandbox.requests)
        assert run(crontab(), home, {"HOME": str(home), **CRON}) == "The last load still runs.\n"
        assert len(sandbox.requests) == requests

    # The table and its state are lost, and a row that was deleted meanwhile is found by the query.
    postgres.query("drop table dynamic.users")
    add_users(sandbox, ROWS, hours_ago=0.5)
    variables = {"HOME": str(home), "PATH": f"{home}/meltano-env/bin:{CRON['PATH']}"}
    afresh = block(ROOT / "docs" / "exports-and-state.md", "sh", "state clear")
    run("set -e\n" + afresh, home / "warehouse", variables)
    clear = afresh.splitlines()[0]
    add_users(sandbox, [row for row in ROWS if row[USER_ID] != DELETED], hours_ago=0.4)
    run(f"set -e\n{clear}\n{afresh.splitlines()[1]}", home / "warehouse", variables)
    assert postgres.query(deleted) == []
    postgres.query(block(changes, "sql", "update"))
    assert [row[0] for row in postgres.query(deleted)] == [DELETED]

    # An export of a part of the users, and the same once it is said to be all of them; its metrics are JSON.
    add_users(sandbox, [], hours_ago=0.3)
    add_users(sandbox, ROWS[:1], hours_ago=0.2)
    log = project.fail("run", "tap-dynamic", "target-postgres")
    assert "more than max_deleted_percent (50) allows" in log
    command, query = block(PAGE, "sh", "--log-format json").splitlines()
    commands = f"export TAP_DYNAMIC_MAX_DELETED_PERCENT=100\nset -e\n{command}"
    assert block(changes, "sh", "MAX_DELETED").startswith("TAP_DYNAMIC_MAX_DELETED_PERCENT=100 meltano run ")
    run(commands, home / "warehouse", variables)
    counts = row_counts(home / "warehouse" / "nightly.jsonl")
    assert counts["users"] >= len(ROWS) - gone - 1
    if shutil.which("jq", path=CRON["PATH"]):
        assert f'["users","record_count",{counts["users"]}]' in run(query, home / "warehouse", variables)


def row_counts(log: Path) -> dict[str, int]:
    """The rows of each stream, by the metrics of a log in JSON."""
    metrics = [json.loads(line).get("metric_info") for line in log.read_text().splitlines()]
    return {m["tags"]["stream"]: m["value"] for m in metrics if m and m["metric"] == "record_count"}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    units = [content.replace("%h", str(tmp_path)) for content in blocks(PAGE, "ini")]
    for name, content in zip(("service", "timer"), units, strict=True):
        (tmp_path / f"tap-dynamic.{name}").write_text(content)
    command = tmp_path / "meltano-env" / "bin" / "meltano"
    command.parent.mkdir(parents=True)
    command.touch(mode=0o755)
    (tmp_path / "warehouse").mkdir()
    for name in ("service", "timer"):
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--user", "--man=no", tmp_path / f"tap-dynamic.{name}"],
            capture_output=True,
            check=False,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        )
        assert not [line for line in checked.stderr.splitlines() if "tap-dynamic" in line], checked.stderr
        assert checked.returncode == 0


# --- The container


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile and their arguments."""
    text = (ROOT / "Dockerfile").read_text()
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, rest in (line.split(maxsplit=1) for line in lines if line)]


def test_the_steps_of_the_container(sandbox: Sandbox, postgres: Postgres, tmp_path: Path) -> None:
    """Without Docker: its files, its command, and what it forgets without a place for its state."""
    if not MELTANO:
        pytest.skip("Meltano is not installed: run python3 -m tests")
    folder = tmp_path / "image"
    environment = {"HOME": str(tmp_path), "PATH": f"{Path(str(MELTANO)).parent}:/usr/bin:/bin"}
    folder.mkdir()
    commands = {}
    ignored = (ROOT / ".dockerignore").read_text()
    for word, rest in instructions():
        if word == "COPY":
            owner, *sources, target = rest.split()
            assert owner == "--chown=1000"
            for source in sources:
                assert f"!{source}\n" in ignored, "the build would not find it"
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, folder / target)
                else:
                    shutil.copy(ROOT / source, folder / target)
        elif word == "RUN" and "pip install" in rest:
            assert "useradd --uid 1000" in rest  # the tests have Meltano, and can't add users
        elif word == "RUN":
            run(rest, folder, {**os.environ, **environment})  # with the package index of this machine
        elif word in {"CMD", "ENTRYPOINT"}:
            commands[word] = json.loads(rest)
        else:
            assert (word, rest) in {("FROM", "python:3.13-slim"), ("USER", "1000"), ("WORKDIR", "/project")}
    add_users(sandbox, ROWS, hours_ago=1)
    variables = {**environment, **sandbox.variables}
    variables.update({f"TARGET_POSTGRES_{name.upper()}": str(value) for name, value in postgres.config.items()})
    command = [*commands["ENTRYPOINT"], *commands["CMD"]]

    def start(**more: str) -> int:
        """Run the command in a new container; return the number of files that were read to the end."""
        files = sandbox.count("file")
        for name in ("meltano.db", "run"):  # what a container loses
            path = folder / ".meltano" / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        run(command, folder, {**variables, **more})
        ranges = [r.headers.get("Range", "") for r in sandbox.requests if r.kind == "file"][files:]
        return sum(not text.startswith("bytes=0-2") for text in ranges)

    assert [start(), start()] == [1, 1]
    state = {"MELTANO_STATE_BACKEND_URI": f"file://{tmp_path}/state"}
    assert [start(**state), start(**state)] == [1, 0]
    assert postgres.query("select count(*) from dynamic.users") == [[str(len(ROWS))]]


AWS = """#!/bin/bash
# A folder in place of the bucket.
set -e
[ "$1 $2" = "s3 cp" ]
cp "${3/s3:\\/\\/your-bucket/$BUCKET}" "${4/s3:\\/\\/your-bucket/$BUCKET}"
"""


def test_a_state_in_a_bucket(sandbox: Sandbox, installed: Path, tmp_path: Path) -> None:
    bucket, tools = tmp_path / "bucket", tmp_path / "bin"
    bucket.mkdir()
    tools.mkdir()
    (tools / "aws").write_text(AWS)
    (tools / "aws").chmod(0o755)
    script = block(PAGE, "sh", "aws s3 cp")
    targets = Project(installed).executable("target-jsonl", "")
    variables = {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{targets}:/usr/bin:/bin",
        "BUCKET": str(bucket),
        **sandbox.variables,
    }

    def start(name: str, code: int) -> int:
        """Run a night in a new container; return how many rows of users were loaded."""
        (tmp_path / name).mkdir()
        run(script, tmp_path / name, variables, code=code)
        return sum(len(file.read_text().splitlines()) for file in (tmp_path / name).glob("users*.jsonl"))

    add_users(sandbox, ROWS, hours_ago=3)
    assert start("without a state", code=1) == 0
    (bucket / "state.json").write_text("{}\n")
    assert start("first", code=0) == len(ROWS)
    assert start("second", code=0) == 0
    # A night that fails in part: its exit code is kept, and the state too.
    sandbox.add("users", b"not a header")
    sandbox.add("visits", to_csv([HEADERS["visits"]]))
    assert start("third", code=1) == 0
    assert "visits" in json.loads((bucket / "state.json").read_text())["bookmarks"]


# --- The rest of the pages


def test_metrics_without_meltano(tap: Tap, sandbox: Sandbox, tmp_path: Path) -> None:
    add_users(sandbox, ROWS, hours_ago=1)
    (tmp_path / "logging.yml").write_text(blocks(PAGE, "yaml")[0])
    run = tap(environment={"SINGER_SDK_LOG_CONFIG": str(tmp_path / "logging.yml")})
    lines = [json.loads(line) for line in run.log.splitlines()]
    metrics = [line["metric_info"] for line in lines if "metric_info" in line]
    assert {metric["metric"] for metric in metrics} == set(re.findall(r"`([a-z]+_[a-z_]+)`", PAGE.read_text())) & {
        "record_count",
        "sync_duration",
        "http_request_count",
        "http_request_duration",
    }
    assert len(ROWS) in {metric["value"] for metric in metrics}


def test_the_summary_line_is_as_written(tap: Tap, sandbox: Sandbox) -> None:
    add_users(sandbox, ROWS, hours_ago=2)
    first = tap(changes_only=True)
    add_users(sandbox, [[*row[:-1], "changed"] for row in ROWS[1:]], hours_ago=1)
    log = tap(changes_only=True, _state=first.state).log
    example = re.sub(r"[\d,.]*\d", "9", block(PAGE, "text", "users:").strip())
    line = next(line.split(" | ")[-1] for line in log.splitlines() if "users: 1 export" in line)
    assert re.sub(r"[\d,.]*\d", "9", line) == example


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_shell_reports_signals_in_the_same_way_during_the_start(number: signal.Signals, code: int) -> None:
    """A signal before the first import of the tap has ended, and what a shell makes of it."""
    process = subprocess.Popen(
        ["/bin/bash", "-c", f'{shlex.quote(sys.executable)} -c "$PROGRAM"; exit $?'],
        env={
            **os.environ,
            "PROGRAM": "import os, tap_dynamic.__main__ as m, tap_dynamic.singer as s\n"
            "import sys\n"
            "class Finder:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        os.kill(os.getpid(), {int(number)})\n"
            "sys.meta_path.insert(0, Finder())\n"
            "m.main()\n",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    _, log = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in log


def test_python_blocks_are_python() -> None:
    untried = blocks(PAGE, "python")
    assert len(untried) == 2
    for content in untried:
        ast.parse(content)


def test_every_yaml_block_is_yaml() -> None:
    for page in DOCS:
        for content in blocks(page, "yaml"):
            yaml.safe_load(content)


def test_old_batch_files_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, days in (("tap-dynamic--users-1.jsonl.gz", 9), ("tap-dynamic--users-2.jsonl.gz", 1), ("other", 9)):
        (folder / name).touch()
        then = datetime.now(timezone.utc).timestamp() - days * 86_400
        os.utime(folder / name, (then, then))
    run(block(PAGE, "sh", "find files"), tmp_path, {"PATH": "/usr/bin:/bin"})
    assert {file.name for file in folder.iterdir()} == {"tap-dynamic--users-2.jsonl.gz", "other"}


def test_the_sandbox_page(project: Project, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "sandbox", tmp_path / "tap-dynamic" / "sandbox")  # `..` of a link is another folder
    (tmp_path / "warehouse").symlink_to(project.folder)
    start, plain, meltano, clear = blocks(SANDBOX, "sh")
    folders = [Path(sys.executable).parent, project.executable("target-jsonl", ""), Path(str(MELTANO)).parent]
    script = "\n".join(
        (
            "set -e -o pipefail",
            start.replace("--seconds 3600", "--seconds 170").replace("&\n", "&\ntrap 'kill $!' EXIT\n"),
            plain,
            meltano,
            clear,
        )
    )
    run(script, tmp_path, {"HOME": str(tmp_path), "PATH": ":".join([*map(str, folders), "/usr/bin:/bin"])})
    (plain_file,) = tmp_path.glob("users-*.jsonl")
    assert len(plain_file.read_text().splitlines()) == 500
    assert len((project.output / "users.jsonl").read_text().splitlines()) == 500


def test_every_command_of_the_pages_is_run_or_untried() -> None:
    """The blocks that are neither run above nor said to be untried."""
    tested = ("--log-format json", "aws s3 cp", "find files")
    untried = [content for content in blocks(PAGE, "sh") if not any(text in content for text in tested)]
    assert len(untried) == 2
    for content in untried:
        before, after = PAGE.read_text().split(content)
        assert "untried" in before[-600:] + after[:200]
    afresh = [line for text in blocks(ROOT / "docs" / "exports-and-state.md", "sh") for line in text.splitlines()]
    assert [line for line in afresh if line not in NOT_RUN] == block(
        ROOT / "docs" / "exports-and-state.md", "sh", "state clear"
    ).splitlines()
