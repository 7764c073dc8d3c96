"""What strict targets need: null only where SCHEMA allows it; two such targets, one of which validates each record."""

from __future__ import annotations

import copy
import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.data import HEADERS, rows, to_csv
from sandbox.setup import BIN, install
from tests.conftest import ROOT
from tests.meltano_project import FILLED_KEY
from tests.object_store import BUCKET, REGION, ObjectStore, running_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.server import Sandbox
    from tests.conftest import Message, Run, Tap
    from tests.meltano_project import Postgres

pytestmark = pytest.mark.xdist_group("targets")

TYPED_COLUMNS = ["verified_credential_signInEnabled", "user_metadata"]
USERS, VISITS = list(rows("users", 300)), list(rows("visits", 200))
NIGHTS = [
    (USERS, VISITS),
    # A row is changed, the last one is deleted, and a visit is added.
    ([[*USERS[0][:4], "changed@example.com", *USERS[0][5:]], *USERS[1:-1]], [*VISITS, *rows("visits", 1, 1)]),
]


def run_nights(sandbox: Sandbox, tap: Tap, **settings: Any) -> Iterator[Run]:
    """Run the tap for each night, with changes only."""
    state: Message = {}
    for users, visits in NIGHTS:
        sandbox.add("users", to_csv([HEADERS["users"], *users]))
        sandbox.add("visits", to_csv([HEADERS["visits"], *visits]))
        run = tap(changes_only=True, _state=state, **settings)
        assert run.code == 0, run.log
        yield run
        state = run.state


def feed(folder: Path, target: Path, messages: str, **config: Any) -> None:
    """Pipe messages into a target."""
    file = folder / "target.json"
    file.write_text(json.dumps(config))
    completed = subprocess.run(
        [target, "--config", file], input=messages.encode(), capture_output=True, check=False, cwd=folder
    )
    assert completed.returncode == 0, completed.stderr.decode()[-3000:]


def installed(name: str, requirement: str, command: str) -> Path:
    """Install a target into an environment of its own, once; return its command."""
    path = ROOT / ".venv" / name / BIN / command
    return path if path.exists() else install(name, requirement) / command


# --- SCHEMA messages

BY_ID, BY_ROW = ("1", "2"), ("1", "")
SHAPES: dict[str, tuple[Message, tuple[str, str]]] = {
    # name: (settings, ids of two users)
    "all rows": ({}, BY_ID),
    "changes": ({"changes_only": True}, BY_ID),
    "rows without a key": ({"changes_only": True}, BY_ROW),
    "mapped and flattened": (
        {"stream_maps": {"users": {"copy": "user_email"}}, "flattening_enabled": True, "flattening_max_depth": 1},
        BY_ID,
    ),
}


@pytest.mark.parametrize(("settings", "ids"), SHAPES.values(), ids=SHAPES)
def test_null_occurs_exactly_where_schema_messages_allow_it(
    sandbox: Sandbox, tap: Tap, documented: Message, settings: Message, ids: tuple[str, str]
) -> None:
    catalog = copy.deepcopy(documented)
    users = next(entry for entry in catalog["streams"] if entry["stream"] == "users")
    users["schema"]["properties"] |= {"points": {"type": "integer"}, "tags": {"type": "array", "items": {}}}
    header = ["user_id", *HEADERS["users"][1:], "points", "tags", "custom"]
    values = {"date-time": "2026-01-02", "boolean": "true", "object": "{}"}
    documented_kinds = {
        name: schema.get("format") or schema["type"][0] for name, schema in users["schema"]["properties"].items()
    }
    cells = [*(values.get(documented_kinds[name], "a") for name in header[1:-3]), "1", "[1]", "x"]
    sandbox.add("users", status="failed", error="Error: out of memory")
    sandbox.add("visits", status="pending", polls_left=99)
    state: Message = {}
    records: dict[str, list[Message]] = {}
    for last in (["3"], []):  # a user is deleted
        for model, full in (("users", [header, [ids[0], *cells]]), ("visits", [["id", "chain"], [ids[0], "EVM"]])):
            empty = [[name, *[""] * (len(full[0]) - 1)] for name in [ids[1], *last]]
            sandbox.add(model, to_csv([*full, *empty]))
        run = tap(_state=state, _catalog=catalog, **settings)
        assert run.code == 0, run.log
        state = run.state
        for stream in ("exports", "users", "visits"):
            records.setdefault(stream, []).extend(run.records(stream))
    for message in run.of("SCHEMA"):
        names = message["schema"]["properties"]
        nullable = {name for name, schema in names.items() if "null" in schema["type"]}
        found = {name for name in names for record in records[message["stream"]] if record[name] is None}
        # The sandbox starts every export at once.
        assert found == nullable - {"startedAt"}, message["stream"]
        if message["stream"] == "users":
            key = ["user_id", "verified_credential_id"] if ids == BY_ID else ["_sdc_export_id", "_sdc_row_number"]
            assert message["key_properties"] == key


