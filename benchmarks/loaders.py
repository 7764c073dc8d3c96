"""Four ways from an export to a DuckDB table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks import environments
from benchmarks.measure import bash, environment
from sandbox.setup import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.server import Sandbox

RECORD = "tap-dynamic into target-duckdb"
PARQUET = "tap-dynamic, Parquet, read_parquet"
DLT = "dlt"
BY_HAND = "hand-written script, read_csv"


@dataclass(frozen=True)
class Loader:
    """A way to load.

    Args:
        name: Its name.
        script: A command line of bash.
        database: The DuckDB file that it writes.
        leftovers: Folders that its next load must not find.
        variables: Its environment variables.
    """

    name: str
    script: str
    database: Path
    leftovers: tuple[Path, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> tuple[str, ...]:
        """The command that is run."""
        return bash(self.script)

    def reset(self) -> None:
        """Remove what an earlier load left."""
        self.database.unlink(missing_ok=True)
        for folder in self.leftovers:
            shutil.rmtree(folder, ignore_errors=True)

    def load(self) -> subprocess.CompletedProcess[str]:
        """Load once, without measuring."""
        return subprocess.run(
            self.command, env=environment(self.variables), cwd=ROOT, capture_output=True, text=True, check=False
        )


def install_loaders(folder: Path, sandbox: Sandbox) -> list[Loader]:
    """Install all loaders, set up to read from a sandbox.

    Args:
        folder: Holds their settings and databases.
        sandbox: Has the exports.
    """
    tap = f"{environments.tap()} -m tap_dynamic --config"
    target, duckdb, dlt = environments.target_duckdb(), environments.duckdb(), environments.dlt()
    config, batches, settings = (folder / f"{name}.json" for name in ("config", "batches", "target"))
    files, messages, state = folder / "batches", folder / "messages", folder / "dlt"
    databases = {name: folder / f"{n}.duckdb" for n, name in enumerate((RECORD, PARQUET, DLT, BY_HAND))}
    batch_config = {"encoding": {"format": "parquet"}, "storage": {"root": f"file://{files}"}}
    config.write_text(json.dumps(sandbox.config))
    batches.write_text(json.dumps({**sandbox.config, "batch_config": batch_config}))
    settings.write_text(json.dumps({"filepath": str(databases[RECORD]), "default_target_schema": "dynamic"}))
    scripts = {
        RECORD: f"{tap} {config} | {target} --config {settings}",
        PARQUET: f"{tap} {batches} > {messages}"
        f" && {duckdb} -m benchmarks.candidates.parquet_into_duckdb {messages} {databases[PARQUET]}",
        DLT: f"{dlt} -m benchmarks.candidates.with_dlt {config} {databases[DLT]} {state}",
        BY_HAND: f"{duckdb} -m benchmarks.candidates.by_hand {config} {databases[BY_HAND]}",
    }
    leftovers = {PARQUET: (files,), DLT: (state,)}
    variables = {DLT: {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(folder / "dlt-data")}}
    return [
        Loader(name, script, databases[name], leftovers.get(name, ()), variables.get(name, {}))
        for name, script in scripts.items()
    ]


def show_table(database: Path) -> dict[str, Any]:
    """Describe the table that a loader wrote: `rows`, `digest`, `phone` and `types`; empty if there is none."""
    if not database.exists():
        return {}
    command = [environments.duckdb(), "-m", "benchmarks.candidates.show_table", database]
    shown = subprocess.run(
        list(map(str, command)), env=environment({}), cwd=ROOT, capture_output=True, text=True, check=True
    )
    table: dict[str, Any] = json.loads(shown.stdout)
    return table


def verify_table(loader: Loader, rows: int, checksum: str) -> None:
    """Exit unless a loader has loaded every row of a file.

    Args:
        loader: The loader.
        rows: Rows of the file.
        checksum: Its digest.
    """
    table = show_table(loader.database)
    if (table.get("rows"), table.get("digest")) != (rows, checksum):
        sys.exit(f"{loader.name}: the table does not hold the {rows:,} rows of the file: {table}")
