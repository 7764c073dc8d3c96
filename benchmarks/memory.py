"""Peak memory of the tap at several sizes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.data import users
from benchmarks.measure import measure
from benchmarks.results import Options, Result, markdown
from benchmarks.taps import FIRST, LATER, PARQUET, REHEARSAL_ROWS, make_tap_candidates
from sandbox.server import Sandbox

LARGEST = 3_000_000 / Options.rows
"""Times the rows of the other parts."""


def run(options: Options) -> Result:
    """Measure one run at each size."""
    names, lines = (LATER, FIRST, PARQUET), []
    for rows in (options.rows, round(options.rows * LARGEST)):
        with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
            candidates = make_tap_candidates(Path(folder), sandbox, users(REHEARSAL_ROWS), users(rows))
            runs = [measure(*candidates[name].command) for name in names]
        lines.append((f"{rows:,}", *(f"{run.mib:.0f} MiB, {run.seconds:.1f} s" for run in runs)))
    return Result("memory", markdown(("rows", *names), lines))
