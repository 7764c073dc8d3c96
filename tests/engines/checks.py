"""The commands of docs/bulk.md, each run as it stands there, with the addresses and keys of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.data import users as many_users
from benchmarks.measure import measure
from sandbox.data import csv_file
from sandbox.server import Sandbox
from sandbox.setup import BIN, ROOT
from tests.conftest import table
from tests.object_store import running_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.object_store import ObjectStore

    Query = Callable[[str], list[list[str]]]

SERVER = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
BLOCK = re.compile(r"<!-- check: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
BUCKET = "warehouse"
USERS = 25_000
NIGHTS = (csv_file("users", USERS), csv_file("users", USERS + 500))
"""The second night has 500 rows more."""


def blocks() -> dict[str, str]:
    """Return the tried blocks of docs/bulk.md by name."""
    return dict(BLOCK.findall((ROOT / "docs" / "bulk.md").read_text()))


def executables(environment: str) -> Path:
    """Return the folder of an environment's executables."""
    return ROOT / ".venv" / environment / BIN


@dataclass
class Workplace:
    """A folder in which the commands run, with what they need around them."""

    folder: Path
    store: ObjectStore
    sandbox: Sandbox
    variables: dict[str, str] = field(default_factory=dict)
    replacements: dict[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return a block, with the addresses and keys of this machine in place of those of the document."""
        text = blocks()[name]
        for old, new in self.replacements.items():
            text = text.replace(old, new)
        return text

    def run(self, *command: str | Path, **variables: str) -> str:
        """Run a command and return its output; exit if it fails."""
        completed = subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env={**os.environ, **self.variables, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if completed.returncode:
            sys.exit(f"{command} failed:\n{completed.stdout[-2000:]}\n{completed.stderr[-4000:]}")
        return completed.stdout

    def write_files(self, encoding: str, root: str, batch_size: int = 5000) -> None:
        """Let the tap write the files of two nights."""
        batch_config = {"encoding": json.loads(encoding), "batch_size": batch_size, "storage": {"root": root}}
        config = {**self.sandbox.config, "batch_config": batch_config}
        (self.folder / "tap.json").write_text(json.dumps(config))


def check(found: Any, wanted: Any, text: str) -> None:
    """Exit if a result is not the wanted one."""
    if found != wanted:
        sys.exit(f"{text}: {found!r} instead of {wanted!r}")
    print(f"{text}: as expected", flush=True)


def nights(place: Workplace, script: str, after: Callable[[], None] = lambda: None) -> None:
    """Run a script of the document once for each night."""
    (place.folder / "state.json").write_text("{}")
    for rows in NIGHTS:
        place.sandbox.add("users", rows)
        place.run("sh", "-ec", place.text(script))
        after()


def emails() -> dict[str, str | None]:
    """Return the email in each row after both nights, by the row's key."""
    rows = [row for night in NIGHTS for row in table(night)]
    return {f"{row['user_id']} {row['verified_credential_id'] or ''}": row["user_email"] for row in rows}


KEY = "user_id || ' ' || verified_credential_id"
QUERY = f"""
import duckdb, duckdb_extensions, json, sys
duckdb_extensions.import_extension("httpfs")
connection = duckdb.connect("warehouse.duckdb")
connection.execute("set timezone = 'UTC'")
connection.execute(sys.stdin.read())
columns = "select column_name, data_type from duckdb_columns() where table_name = 'users'"
kinds = dict(connection.execute(columns).fetchall())
print(json.dumps([kinds, dict(connection.execute("select {KEY}, user_email from users").fetchall())]))
"""


def duckdb(place: Workplace) -> None:
    """Parquet, from a folder and from the store, into a table of DuckDB."""
    for root, name in (("files", "duckdb"), (f"s3://{BUCKET}/dynamic", "duckdb-s3")):
        place.write_files('{"format": "parquet"}', root)
        nights(place, "run")
        completed = subprocess.run(
            [executables("duckdb") / "python", "-c", QUERY],
            cwd=place.folder,
            input=place.text(name),
            capture_output=True,
            text=True,
            check=False,
        )
        if completed.returncode:
            sys.exit(completed.stderr)
        kinds, loaded = json.loads(completed.stdout)
        check(loaded, emails(), f"{name}: {len(loaded):,} rows")
        wanted = {"user_createdAt": "TIMESTAMP WITH TIME ZONE", "user_metadata": "VARCHAR", "_sdc_row_number": "BIGINT"}
        check({column: kinds[column] for column in wanted}, wanted, f"{name}: types")


PRINT_WORKERS = """
import os
files = spark.read.parquet("files/tap-dynamic--users-*.parquet").rdd
print(*files.mapPartitions(lambda rows: [os.getcwd() for _ in rows][:1]).collect())
spark.stop()
"""
"""Each worker process has a folder of its own."""


def spark(place: Workplace) -> None:
    """Parquet in a folder, read by two worker processes of Spark."""
    place.write_files('{"format": "parquet"}', "files")
    nights(place, "run")
    (place.folder / "load.py").write_text(place.text("spark") + PRINT_WORKERS)
    workers = place.run(executables("spark") / "python", "load.py", SPARK_LOCAL_IP="127.0.0.1")
    check(len(set(workers.split())), 2, "spark: worker processes that read files")
    import pyarrow.parquet as pq  # noqa: PLC0415 (not needed by the other checks)

    loaded = pq.read_table(place.folder / "users").to_pylist()
    found = {f"{row['user_id']} {row['verified_credential_id']}": row["user_email"] for row in loaded}
    check(found, emails(), f"spark: {len(loaded):,} rows")


@contextlib.contextmanager
def running_postgres() -> Iterator[tuple[int, Query]]:
    """Run a PostgreSQL on 127.0.0.1; yield its port and a function that runs a query."""
    if not SERVER:
        sys.exit("PostgreSQL is not installed: install the package postgresql")
    run_as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="engines-", ignore_cleanup_errors=True) as name, socket.socket() as free:
        if run_as:
            shutil.chown(name, pwd.getpwnam("postgres").pw_uid)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        data = Path(name) / "data"
        silent: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        initdb = [SERVER / "initdb", "-D", data, "-U", "dynamic", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run([*run_as, *map(str, initdb)], check=True, **silent)
        free.close()
        options = ["-c", "listen_addresses=127.0.0.1", "-k", name]
        server = subprocess.Popen(
            [*run_as, str(SERVER / "postgres"), "-D", str(data), "-p", str(port), *options], **silent
        )
        psql = [
            str(SERVER / "psql"),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-U",
            "dynamic",
            "-At",
            "-d",
            "postgres",
            "-c",
        ]

        def query(text: str) -> list[list[str]]:
            out = subprocess.run([*psql, text], capture_output=True, check=True, text=True).stdout
            return [line.split("|") for line in out.splitlines()]

        try:
            deadline = time.monotonic() + 30
            while subprocess.run([*psql, "select 1"], capture_output=True, check=False).returncode:
                if time.monotonic() > deadline:
                    sys.exit("PostgreSQL did not start.")
                time.sleep(0.1)
            query("create database warehouse")
            psql[psql.index("postgres")] = "warehouse"
            yield port, query
        finally:
            subprocess.run(
                [*run_as, str(SERVER / "pg_ctl"), "-D", str(data), "-m", "fast", "stop"], check=False, **silent
            )
            server.wait(timeout=60)


def postgres(place: Workplace) -> None:
    """BATCH files, on a folder and in the store, through target-postgres."""
    with running_postgres() as (port, query):
        place.replacements["5432"] = str(port)
        (place.folder / "target.json").write_text(place.text("target-postgres"))
        for root in (str(place.folder / "batches"), f"s3://{BUCKET}/batches"):
            query("drop schema if exists dynamic cascade")
            place.write_files('{"format": "jsonl", "compression": "gzip"}', root)
            nights(place, "postgres")
            loaded = {key: email or None for key, email in query(f"select {KEY}, user_email from dynamic.users")}
            check(loaded, emails(), f"target-postgres, BATCH files in {root.partition(':')[0]}: {len(loaded):,} rows")


FAST = {"use_copy": True, "validate_records": False, "batch_size_rows": 100_000}
VARIANTS: dict[str, tuple[dict[str, Any], bool]] = {
    "defaults": ({}, False),
    "`use_copy`": ({"use_copy": True}, False),
    "`use_copy`, no validation, 100,000 rows a batch": (FAST, False),
    "the same, and BATCH files": (FAST, True),
}


def loaders(place: Workplace) -> None:
    """Measure target-postgres: 200,000 rows of users."""
    rows = 200_000
    place.sandbox.add("users", many_users(rows))
    print("| target-postgres | seconds | CPU seconds | peak MiB | CPU / defaults |\n|:--|--:|--:|--:|--:|", flush=True)
    with running_postgres() as (port, query):
        place.replacements["5432"] = str(port)
        settings = {**json.loads(place.text("target-postgres"))}
        base = {
            name: settings[name] for name in ("host", "port", "user", "password", "database", "default_target_schema")
        }
        first = 0.0
        for name, (extra, with_batches) in VARIANTS.items():
            query("drop schema if exists dynamic cascade")
            place.write_files('{"format": "jsonl", "compression": "gzip"}', str(place.folder / "measured"), 100_000)
            if not with_batches:
                (place.folder / "tap.json").write_text(json.dumps(place.sandbox.config))
            (place.folder / "target.json").write_text(json.dumps({**base, **extra}))
            pipeline = f"cd {place.folder} && tap-dynamic --config tap.json | target-postgres --config target.json"
            found = measure("sh", "-ec", pipeline, PATH=place.variables["PATH"])
            first = first or found.cpu
            if query("select count(*) from dynamic.users") != [[str(rows)]]:
                sys.exit(f"{name}: rows are missing")
            numbers = f"{found.seconds:.0f} | {found.cpu:.0f} | {found.mib:.0f} | {found.cpu / first:.2f}"
            print(f"| {name} | {numbers} |", flush=True)


CHECKS = {"duckdb": duckdb, "postgres": postgres, "spark": spark, "loaders": loaders}


def main() -> None:
    """Run the checks that are named, or all."""
    with running_store() as store:
        store.client.create_bucket(Bucket=BUCKET)
        for name in sys.argv[1:] or CHECKS:
            with Sandbox() as sandbox, tempfile.TemporaryDirectory() as folder:
                keys = store.writer
                place = Workplace(Path(folder), store, sandbox)
                paths = [*map(str, (executables("dev"), executables("postgres"))), os.environ["PATH"]]
                place.variables = {
                    "PATH": os.pathsep.join(paths),
                    "AWS_ACCESS_KEY_ID": keys.access,
                    "AWS_SECRET_ACCESS_KEY": keys.secret,
                    "AWS_ENDPOINT_URL": store.url,
                }
                place.replacements = {
                    "localhost:8333": store.url.removeprefix("http://"),
                    "your-access-key": keys.access,
                    "your-secret-key": keys.secret,
                }
                CHECKS[name](place)


if __name__ == "__main__":
    main()
