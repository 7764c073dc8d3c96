"""Install the engines and run the commands of docs/bulk.md. The part `loaders` takes minutes."""

from __future__ import annotations

import argparse

from sandbox.setup import install, run

PARTS = ("duckdb", "postgres", "spark", "loaders")

# Parsed before anything is installed, so that `--help` and a misspelt name cost nothing.
parser = argparse.ArgumentParser(prog="python3 -m tests.engines", description=__doc__)
parser.add_argument(
    "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all if none is named. The last takes minutes"
)
parts = parser.parse_args().parts
if unknown := [part for part in parts if part not in PARTS]:
    parser.error(f"there is no part {', '.join(unknown)}")

python = install("dev", "--quiet", "--editable", ".", "--group", "dev") / "python"
# Each engine in its own environment. An extension fits one version of DuckDB.
install("duckdb", "duckdb==1.5.5", "duckdb-extensions==1.5.5", "duckdb-extension-httpfs==1.5.5")
install("postgres", "meltanolabs-target-postgres~=0.8", "s3fs")
install("spark", "pyspark>=4,<5")
run(python, "-m", "tests.engines.checks", *parts)
