"""Install the engines and run the commands of docs/bulk.md: `python3 -m tests.engines`.

Names run a part: `python3 -m tests.engines duckdb postgres spark loaders`. `loaders` takes minutes.
"""

from __future__ import annotations

import sys

from sandbox.setup import install, run

python = install("dev", "--quiet", "--editable", ".", "--group", "dev") / "python"
# Each engine in its own environment. An extension fits one version of DuckDB.
install("duckdb", "duckdb==1.5.5", "duckdb-extensions==1.5.5", "duckdb-extension-httpfs==1.5.5")
install("postgres", "meltanolabs-target-postgres~=0.8", "s3fs")
install("spark", "pyspark>=4,<5")
run(python, "-m", "tests.engines.checks", *sys.argv[1:])
