"""Measuring commands side by side."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.setup import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Measurement:
    """What one run of a command took: `seconds`, `cpu` seconds, and `mib` of peak memory of all its processes."""

    seconds: float
    cpu: float
    mib: float


@dataclass(frozen=True)
class Candidate:
    """A command that is measured.

    Args:
        command: The command.
        variables: Its environment variables.
        prepare: Called before each run.
        verify: Called after each run; exits if it did not do its work.
        root: The checkout that it runs in.
    """

    command: tuple[str | Path, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], object] = lambda: None
    verify: Callable[[], object] = lambda: None
    root: Path = ROOT


@dataclass(frozen=True)
class Summary:
    """The medians of a candidate's runs, and the largest peak.

    Args:
        name: The candidate.
        rows: Rows that each run read.
        time_ratio: The median of its time by the baseline's, run by run.
        cpu_ratio: The same of CPU time.
    """

    name: str
    rows: int
    seconds: float
    cpu: float
    mib: float
    time_ratio: float
    cpu_ratio: float

    @property
    def speed(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds


def environment(variables: Mapping[str, str], root: Path = ROOT) -> dict[str, str]:
    """Return the environment of a candidate, which imports from a checkout.

    It leaves out the caller's Python settings: PYTHONDONTWRITEBYTECODE would make every process compile its imports.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**inherited, **variables, "PYTHONPATH": str(root)}


def measure(*command: str | Path, out: str | Path = os.devnull, root: Path = ROOT, **variables: str) -> Measurement:
    """Run a command in a checkout and measure it; exit if it fails."""
    arguments = [sys.executable, "-S", ROOT / "benchmarks" / "launch.py", out, *command]
    completed = subprocess.run(
        list(map(str, arguments)),
        env=environment(variables, root),
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(completed.stdout)
    if report.pop("code"):
        sys.exit(f"{command} failed:\n{completed.stderr[-2000:]}")
    return Measurement(**report)


def bash(line: str) -> tuple[str, ...]:
    """Return a command that fails if any part of a pipeline does."""
    return "bash", "-o", "pipefail", "-c", line


def compare(candidates: Mapping[str, Candidate], baseline: str, rows: int, pairs: int) -> list[Summary]:
    """Measure candidates in turn, in alternating order.

    Args:
        candidates: What is measured, by name.
        baseline: The one that the others are compared with.
        rows: Rows that each run reads.
        pairs: Runs of each.
    """
    runs: dict[str, list[Measurement]] = {name: [] for name in candidates}
    for turn in range(pairs):
        for name in reversed(list(candidates)) if turn % 2 else candidates:
            candidate = candidates[name]
            candidate.prepare()
            runs[name].append(measure(*candidate.command, root=candidate.root, **candidate.variables))
            candidate.verify()
            print(f"  {name}: {runs[name][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    return [summarize(name, rows, measured, runs[baseline]) for name, measured in runs.items()]


def summarize(name: str, rows: int, runs: list[Measurement], baseline: list[Measurement]) -> Summary:
    """Summarize the runs of one candidate; see `Summary`."""
    return Summary(
        name,
        rows,
        seconds=statistics.median(run.seconds for run in runs),
        cpu=statistics.median(run.cpu for run in runs),
        mib=max(run.mib for run in runs),
        time_ratio=statistics.median(run.seconds / base.seconds for run, base in zip(runs, baseline)),
        cpu_ratio=statistics.median(run.cpu / base.cpu for run, base in zip(runs, baseline)),
    )
