"""The tap beside one built with the SDK's defaults, and beside a minimal loop."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import environments
from benchmarks.data import count_differences, parse, users
from benchmarks.measure import Candidate, Summary, bash, compare, measure
from benchmarks.results import Chart, Goal, Options, Result, bar, compare_table, rounded
from sandbox.server import Sandbox
from sandbox.setup import ROOT

LATER, FIRST = "tap-dynamic, later load", "tap-dynamic, first load"
CHANGES, PARQUET = "tap-dynamic, changes only", "tap-dynamic, BATCH Parquet"
STOCK, BARE = "stock SDK tap", "bare loop"
REHEARSAL_ROWS = 2_000
COUNT_PARQUET = "import sys; from pyarrow import parquet; print(parquet.read_metadata(sys.argv[1]).num_rows)"


def run(options: Options) -> Result:
    """Compare the taps at two sizes; what a start costs counts only at the smaller one."""
    rehearse()
    sizes = {options.rows: options.pairs, 10 * options.rows: max(1, options.pairs // 2)}
    results = {rows: compare_taps(rows, options.changed, pairs) for rows, pairs in sizes.items()}
    tables = (compare_table(f"{rows:,} rows", "later load", summaries) for rows, summaries in results.items())
    goals = [goal for summaries in results.values() for goal in find_goals(summaries)]
    return Result("tap", "\n\n".join(tables), chart(results[10 * options.rows]), goals)


def compare_taps(rows: int, changed: float, pairs: int) -> list[Summary]:
    """Compare the taps at one size."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        nights = users(rows), users(rows, changed=changed)
        ours = make_tap_candidates(Path(folder), sandbox, *nights)
        return compare({**ours, **make_others(Path(folder), nights[1])}, LATER, rows, pairs)


def make_tap_candidates(
    folder: Path, sandbox: Sandbox, before: bytes, after: bytes, root: Path = ROOT
) -> dict[str, Candidate]:
    """Load a first night, and make the candidates that load the second.

    Args:
        folder: Holds their settings.
        sandbox: Gets the exports.
        before: The export of the first night.
        after: That of the second.
        root: The checkout whose tap is run.
    """
    state, message, batches = folder / "state.json", folder / "message.json", folder / "batches"
    batch_config = {"encoding": {"format": "parquet"}, "storage": {"root": f"file://{batches}"}}
    settings: dict[str, dict[str, Any]] = {
        "plain": {},
        "changes": {"changes_only": True},
        "parquet": {"batch_config": batch_config},
    }
    configs = {name: folder / f"{name}.json" for name in settings}
    for name, extra in settings.items():
        configs[name].write_text(json.dumps({**sandbox.config, **extra}))
    tap: tuple[str | Path, ...] = (environments.tap(), "-m", "tap_dynamic", "--config")
    later = ("--state", state)

    sandbox.add("users", before)
    measure(*bash(f"{' '.join(map(str, tap))} {configs['changes']} | tail -n 1"), out=message, root=root)
    state.write_text(json.dumps(json.loads(message.read_text())["value"]))
    sandbox.add("users", after)
    commands = {
        LATER: (*tap, configs["plain"], *later),
        FIRST: (*tap, configs["plain"]),
        CHANGES: (*tap, configs["changes"], *later),
        PARQUET: (*tap, configs["parquet"], *later),
    }
    prepare = partial(shutil.rmtree, batches, ignore_errors=True)
    return {name: Candidate(command, prepare=prepare, root=root) for name, command in commands.items()}


def make_others(folder: Path, data: bytes) -> dict[str, Candidate]:
    """Make the other candidates; the bare loop reads the file from disk."""
    file = folder / "users.csv"
    file.write_bytes(data)
    candidates = f"{environments.tap()} -m benchmarks.candidates"
    return {
        STOCK: Candidate(bash(f"{candidates}.stock --config {folder / 'plain.json'}")),
        BARE: Candidate(bash(f"{candidates}.bare {file}")),
    }


def rehearse() -> None:
    """Run each candidate on a small file, and exit unless it writes every row. The first start compiles the imports."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        nights, out = (users(REHEARSAL_ROWS), users(REHEARSAL_ROWS, changed=10)), Path(folder, "messages")
        ours = make_tap_candidates(Path(folder), sandbox, *nights)
        for name, candidate in {**ours, **make_others(Path(folder), nights[1])}.items():
            measure(*candidate.command, out=out)
            rows = sum(count_rows(json.loads(line)) for line in out.read_text().splitlines())
            expected = count_differences(*nights) if name == CHANGES else len(parse(nights[1]))
            if rows != expected:
                sys.exit(f"{name} wrote {rows} of {expected} rows.")


def count_rows(message: dict[str, Any]) -> int:
    """Count the rows of users in a message."""
    if message.get("stream") != "users":
        return 0
    files = [urlsplit(url).path for url in message.get("manifest", [])]
    counts = (subprocess.check_output([environments.tap(), "-c", COUNT_PARQUET, file]) for file in files)
    return int(message["type"] == "RECORD") + sum(map(int, counts))


def find_goals(summaries: list[Summary]) -> list[Goal]:
    """Compare the ratios with what is wanted."""
    by_name = {summary.name: summary for summary in summaries}
    first, stock = by_name[FIRST], by_name[STOCK]
    rows = f"{first.rows:,} rows"
    return [
        Goal(f"{rows}, first load / later load, time", first.time_ratio, most=1.7),
        Goal(f"{rows}, stock tap / later load, time", stock.time_ratio, least=8),
        Goal(f"{rows}, stock tap / later load, CPU", stock.cpu_ratio, least=8),
    ]


def chart(summaries: list[Summary]) -> Chart:
    """Draw the taps' speed."""
    details = {
        BARE: "local file to JSON; neither downloads, verifies nor converts",
        LATER: "download, verify, convert",
        PARQUET: "to Parquet files instead of RECORD messages",
        FIRST: "the same, and key and types are verified before the first row",
        STOCK: "the Meltano SDK's defaults and csv.DictReader",
    }
    by_name = {summary.name: summary for summary in summaries}
    later, stock = by_name[LATER], by_name[STOCK]
    return Chart(
        "tap",
        f"tap-dynamic writes {rounded(later.speed)} rows per second, {stock.time_ratio:.1f} times the stock SDK tap",
        f"{later.rows:,} rows of 38 columns, whole processes, two cores; more is better",
        [bar(by_name[name], detail=details[name], is_tap=name.startswith("tap-dynamic")) for name in details],
    )
