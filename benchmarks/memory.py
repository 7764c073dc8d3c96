"""Peak memory of the tap at several sizes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import environments
from benchmarks.measure import measure
from benchmarks.results import Options, Result, markdown
from benchmarks.taps import FIRST, LATER, PARQUET, make_candidates
from sandbox.server import Sandbox

FACTORS = (1 / 6, 1, 5)


def run(options: Options) -> Result:
    """Measure one run at each size."""
    python, names = environments.tap(), (LATER, FIRST, PARQUET)
    lines = []
    for rows in (round(options.rows * factor) for factor in FACTORS):
        with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
            candidates = make_candidates(python, Path(folder), sandbox, rows, options.columns)
            runs = [measure(*candidates[name].command) for name in names]
        lines.append((f"{rows:,}", *(f"{run.mib:.0f} MiB, {run.seconds:.1f} s" for run in runs)))
    return Result("memory", markdown(("rows", *names), lines))
