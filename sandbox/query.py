"""Query the database that the demo loaded: `python3 -m sandbox.query "select * from users limit 5"`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.setup import BIN, ROOT
from sandbox.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = ROOT / ".meltano" / "loaders" / "target-duckdb" / "venv" / BIN / "python"
"""The loader's interpreter, whose DuckDB reads its files."""
SCRIPT = """
import duckdb, json, sys
try:
    connection = duckdb.connect(sys.argv[1], read_only=True)
    connection.execute("set schema = 'dynamic'")
    cursor = connection.execute(sys.argv[2])
    json.dump({"columns": [c[0] for c in cursor.description], "rows": cursor.fetchall()}, sys.stdout, default=str)
except duckdb.Error as error:
    sys.exit(str(error))
"""


@dataclass
class Result:
    """The result of a query."""

    columns: list[str]
    rows: list[list[Any]]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def query(database: Path, sql: str) -> Result:
    """Query a DuckDB file; if DuckDB refuses, exit with its message."""
    completed = subprocess.run([PYTHON, "-c", SCRIPT, database, sql], capture_output=True, check=False)
    if completed.returncode:
        sys.exit(completed.stderr.decode(errors="replace").strip())
    return Result(**json.loads(completed.stdout))


def main() -> None:
    """Print the result of a query."""
    databases = sorted((ROOT / "output").glob("*.duckdb"), key=lambda path: path.stat().st_mtime)
    parser = argparse.ArgumentParser(prog="python3 -m sandbox.query", description=__doc__)
    parser.add_argument("sql")
    if not databases or not PYTHON.exists():
        parser.error("there is no database yet: run python3 -m sandbox.demo")
    result = query(databases[-1], parser.parse_args().sql)
    columns = sorted(result.columns, key=lambda name: name.startswith("_sdc_"))  # the tap's own columns last
    Terminal().table(columns, [[record[name] for name in columns] for record in result.records])


if __name__ == "__main__":
    main()
