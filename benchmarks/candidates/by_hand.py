"""The script that people write today, and the limit: download the file, and let DuckDB read the CSV."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import duckdb

from benchmarks.candidates.exports_api import download_newest

config, database = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "users.csv")
    download_newest(config, file)
    with duckdb.connect(database) as connection:
        connection.execute("create or replace table users as select * from read_csv(?)", [str(file)])