# --- pipelinewise-target-postgres


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the target requires psycopg2-binary 2.9.5, without a wheel")
def test_two_nights_into_a_target_that_validates_each_record(
    sandbox: Sandbox, tap: Tap, postgres: Postgres, tmp_path: Path
) -> None:
    target = installed("target-postgres", "pipelinewise-target-postgres~=2.1", "target-postgres")
    config = {
        "host": "127.0.0.1",
        "port": postgres.port,
        "user": "tap",
        "password": "none",
        "dbname": "postgres",
        "default_target_schema": "dynamic",
        "validate_records": True,
        "hard_delete": True,
    }
    for run in run_nights(sandbox, tap, stream_maps=FILLED_KEY):
        feed(tmp_path, target, run.out, **config)
    users, visits = NIGHTS[-1]
    columns = "user_id, verified_credential_id, verified_credential_signinenabled"
    loaded = postgres.query(f"select {columns}, coalesce(user_metadata, 'null') from dynamic.users")
    cells = [dict(zip(HEADERS["users"], row)) for row in users]
    assert sorted(
        (*key, flag, json.dumps(json.loads(metadata), sort_keys=True)) for *key, flag, metadata in loaded
    ) == sorted(
        (
            c["user_id"],
            c["verified_credential_id"] or "none",
            c["verified_credential_signInEnabled"][:1],
            json.dumps(json.loads(c["user_metadata"] or "null"), sort_keys=True),
        )
        for c in cells
    )
    changed = "select verified_credential_id from dynamic.users where user_email = 'changed@example.com'"
    assert postgres.query(changed) == [[cells[0]["verified_credential_id"]]]
    assert postgres.query("select id from dynamic.visits order by id") == sorted([row[3]] for row in visits)
    assert postgres.query("select count(*) from dynamic.exports") == [["4"]]
    columns = "select table_name || '.' || column_name, data_type from information_schema.columns"
    kinds = {
        "exports.id": "character varying",
        "users.user_createdat": "timestamp without time zone",
        "users.user_metadata": "jsonb",
        "users.verified_credential_id": "character varying",
        "users.verified_credential_signinenabled": "boolean",
        "visits.id": "character varying",
    }
    assert kinds.items() <= dict(postgres.query(f"{columns} where table_schema = 'dynamic'")).items()


# --- plinxore-target-s3


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with running_store() as store:
        yield store


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the target requires Python below 3.13")
def test_two_nights_into_parquet_files(
    store: ObjectStore, sandbox: Sandbox, tap: Tap, documented: Message, tmp_path: Path
) -> None:
    """The target writes no object without declared properties: such columns are loaded as text."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    target = installed("target-s3", "plinxore-target-s3~=0.1.7", "target-s3")
    config = {
        "format": {"format_type": "parquet"},
        "add_record_metadata": True,  # otherwise it drops _sdc_deleted_at
        "cloud_provider": {
            "cloud_provider_type": "aws",
            "aws": {
                "aws_access_key_id": store.writer.access,
                "aws_secret_access_key": store.writer.secret,
                "aws_region": REGION,
                "aws_bucket": BUCKET,
                "aws_endpoint_override": store.url,
            },
        },
    }
    catalog = copy.deepcopy(documented)
    for entry in catalog["streams"]:
        for schema in entry["schema"]["properties"].values():
            if "object" in schema["type"]:
                schema["type"] = ["string", "null"]
    names = [*HEADERS["users"][:1], "verified_credential_id", "user_email", *TYPED_COLUMNS, "_sdc_row_number"]
    schemas = set()
    for number, run in enumerate(run_nights(sandbox, tap, _catalog=catalog)):
        feed(tmp_path, target, run.out, **config, prefix=f"night-{number}")
        files = {key.split("/")[1]: io.BytesIO(store.get(key)) for key in store.list(f"night-{number}")}
        loaded = {stream: parquet.read_table(file) for stream, file in files.items()}
        assert {stream: table.num_rows for stream, table in loaded.items()} == {
            stream: len(run.records(stream)) for stream in ("exports", "users", "visits")
        }
        records = run.records("users")
        assert loaded["users"].select(names).to_pylist() == [{name: r[name] for name in names} for r in records]
        deleted = loaded["users"]["_sdc_deleted_at"].is_valid().to_pylist()
        assert deleted == [record["_sdc_deleted_at"] is not None for record in records]
        assert sum(deleted) == number
        schemas |= {f"{stream}: {table.schema}" for stream, table in loaded.items()}
    assert len(schemas) == 3
    assert "verified_credential_signInEnabled: bool" in "".join(schemas)
