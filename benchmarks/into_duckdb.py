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
from benchmarks.results import Chart, Options, Result, bar, markdown
from sandbox.server import Sandbox

if TYPE_CHECKING:
    from benchmarks.measure import Summary

HEADER = (
    "into a DuckDB table", "rows per second", "seconds", "CPU s", "peak MiB", "speed / target-duckdb", "does not",
)  # fmt: skip


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
    text = f"{table(summaries, gaps)}\n\nVersions: {environments.versions()}."
    return Result("load", text, chart(summaries, gaps, options))


def table(summaries: list[Summary], gaps: dict[str, list[str]]) -> str:
    """Write the table."""
    return markdown(
        HEADER,
        (
            (
                s.name,
                f"{s.speed:,.0f}",
                f"{s.seconds:.1f}",
                f"{s.cpu:.1f}",
                f"{s.mib:.0f}",
                f"{1 / s.time_ratio:.1f}",
                ", ".join(gaps[s.name]) or "(passes all)",
            )
            for s in summaries
        ),
    )


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
