"""Measuring commands."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from sandbox.setup import ROOT

if TYPE_CHECKING:
    from pathlib import Path

Measurement = dict[str, float]
"""`seconds`, `cpu` seconds and `mib` of peak memory of a process, and its exit `code`."""


def measure(*command: str | Path, out: str | Path = os.devnull, **variables: str) -> Measurement:
    """Run a command and measure it; exit if it fails."""
    arguments = [sys.executable, "-S", ROOT / "benchmarks" / "launch.py", out, *command]
    # Ignore the caller's Python settings: PYTHONDONTWRITEBYTECODE would make every process compile its imports.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = {**inherited, **variables, "PYTHONPATH": str(ROOT)}
    completed = subprocess.run(
        list(map(str, arguments)), env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    measurement: Measurement = json.loads(completed.stdout)
    if measurement["code"]:
        sys.exit(f"{command} failed:\n{completed.stderr[-2000:]}")
    return measurement


def median(measurements: list[Measurement], name: str) -> float:
    """Return the median of one quantity."""
    return statistics.median(measurement[name] for measurement in measurements)


def median_ratio(measurements: list[Measurement], baseline: list[Measurement], name: str) -> float:
    """Return the median ratio of one quantity to that of the baseline, run by run."""
    return statistics.median(measured[name] / base[name] for measured, base in zip(measurements, baseline))
