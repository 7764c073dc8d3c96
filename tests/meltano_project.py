"""Fixtures: Meltano projects with installed plugins, and a PostgreSQL server."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from sandbox.server import API_TOKEN
from sandbox.setup import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

MELTANO = next((ROOT / ".venv" / "meltano").glob("*/meltano"), None) or shutil.which("meltano")
SERVER = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
QUERY = """
import duckdb, json, sys
for row in duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall():
    print(json.dumps(row, default=str))
"""
FILLED_KEY = {"users": {"verified_credential_id": "verified_credential_id or 'none'"}}
"""The stream map of docs/columns.md, for loaders that turn an empty text into null and refuse it in a key."""
EXTRA_LOADERS = {"target-csv": "meltanolabs-target-csv~=0.5"}
"""Loaders that meltano.yml does not have."""


@dataclass
class Project:
    """A Meltano project."""

    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start Meltano."""
        return subprocess.Popen(
            [str(MELTANO), *arguments],
            cwd=self.folder,
            env={**os.environ, **variables, "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, *arguments: str, **variables: str) -> str:
        """Run Meltano and return its output."""
        return finish(self.start(*arguments, **variables))

    def fail(self, *arguments: str, **variables: str) -> str:
        """Run Meltano, expect a failure and return its output."""
        return finish(self.start(*arguments, **variables), ok=False)

    def edit(self, **fields: Any) -> dict[str, Any]:
        """Set fields of the extractor in meltano.yml, and return the file's content."""
        file = self.folder / "meltano.yml"
        content: dict[str, Any] = yaml.safe_load(file.read_text())
        content["plugins"]["extractors"][0].update(fields)
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return content

    def executable(self, loader: str, name: str) -> Path:
        """An executable in the virtual environment of a loader."""
        return self.folder / ".meltano" / "loaders" / loader / "venv" / "bin" / name

    def feed(self, loader: str, messages: str, **config: Any) -> None:
        """Pipe messages into a loader, without Meltano."""
        file = self.folder / f"{loader}.json"
        file.write_text(json.dumps(config))
        command: list[str | Path] = [self.executable(loader, loader), "--config", file]
        completed = subprocess.run(command, input=messages.encode(), capture_output=True, cwd=self.folder, check=False)
        assert completed.returncode == 0, completed.stderr.decode()[-3000:]

    def duckdb(self, query: str, file: str = "warehouse") -> list[list[Any]]:
        """Query a DuckDB file."""
        python, database = self.executable("target-duckdb", "python"), self.output / f"{file}.duckdb"
        completed = subprocess.run([python, "-c", QUERY, database, query], capture_output=True, check=False, text=True)
        assert completed.returncode == 0, completed.stderr
        return [json.loads(line) for line in completed.stdout.splitlines()]


def finish(process: subprocess.Popen[str], *, ok: bool = True) -> str:
    """Wait for Meltano, and return its output."""
    log, _ = process.communicate(timeout=170)
    assert (process.returncode == 0) is ok, log[-3000:]
    assert API_TOKEN not in log
    assert "X-Amz-Signature" not in log
    return log


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its plugins installed, once for all workers."""
    if not MELTANO:
        pytest.skip("Meltano is not installed: run python3 -m tests")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "meltano"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            content = yaml.safe_load((ROOT / "meltano.yml").read_text())
            content["plugins"]["extractors"][0]["pip_url"] = f"-e {ROOT}"
            loaders = content["plugins"]["loaders"]
            existing = {loader["name"] for loader in loaders}
            loaders += [
                {"name": name, "namespace": name.replace("-", "_"), "executable": name, "pip_url": pip_url}
                for name, pip_url in EXTRA_LOADERS.items()
                if name not in existing
            ]
            (folder / "meltano.yml").write_text(yaml.safe_dump(content, sort_keys=False))
            Project(folder)("install")
            (folder / "installed").touch()
    return folder


@pytest.fixture
def project(installed: Path, tmp_path: Path) -> Project:
    """A new project that shares the installed plugins."""
    folder = tmp_path / "project"
    for name in ("output", ".meltano"):
        (folder / name).mkdir(parents=True)
    shutil.copy(installed / "meltano.yml", folder)
    shutil.copy(installed / ".meltano" / "meltano.db", folder / ".meltano")
    for name in ("extractors", "loaders"):
        (folder / ".meltano" / name).symlink_to(installed / ".meltano" / name)
    return Project(folder)


@dataclass
class Postgres:
    """A temporary PostgreSQL server."""

    port: int

    @property
    def config(self) -> dict[str, Any]:
        """Settings of target-postgres."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "tap",
            "password": "none",
            "database": "postgres",
            "default_target_schema": "dynamic",
        }

    def query(self, query: str) -> list[list[str]]:
        assert SERVER
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "tap", "-d", "postgres"]
        command = [str(SERVER / "psql"), *address, "-At", "-c", query]
        out = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        return [line.split("|") for line in out.splitlines()]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    if not SERVER or not (SERVER / "initdb").exists():
        pytest.skip("PostgreSQL is not installed: install the package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="tap-dynamic-"))
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
        options["user"] = "postgres"
    data, sockets = str(folder / "data"), str(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    initial = ["-D", data, "-U", "tap", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
    subprocess.run([SERVER / "initdb", *initial], check=True, **options)
    settings = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", sockets]
    server = subprocess.Popen([SERVER / "postgres", "-D", data, *settings], **options)
    try:
        address = ["-h", "127.0.0.1", "-p", str(port)]
        deadline = time.monotonic() + 30
        while subprocess.run([SERVER / "pg_isready", *address], check=False, **options).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Postgres(port)
    finally:
        subprocess.run([SERVER / "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=False, **options)
        server.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: Postgres) -> Postgres:
    """The server, without tables from other tests."""
    postgres_server.query("drop schema if exists dynamic cascade")
    return postgres_server
