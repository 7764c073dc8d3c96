"""The tap beside one built with the SDK's defaults, and beside a minimal loop."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import environments
from benchmarks.data import users
from benchmarks.measure import Candidate, Summary, compare, measure
from benchmarks.results import Chart, Options, Result, bar, markdown, rounded
from sandbox.server import Sandbox

LATER, FIRST, STOCK, BARE = "tap-dynamic", "tap-dynamic, first load", "stock SDK tap", "bare loop"
PARQUET, JSONL, STOCK_JSONL = "tap-dynamic, BATCH Parquet", "tap-dynamic, BATCH jsonl", "stock SDK tap, BATCH jsonl"
HEADER = (
    "candidate", "rows per second", "CPU s / M rows", "peak MiB", "time / tap-dynamic", "CPU / tap-dynamic",
)  # fmt: skip
REHEARSAL_ROWS = 2_000
COUNT_PARQUET = "import sys; from pyarrow import parquet; print(parquet.read_metadata(sys.argv[1]).num_rows)"


def run(options: Options) -> Result:
    """Compare the taps."""
    python = environments.tap()
    rehearse(python, options.columns)
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        candidates = make_candidates(python, Path(folder), sandbox, options.rows, options.columns)
        summaries = compare(candidates, LATER, options.rows, options.pairs)
    return Result("tap", table(summaries), chart(summaries, options))


def make_candidates(python: Path, folder: Path, sandbox: Sandbox, rows: int, columns: int) -> dict[str, Candidate]:
    """Make the candidates, which read one file of a sandbox; the bare loop reads it from disk."""
    file, state = folder / "users.csv", folder / "state.json"
    file.write_bytes(sandbox.add("users", users(rows, columns)).data)
    state.write_text(json.dumps({"bookmarks": {"users": {"key_properties": ["id"]}}}))
    encodings = {"plain": None, "jsonl": {"format": "jsonl", "compression": "gzip"}, "parquet": {"format": "parquet"}}
    configs = {name: folder / f"{name}.json" for name in encodings}
    for name, encoding in encodings.items():
        batches = {"batch_config": {"encoding": encoding, "storage": {"root": f"file://{folder}/batches"}}}
        configs[name].write_text(json.dumps({**sandbox.config, **(batches if encoding else {})}))
    tap: tuple[str | Path, ...] = (python, "-m", "tap_dynamic", "--config")
    stock: tuple[str | Path, ...] = (python, "-m", "benchmarks.candidates.stock", "--config")
    later, width = ("--state", state), {"WIDTH": str(columns)}
    return {
        LATER: Candidate((*tap, configs["plain"], *later)),
        FIRST: Candidate((*tap, configs["plain"])),
        PARQUET: Candidate((*tap, configs["parquet"], *later)),
        JSONL: Candidate((*tap, configs["jsonl"], *later)),
        STOCK: Candidate((*stock, configs["plain"]), width),
        STOCK_JSONL: Candidate((*stock, configs["jsonl"]), width),
        BARE: Candidate((python, "-m", "benchmarks.candidates.bare", file)),
    }


def rehearse(python: Path, columns: int) -> None:
    """Run each candidate on a small file, and exit unless it writes every row. The first start compiles the imports."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        out = Path(folder, "messages")
        for name, candidate in make_candidates(python, Path(folder), sandbox, REHEARSAL_ROWS, columns).items():
            measure(*candidate.command, out=out, **candidate.variables)
            rows = sum(count_rows(python, json.loads(line)) for line in out.read_text().splitlines())
            if rows != REHEARSAL_ROWS:
                sys.exit(f"{name} wrote {rows} of {REHEARSAL_ROWS} rows.")


def count_rows(python: Path, message: dict[str, Any]) -> int:
    """Count the rows of users in a message."""
    if message.get("stream") != "users":
        return 0
    files = [urlsplit(url).path for url in message.get("manifest", [])]
    return int(message["type"] == "RECORD") + sum(count_batch(python, file) for file in files)


def count_batch(python: Path, file: str) -> int:
    """Count the rows of a BATCH file."""
    if file.endswith(".parquet"):
        return int(subprocess.check_output([python, "-c", COUNT_PARQUET, file]))
    return len(gzip.decompress(Path(file).read_bytes()).splitlines())


def table(summaries: list[Summary]) -> str:
    """Write the table."""
    return markdown(
        HEADER,
        (
            (
                s.name,
                f"{s.speed:,.0f}",
                f"{s.cpu_per_million:.1f}",
                f"{s.mib:.0f}",
                f"{s.time_ratio:.2f}",
                f"{s.cpu_ratio:.2f}",
            )
            for s in summaries
        ),
    )


def chart(summaries: list[Summary], options: Options) -> Chart:
    """Draw the taps' speed."""
    details = {
        LATER: "download, verify, convert",
        FIRST: "the same, and the key is verified before the first row",
        PARQUET: "to Parquet files instead of RECORD messages",
        STOCK: "the Meltano SDK's defaults and csv.DictReader",
        BARE: "local file to JSON; neither downloads, verifies nor converts",
    }
    shown = [s for name in (BARE, LATER, PARQUET, FIRST, STOCK) for s in summaries if s.name == name]
    stock = next(s for s in summaries if s.name == STOCK)
    later = next(s for s in summaries if s.name == LATER)
    return Chart(
        "tap",
        f"tap-dynamic writes {rounded(later.speed)} rows per second, {stock.time_ratio:.1f} times the stock SDK tap",
        f"{options.rows:,} rows of {options.columns} columns, whole processes, two cores; more is better",
        [bar(s, detail=details[s.name], is_tap=s.name.startswith("tap-dynamic")) for s in shown],
    )
