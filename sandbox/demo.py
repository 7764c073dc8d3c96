"""Load Dynamic's exports into DuckDB through Meltano, and print a sample of the tables.

Reads from Dynamic if TAP_DYNAMIC_ENVIRONMENT_ID and TAP_DYNAMIC_API_TOKEN are set, otherwise from the sandbox.
"""

from __future__ import annotations

import contextlib
import os

from sandbox.data import csv_file
from sandbox.server import Sandbox
from sandbox.setup import ROOT, install, run

SHOW = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
for (table,) in connection.execute("select table_name from information_schema.tables order by 1").fetchall():
    count = connection.execute(f'select count(*) from dynamic."{table}"').fetchall()[0][0]
    print(f"\\n{table}: {count:,} rows, for example:")
    columns = "columns(c -> c not like '!_sdc%' escape '!')"
    connection.sql(f'select {columns} from dynamic."{table}" limit 4').show(max_width=120)
print("DuckDB file:", sys.argv[1])
"""


def main() -> None:
    """Install Meltano and the plugins, load the exports and print a sample."""
    commands = install("meltano", "meltano>=4,<5")
    run(commands / "meltano", "--log-level=warning", "install")
    with contextlib.ExitStack() as stack:
        if os.environ.get("TAP_DYNAMIC_ENVIRONMENT_ID") and os.environ.get("TAP_DYNAMIC_API_TOKEN"):
            environment, settings, options = "dev", {}, []
        else:
            sandbox = stack.enter_context(Sandbox())
            sandbox.add("users", status="failed")
            sandbox.add("users", csv_file("users", 500))
            sandbox.add("visits", csv_file("visits", 2000))
            environment, options = "sandbox", ["--full-refresh"]
            settings = sandbox.variables
            (ROOT / "output" / "sandbox.duckdb").unlink(missing_ok=True)
        run(
            commands / "meltano",
            "--environment",
            environment,
            "run",
            *options,
            "tap-dynamic",
            "target-duckdb",
            **settings,
        )
    file = ROOT / "output" / ("sandbox.duckdb" if environment == "sandbox" else "warehouse.duckdb")
    run(ROOT / ".meltano" / "loaders" / "target-duckdb" / "venv" / commands.name / "python", "-c", SHOW, file)


main()
