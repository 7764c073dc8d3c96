"""A later night into target-duckdb: all rows beside only those that changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.data import users
from benchmarks.measure import Measurement, measure, median, median_ratio
from sandbox.server import Sandbox
from sandbox.setup import install


def compare_nights(python: Path, rows: int, changed: float, pairs: int) -> None:
    """Print what a night costs with and without `changes_only`.

    Args:
        python: The interpreter that runs the tap.
        rows: Rows of the file.
        changed: Share of the rows that changed since the night before.
        pairs: Runs of each candidate.
    """
    target = install("target-duckdb", "--quiet", "target-duckdb~=0.8", "duckdb<1.3") / "target-duckdb"
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        sandbox.add("users", users(rows, 11))
        loaded, database, settings, state = (Path(folder, n) for n in ("loaded", "night.duckdb", "target", "state"))
        settings.write_text(json.dumps({"filepath": str(database), "default_target_schema": "dynamic"}))
        configs = {name: Path(folder, name) for name in ("full", "changes")}
        for name, config in configs.items():
            config.write_text(json.dumps({**sandbox.config, "changes_only": name == "changes"}))
        command = f"{python} -m tap_dynamic --config {configs['changes']} | {target} --config {settings}"
        states = subprocess.run(["sh", "-c", command], capture_output=True, check=True, text=True).stdout  # noqa: S607
        state.write_text(states.splitlines()[-1])
        shutil.copy(database, loaded)
        sandbox.add("users", users(rows, 11, changed=changed))
        candidates = {
            f"{name}{pipe}": f"{python} -m tap_dynamic --config {config} --state {state} {into}"
            for name, config in configs.items()
            for pipe, into in ((" into the target", f"| {target} --config {settings}"), (", the tap alone", ""))
        }
        results: dict[str, list[Measurement]] = {name: [] for name in candidates}
        for _ in range(pairs):
            for name, line in candidates.items():
                shutil.copy(loaded, database)
                results[name].append(measure("sh", "-c", line))
    for name, measurements in results.items():
        ratio = median_ratio(measurements, results["full into the target"], "seconds")
        peak = max(measurement["mib"] for measurement in measurements)
        seconds, cpu = median(measurements, "seconds"), median(measurements, "cpu")
        print(
            f"| {name} | {rows:,} | {changed:.0%} | {seconds:.1f} | {cpu:.1f} | {peak:.0f} | {ratio:.3f} |", flush=True
        )
