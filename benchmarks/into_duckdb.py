"""From an export to a DuckDB table, in four ways."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environments
from benchmarks.checks import find_gaps
from benchmarks.data import digest, users
from benchmarks.loaders import BY_HAND, PARQUET, RECORD, install_loaders, verify_table
from benchmarks.measure import Candidate, compare
from benchmarks.results import Chart, Options, Result, bar, compare_table
from sandbox.server import Sandbox

if TYPE_CHECKING:
    from benchmarks.measure import Summary


def run(options: Options) -> Result:
    """Compare the ways."""
    gaps = find_gaps()
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        data = users(options.rows, linked=True)  # target-duckdb can't load a key with an empty part
        sandbox.add("users", data)
        checksum = digest(data)
        candidates = {
            loader.name: Candidate(
                loader.command, loader.variables, loader.reset, partial(verify_table, loader, options.rows, checksum)
            )
            for loader in install_loaders(Path(folder), sandbox)
        }
        summaries = compare(candidates, RECORD, options.rows, options.pairs)
    does_not = {name: ", ".join(failed) or "(passes all)" for name, failed in gaps.items()}
    table = compare_table("into a DuckDB table", "target-duckdb", summaries, {"does not": does_not})
    return Result("load", f"{table}\n\nVersions: {environments.versions()}.", chart(summaries, gaps, options))


def chart(summaries: list[Summary], gaps: dict[str, list[str]], options: Options) -> Chart:
    """Draw the speed of each way."""
    parquet = next(s for s in summaries if s.name == PARQUET)
    by_hand = next(s for s in summaries if s.name == BY_HAND)
    return Chart(
        "load",
        f"Parquet loads a DuckDB table {1 / parquet.time_ratio:.1f} times as fast as target-duckdb",
        f"{options.rows:,} rows from the API to a table, first load, two cores; more is"
        f" better.\nThe limit, a script without the tap's checks, is {parquet.seconds / by_hand.seconds:.1f} times as"
        " fast as Parquet.",
        [
            bar(
                s,
                detail=f"does not pass: {', '.join(gaps[s.name])}" if gaps[s.name] else "passes all checks",
                is_tap=s.name.startswith("tap-dynamic"),
            )
            for s in sorted(summaries, key=lambda s: -s.speed)
        ],
    )
