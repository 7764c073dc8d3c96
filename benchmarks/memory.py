"""Peak memory of the tap at several sizes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.data import users
from benchmarks.measure import measure
from benchmarks.results import Goal, Options, Result, markdown
from benchmarks.taps import FIRST, LATER, PARQUET, REHEARSAL_ROWS, make_tap_candidates
from sandbox.server import Sandbox

LARGEST = 3_000_000 / Options.rows
"""Times the rows of the other parts."""


def run(options: Options) -> Result:
    """Measure one run at each size."""
    names, lines, peak = (LATER, FIRST, PARQUET), [], 0.0
    for rows in (options.rows, round(options.rows * LARGEST)):
        with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
            candidates = make_tap_candidates(Path(folder), sandbox, users(REHEARSAL_ROWS), users(rows))
            runs = [measure(*candidates[name].command) for name in names]
        peak = max(peak, *(run.mib for run in runs[:2]))
        lines.append((f"{rows:,}", *(f"{run.mib:.0f} MiB, {run.seconds:.1f} s" for run in runs)))
    goal = Goal("peak MiB without Parquet", peak, most=80)
    return Result("memory", markdown(("rows", *names), lines), goals=[goal])
