"""End-to-end tests with Meltano and real targets."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from sandbox.data import csv_file, to_csv
from sandbox.server import API_TOKEN, Sandbox
from tests.conftest import ROOT, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Tap

pytestmark = pytest.mark.xdist_group("meltano")

MELTANO = next((p for p in (ROOT / ".venv" / "meltano").glob("*/meltano")), None) or shutil.which("meltano")
SERVER = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
USERS, VISITS = csv_file("users", 500), csv_file("visits", 900)
QUERY = """
import duckdb, json, sys
for row in duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall():
    print(json.dumps(row, default=str))
"""


def loader(name: str, **fields: Any) -> dict[str, Any]:
    settings = [{"name": key, "kind": kind} for key, kind in fields.pop("settings").items()]
    return {"name": name, "namespace": name.replace("-", "_"), "executable": name, "settings": settings, **fields}


@dataclass
class Project:
    """A Meltano project in a temporary folder, based on the repository's meltano.yml."""

    folder: Path

    def __call__(self, *arguments: str, **variables: Any) -> str:
        """Run Meltano and return its output; `ok=False` expects a failure."""
        ok = variables.pop("ok", True)
        completed = subprocess.run(
            [str(MELTANO), *arguments],
            cwd=self.folder,
            env={**os.environ, **variables, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
        log = completed.stdout + completed.stderr
        assert (completed.returncode == 0) is ok, log[-3000:]
        assert API_TOKEN not in log
        assert "X-Amz-Signature" not in log
        return log

    def duckdb(self, query: str) -> list[list[Any]]:
        """Query the loaded DuckDB file."""
        python = self.folder / ".meltano" / "loaders" / "target-duckdb" / "venv" / "bin" / "python"
        file = self.folder / "output" / "warehouse.duckdb"
        completed = subprocess.run([python, "-c", QUERY, file, query], capture_output=True, check=False, text=True)
        assert completed.returncode == 0, completed.stderr
        return [json.loads(line) for line in completed.stdout.splitlines()]

    def override(self, **extras: Any) -> None:
        """Set extras of the extractor in meltano.yml."""
        file = self.folder / "meltano.yml"
        content = yaml.safe_load(file.read_text())
        content["plugins"]["extractors"][0].update(extras)
        file.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its plugins installed, once per module."""
    if not MELTANO:
        pytest.skip("Meltano is not installed: run python3 -m tests")
    folder = tmp_path_factory.mktemp("project")
    content = yaml.safe_load((ROOT / "meltano.yml").read_text())
    content["plugins"]["extractors"][0]["pip_url"] = f"-e {ROOT}"
    content["plugins"]["loaders"].append(
        loader("target-csv", pip_url="meltanolabs-target-csv~=0.5", settings={"output_path": "string"})
    )
    (folder / "meltano.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    Project(folder)("install")
    return folder


@pytest.fixture
def project(installed: Path) -> Iterator[Project]:
    """The installed project, without state and output from other tests."""
    saved = (installed / "meltano.yml").read_text()
    shutil.rmtree(installed / "output", ignore_errors=True)
    (installed / "output").mkdir()
    for database in (installed / ".meltano").glob("meltano.db*"):
        database.unlink()
    yield Project(installed)
    (installed / "meltano.yml").write_text(saved)


def test_nightly_runs_into_duckdb(project: Project, sandbox: Sandbox) -> None:
    sandbox.add("users", status="failed")
    sandbox.add("users", USERS)
    sandbox.add("visits", VISITS)
    run = ("run", "tap-dynamic", "target-duckdb")
    project(*run, **sandbox.variables)
    columns = list(table(USERS)[0])
    names = ", ".join(f'cast("{name}" as varchar)' for name in ("id", "email", "username", "loyalty points"))
    loaded = project.duckdb(f"select {names} from dynamic.users order by _sdc_row_number")
    expected = [[row[n] for n in ("id", "email", "username", "loyalty points")] for row in table(USERS)]
    assert loaded == expected
    kinds = dict(
        project.duckdb("select column_name, data_type from information_schema.columns where table_name='users'")
    )
    assert {name.lower() for name in columns} <= set(kinds)
    assert (kinds["createdat"], kinds["newuser"], kinds["metadata"]) == ("TIMESTAMP", "BOOLEAN", "JSON")
    metadata = project.duckdb("select metadata from dynamic.users order by _sdc_row_number")
    assert [m and json.loads(m[0] or "null") for m in metadata] == [
        json.loads(row["metadata"] or "null") for row in table(USERS)
    ]
    assert project.duckdb("select count(*) from dynamic.visits") == [[900]]
    assert project.duckdb("select count(*) from dynamic.exports") == [[3]]

    # A second run without a new export reads only metadata and the heads.
    files = sandbox.count("file")
    project(*run, **sandbox.variables)
    heads = [request for request in sandbox.requests if request.kind == "file"][files:]
    assert all(request.headers.get("Range", "").startswith("bytes=0-") for request in heads)
    assert project.duckdb("select count(*) from dynamic.users") == [[500]]

    # A newer export, then a full refresh.
    sandbox.add("users", csv_file("users", 600))
    project(*run, **sandbox.variables)
    assert project.duckdb("select count(*), max(_sdc_row_number) from dynamic.users") == [[600, 600]]
    project("run", "--full-refresh", *run[1:], **sandbox.variables)
    assert project.duckdb("select count(*) from dynamic.users") == [[600]]


def test_elt_discovery_selection_and_config_test(project: Project, sandbox: Sandbox) -> None:
    sandbox.add("users", USERS)
    sandbox.add("visits", VISITS)
    project("elt", "tap-dynamic", "target-jsonl", **sandbox.variables)
    lines = {p.stem: p.read_text().splitlines() for p in (project.folder / "output").glob("*.jsonl")}
    assert {name: len(rows) for name, rows in lines.items()} == {"exports": 2, "users": 500, "visits": 900}
    assert not any("downloadUrl" in line for line in lines["exports"])
    catalog = project("invoke", "tap-dynamic", "--discover", **sandbox.variables)
    assert '"tap_stream_id":"visits"' in catalog
    listed = project("select", "tap-dynamic", "--list", "--all", **sandbox.variables)
    assert any("excluded" in line and "downloadUrl" in line for line in listed.splitlines())
    assert any("selected" in line and "users.loyalty points" in line for line in listed.splitlines())
    project("config", "test", "tap-dynamic", **sandbox.variables)
    assert sandbox.count("create") == 0
    wrong = {**sandbox.variables, "TAP_DYNAMIC_API_TOKEN": "dyn_wrong"}
    log = project("run", "tap-dynamic", "target-jsonl", ok=False, **wrong)
    assert "Dynamic refused the API token (401)" in log


def test_the_example_of_the_readme(project: Project, sandbox: Sandbox) -> None:
    """Two custom fields, one with a type set by the user, and a user-defined key."""
    sandbox.add(
        "users", to_csv([["id", "wallet", "favorite color", "points"], ["1", "a", "red", "007"], ["1", "b", "", ""]])
    )
    project.override(
        schema={"users": {"points": {"type": ["integer", "null"]}}},
        metadata={"users": {"table-key-properties": ["id", "wallet"]}},
    )
    project("run", "tap-dynamic", "target-duckdb", **sandbox.variables)
    assert project.duckdb('select id, wallet, "favorite color", points from dynamic.users order by wallet') == [
        ["1", "a", "red", 7],
        ["1", "b", None, None],
    ]


def test_unusual_headers_through_meltano_into_two_targets(
    project: Project, tap: Tap, sandbox: Sandbox, postgres: Postgres
) -> None:
    header = ["id", "e.mail", "Größe 📏", "a b", "", "a b", "A B", "select"]
    sandbox.add("users", to_csv([header, [str(n) for n in range(8)]]))
    project("run", "tap-dynamic", "target-duckdb", **sandbox.variables)
    rows = project.duckdb(
        'select id, "e.mail", "größe 📏", "a b", column_5, "a b_2", "a b_3", "select" from dynamic.users'
    )
    assert rows == [[str(n) for n in range(8)]]
    postgres.query("drop schema if exists dynamic cascade")
    feed(project, postgres, tap().out)
    query = 'select id, "e.mail", "Größe 📏", "a b", column_5, "a b_2", "A B_3", "select" from dynamic.users'
    assert postgres.query(query) == rows


def test_column_drift_into_duckdb(project: Project, sandbox: Sandbox) -> None:
    """No export, the first one, a new custom field, a removed column, a column whose type changes."""
    run = ("run", "tap-dynamic", "target-duckdb")
    project(*run, **sandbox.variables)
    assert project.duckdb("select table_name from information_schema.tables order by 1") in ([["exports"]], [])
    query = "select id, {} from dynamic.users order by id"
    sandbox.add("users", to_csv([["id", "alias", "newUser"], ["1", "a", "true"]]))
    project(*run, **sandbox.variables)
    assert project.duckdb(query.format("alias, newuser")) == [["1", "a", True]]
    sandbox.add(
        "users", to_csv([["id", "alias", "newUser", "tier"], ["1", "a", "true", "x"], ["2", "b", "false", "y"]])
    )
    project(*run, **sandbox.variables)
    assert project.duckdb(query.format("alias, newuser, tier")) == [["1", "a", True, "x"], ["2", "b", False, "y"]]
    sandbox.add("users", to_csv([["tier", "id", "newUser"], ["z", "1", "false"]]))
    project(*run, **sandbox.variables)
    assert project.duckdb(query.format("newuser, tier")) == [["1", False, "z"], ["2", False, "y"]]
    sandbox.add("users", to_csv([["id", "newUser"], ["3", "perhaps"]]))
    project(*run, **sandbox.variables)
    assert [row[0] for row in project.duckdb(query.format("id"))] == ["1", "2", "3"]


def test_two_environments_in_one_project_and_states_side_by_side(project: Project, sandbox: Sandbox) -> None:
    """The README's `inherit_from`, `--state-id-suffix` and schedule."""
    sandbox.add("users", csv_file("users", 5))
    sandbox.add("visits", csv_file("visits", 7))
    file = project.folder / "meltano.yml"
    content = yaml.safe_load(file.read_text())
    plugins = content["plugins"]
    plugins["extractors"].append({"name": "tap-dynamic-sandbox", "inherit_from": "tap-dynamic"})
    plugins["loaders"].append(
        {"name": "sandbox-jsonl", "inherit_from": "target-jsonl", "config": {"custom_name": "sandbox-users"}}
    )
    content["jobs"] = [{"name": "dynamic", "tasks": ["tap-dynamic target-jsonl"]}]
    content["schedules"] = [{"name": "dynamic-nightly", "interval": "0 2 * * *", "job": "dynamic"}]
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    other = {k.replace("TAP_DYNAMIC_", "TAP_DYNAMIC_SANDBOX_"): v for k, v in sandbox.variables.items()}
    users = {"TAP_DYNAMIC_SANDBOX__SELECT": '["users.*"]'}
    project("run", "--state-id-suffix=users", "tap-dynamic-sandbox", "sandbox-jsonl", **other, **users)
    output = project.folder / "output"
    assert len((output / "sandbox-users.jsonl").read_text().splitlines()) == 5
    visits = {"TAP_DYNAMIC__SELECT": '["visits.*"]'}
    project("run", "--state-id-suffix=visits", "tap-dynamic", "target-jsonl", **sandbox.variables, **visits)
    assert [path.name for path in output.glob("*.jsonl")].count("visits.jsonl") == 1
    states = project("state", "list")
    assert "tap-dynamic-sandbox-to-sandbox-jsonl:users" in states
    assert "tap-dynamic-to-target-jsonl:visits" in states
    assert "dynamic-nightly" in project("schedule", "list")


def test_the_readmes_commands_with_any_target(project: Project, sandbox: Sandbox, tmp_path: Path) -> None:
    chapter = (ROOT / "README.md").read_text().split("## With any Singer target")[1]
    lines = chapter.split("```sh\n")[1].split("```")[0].splitlines()
    assert lines[0] == "pip install ."  # covered by .ci/run, which installs the wheel
    assert lines[1].startswith("export TAP_DYNAMIC_ENVIRONMENT_ID=")
    targets = project.folder / ".meltano" / "loaders" / "target-jsonl" / "venv" / "bin"
    path = f"{Path(sys.executable).parent}:{targets}:{os.environ['PATH']}"
    sandbox.add("users", csv_file("users", 5))
    for rows in (5, 0):
        completed = subprocess.run(
            ["sh", "-ec", "\n".join(lines[2 + (not rows) :])],
            cwd=tmp_path,
            env={**os.environ, **sandbox.variables, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert completed.returncode == 0, completed.stderr
        written = [line for file in tmp_path.glob("users*.jsonl") for line in file.read_text().splitlines()]
        assert len(written) == 5
        assert json.loads((tmp_path / "state.json").read_text())["bookmarks"]["users"]["export_ids"]


def test_into_csv(project: Project, sandbox: Sandbox) -> None:
    sandbox.add("users", USERS)
    project(
        "run", "tap-dynamic", "target-csv", TARGET_CSV_OUTPUT_PATH=str(project.folder / "output"), **sandbox.variables
    )
    rows = table((project.folder / "output" / "users.csv").read_bytes())
    assert [row["id"] for row in rows] == [row["id"] for row in table(USERS)]
    assert [row["username"] for row in rows] == [row["username"] for row in table(USERS)]


@dataclass
class Postgres:
    """A temporary PostgreSQL server."""

    port: int

    @property
    def variables(self) -> dict[str, str]:
        names = {"host": "127.0.0.1", "port": str(self.port), "user": "tap", "password": "none", "database": "postgres"}
        return {f"TARGET_POSTGRES_{k.upper()}": v for k, v in names.items()} | {
            "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": "dynamic"
        }

    def query(self, query: str) -> list[list[str]]:
        assert SERVER
        command: list[str | Path] = [
            SERVER / "psql",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "tap",
            "-At",
            "-d",
            "postgres",
        ]
        out = subprocess.run([*command, "-c", query], capture_output=True, check=True, text=True).stdout
        return [line.split("|") for line in out.splitlines()]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    if not SERVER or not (SERVER / "initdb").exists():
        pytest.skip("PostgreSQL is not installed: install the package postgresql")
    # The server refuses to run as root.
    runuser = shutil.which("runuser", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "runuser"
    run_as = [runuser, "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="tap-dynamic-"))
    if run_as:
        shutil.chown(folder, "postgres")
        assert pwd.getpwnam("postgres")
    data = folder / "data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    initdb = [
        SERVER / "initdb",
        "-D",
        data,
        "-U",
        "tap",
        "--auth=trust",
        "--no-sync",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    ]
    subprocess.run([*run_as, *map(str, initdb)], check=True, **silent)  # type: ignore[call-overload]
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", str(folder)]
    server = subprocess.Popen(  # type: ignore[call-overload]
        [*run_as, str(SERVER / "postgres"), "-D", str(data), "-p", str(port), *options], **silent
    )
    try:
        ready = [SERVER / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
        deadline = time.monotonic() + 30
        while subprocess.run([*map(str, ready)], check=False, **silent).returncode:  # type: ignore[call-overload]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Postgres(port)
    finally:
        subprocess.run(
            [*run_as, str(SERVER / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"], check=False, **silent
        )  # type: ignore[call-overload]
        server.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def test_into_postgresql_with_types(project: Project, sandbox: Sandbox, postgres: Postgres) -> None:
    sandbox.add("users", USERS)
    postgres.query("drop schema if exists dynamic cascade")
    project("run", "tap-dynamic", "target-postgres", **sandbox.variables, **postgres.variables)
    assert postgres.query("select count(*), count(distinct id) from dynamic.users") == [["500", "500"]]
    kinds = dict(
        postgres.query("select column_name, data_type from information_schema.columns where table_name = 'users'")
    )
    wanted = {
        "createdAt": "timestamp without time zone",
        "newUser": "boolean",
        "metadata": "jsonb",
        "lists": "jsonb",
        "email": "text",
        "_sdc_row_number": "bigint",
    }
    assert {name: kinds.get(name, "").replace("ARRAY", "jsonb") for name in wanted} == wanted
    second = table(USERS)[1]
    assert postgres.query(f"select email, \"createdAt\" from dynamic.users where id = '{second['id']}'") == [
        [second["email"] or "", (second["createdAt"] or "").replace("T", " ").rstrip("Z").rstrip("0").rstrip(".")]
    ]


def feed(project: Project, postgres: Postgres, messages: str, **settings: Any) -> None:
    """Pipe messages into target-postgres, without Meltano."""
    target = project.folder / ".meltano" / "loaders" / "target-postgres" / "venv" / "bin" / "target-postgres"
    config = {k.removeprefix("TARGET_POSTGRES_").lower(): v for k, v in postgres.variables.items()}
    file = project.folder / "target.json"
    file.write_text(json.dumps({**config, "port": postgres.port, **settings}))
    subprocess.run([target, "--config", file], input=messages.encode(), capture_output=True, check=True)


def test_batches_into_postgresql(project: Project, tap: Tap, sandbox: Sandbox, postgres: Postgres) -> None:
    postgres.query("drop schema if exists dynamic cascade")
    sandbox.add("users", USERS)
    storage = {"root": f"file://{project.folder}/batches"}
    run = tap(
        batch_config={"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": storage, "batch_size": 200}
    )
    assert len(run.of("BATCH", "users")) == 3
    feed(project, postgres, run.out)
    query = "select id, wallet, metadata, _sdc_row_number from dynamic.users order by _sdc_row_number"
    batched = postgres.query(query)
    assert len(batched) == 500
    postgres.query("drop schema dynamic cascade")
    feed(project, postgres, tap().out)
    assert postgres.query(query) == batched


@pytest.mark.parametrize("hard_delete", [True, False])
def test_removed_users_are_removed_from_postgresql(
    project: Project, tap: Tap, sandbox: Sandbox, postgres: Postgres, *, hard_delete: bool
) -> None:
    """Consecutive runs of the tap, piped into the target without Meltano."""
    postgres.query("drop schema if exists dynamic cascade")
    condition = "" if hard_delete else "where _sdc_deleted_at is null"
    state: dict[str, Any] = {}

    def run_and_query(rows: list[list[str]], code: int) -> list[list[str]]:
        sandbox.add("users", to_csv([["id", "email"], *rows]))
        run = tap(emit_activate_version_messages=True, _state=state)
        assert run.code == code
        feed(project, postgres, run.out, hard_delete=hard_delete)
        state.update(run.state)
        return postgres.query(f"select id, email from dynamic.users {condition} order by id")

    assert run_and_query([["1", "a"], ["2", "b"], ["3", "c"]], 0) == [["1", "a"], ["2", "b"], ["3", "c"]]
    assert run_and_query([["1", "a"], ["3", "changed"]], 0) == [["1", "a"], ["3", "changed"]]
    if hard_delete:  # a malformed export removes nobody
        assert run_and_query([["1"]], 1) == [["1", "a"], ["3", "changed"]]


def test_the_hub_definition_matches_the_project_file() -> None:
    hub = yaml.safe_load((ROOT / "tap-dynamic.yml").read_text())
    extractor = yaml.safe_load((ROOT / "meltano.yml").read_text())["plugins"]["extractors"][0]
    shared = ("name", "namespace", "label", "description", "executable", "capabilities", "select", "settings")
    assert {k: hub[k] for k in shared} == {k: extractor[k] for k in shared}
    assert hub["settings_group_validation"] == extractor["settings_group_validation"]


def test_the_project_file_is_valid() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.meltano", str(ROOT / "meltano.yml")]
    completed = subprocess.run(check, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout


def test_the_project_file_matches_about() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "tap_dynamic", "--about", "--format=json"], capture_output=True, check=True
    ).stdout
    about = json.loads(out)
    extractor = yaml.safe_load((ROOT / "meltano.yml").read_text())["plugins"]["extractors"][0]
    assert extractor["capabilities"] == about["capabilities"]
    settings = {setting["name"]: setting for setting in extractor["settings"]}
    properties = about["settings"]["properties"]
    assert list(settings) == list(properties)
    for name, schema in list(properties.items())[:13]:
        setting = settings[name]
        assert setting["description"] == schema["description"]
        assert setting["label"] == schema["title"]
        assert setting.get("value") == schema.get("default")
        assert setting.get("sensitive", False) == schema.get("secret", False)
        kinds = {
            "string": {"string", "options", "date_iso8601"},
            "boolean": {"boolean"},
            "array": {"array"},
            "number": {"integer"},
        }
        assert setting["kind"] in kinds[schema["type"][0]]


NIGHTS = [
    [["1", "a"], ["2", "b"], ["3", "c"]],
    [["1", "a"], ["3", "changed"], ["4", "d"]],
    [["1", "a"], ["2", "back"], ["4", "d"]],
]
"""A user is changed, one is deleted and returns, one is added, one is deleted."""


@pytest.mark.parametrize("hard_delete", ["true", "false"])
def test_changes_only_into_duckdb(project: Project, sandbox: Sandbox, hard_delete: str) -> None:
    settings = {"TAP_DYNAMIC_CHANGES_ONLY": "true", "TARGET_DUCKDB_HARD_DELETE": hard_delete}
    condition = "" if hard_delete == "true" else "where _sdc_deleted_at is null"
    for rows in NIGHTS:
        sandbox.add("users", to_csv([["id", "email"], *rows]))
        log = project("run", "tap-dynamic", "target-duckdb", **sandbox.variables, **settings)
        assert project.duckdb(f"select id, email from dynamic.users {condition} order by id") == rows
    assert "users: 1 export read, 2 rows, 6 columns (1 added, 0 changed, 1 deleted, 2 unchanged)" in log
    marked = project.duckdb("select id from dynamic.users where _sdc_deleted_at is not null")
    assert marked == ([] if hard_delete == "true" else [["3"]])


def test_changes_only_into_postgresql(project: Project, tap: Tap, sandbox: Sandbox, postgres: Postgres) -> None:
    """The target keeps deleted rows marked: its `hard_delete` acts on ACTIVATE_VERSION only."""
    for hard_delete in (True, False):
        postgres.query("drop schema if exists dynamic cascade")
        state: dict[str, Any] = {}
        for rows in NIGHTS:
            sandbox.add("users", to_csv([["id", "email"], *rows]))
            run = tap(changes_only=True, _state=state)
            assert run.code == 0
            feed(project, postgres, run.out, hard_delete=hard_delete)
            state = run.state
            there = "select id, email from dynamic.users where _sdc_deleted_at is null order by id"
            assert postgres.query(there) == rows
        assert len(run.records("users")) == 2
        assert postgres.query("select id from dynamic.users where _sdc_deleted_at is not null") == [["3"]]
