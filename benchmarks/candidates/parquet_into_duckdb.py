"""Load the Parquet files that BATCH messages name into a DuckDB table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb

messages = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
files = [url for m in messages if m["type"] == "BATCH" and m["stream"] == "users" for url in m["manifest"]]
if files:
    with duckdb.connect(sys.argv[2]) as connection:
        paths = [url.removeprefix("file://") for url in files]
        connection.execute("create or replace table users as select * from read_parquet(?)", [paths])
