"""This checkout's tap beside that of another one, on the same files and with the same dependencies."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.data import users
from benchmarks.measure import compare
from benchmarks.results import Options, Result, markdown
from benchmarks.taps import make_tap_candidates
from sandbox.server import Sandbox
from sandbox.setup import ROOT

HEADER = ("load", "CPU s here", "there", "CPU here / there", "time here / there", "peak MiB here", "there")


def run(options: Options, other: Path) -> Result:
    """Compare the checkouts."""
    nights = users(options.rows), users(options.rows, changed=options.changed)
    lines = []
    with (
        tempfile.TemporaryDirectory() as here, Sandbox() as sandbox,
        tempfile.TemporaryDirectory() as there, Sandbox() as other_sandbox,
    ):  # fmt: skip
        ours = make_tap_candidates(Path(here), sandbox, *nights, root=ROOT)
        theirs = make_tap_candidates(Path(there), other_sandbox, *nights, root=other.resolve())
        for name in ours:
            pair = {f"{name}, here": ours[name], f"{name}, there": theirs[name]}
            a, b = compare(pair, f"{name}, there", options.rows, options.pairs)
            lines.append((
                name, f"{a.cpu:.2f}", f"{b.cpu:.2f}", f"{a.cpu_ratio:.2f}", f"{a.time_ratio:.2f}", f"{a.mib:.0f}",
                f"{b.mib:.0f}",
            ))  # fmt: skip
    return Result("against", markdown(HEADER, lines))
