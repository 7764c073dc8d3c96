"""`python3 -m benchmarks`: this tap beside the stock way, the bare loop, and in a pipeline beside `cat`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.data import users
from sandbox.server import Sandbox
from sandbox.setup import ROOT, install

Cost = dict[str, float]


def launch(*command: str | Path, out: str | Path = os.devnull, **variables: str) -> Cost:
    """Run a command; what it cost: `seconds`, `cpu` seconds, and `mib` of peak memory."""
    words = [sys.executable, "-S", ROOT / "benchmarks" / "launch.py", out, *command]
    # Python's own defaults: a shell that forbids bytecode would have each process compile all it imports.
    shell = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = {**shell, **variables, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(list(map(str, words)), env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    cost: Cost = json.loads(done.stdout)
    if cost["code"]:
        sys.exit(f"{command} failed:\n{done.stderr[-2000:]}")
    return cost


def middle(costs: list[Cost], name: str) -> float:
    """The median of a cost."""
    return statistics.median(cost[name] for cost in costs)


def rows_side_by_side(python: Path, rows: int, width: int, pairs: int, *, with_stock: bool) -> None:
    """Print a line for each way, at one size."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        file, config = Path(folder, "users.csv"), Path(folder, "config.json")
        file.write_bytes(sandbox.add("users", users(rows, width)).data)
        config.write_text(json.dumps(sandbox.config))
        options = ("--config", config)
        ways: dict[str, tuple[str | Path, ...]] = {"tap-dynamic": (python, "-m", "tap_dynamic", *options)}
        if with_stock:
            ways["stock SDK tap"] = (python, "-m", "benchmarks.stock", *options)
            storage = {
                "encoding": {"format": "jsonl", "compression": "gzip"},
                "storage": {"root": f"file://{folder}/batches"},
            }
            batches = Path(folder, "batches.json")
            batches.write_text(json.dumps({**sandbox.config, "batch_config": storage}))
            ways["tap-dynamic, BATCH"] = (python, "-m", "tap_dynamic", "--config", batches)
            ways["stock SDK tap, BATCH"] = (python, "-m", "benchmarks.stock", "--config", batches)
        ways["bare loop"] = (python, "-m", "benchmarks.bare", file)
        costs: dict[str, list[Cost]] = {way: [] for way in ways}
        for _ in range(pairs):
            for way, command in ways.items():
                costs[way].append(launch(*command, WIDTH=str(width)))
    for way, of in costs.items():
        ratios = [
            f"{statistics.median(theirs[n] / ours[n] for ours, theirs in zip(costs['tap-dynamic'], of)):.2f}"
            for n in ("seconds", "cpu")
        ]
        speed, cpu = rows / middle(of, "seconds"), middle(of, "cpu") / rows * 1e6
        peak = max(cost["mib"] for cost in of)
        print(
            f"| {way} | {rows:,} x {width} | {speed:,.0f} | {cpu:.1f} | {peak:.0f} | {ratios[0]} | {ratios[1]} |",
            flush=True,
        )


def pipeline(python: Path, rows: int, pairs: int) -> None:
    """Print what this tap adds to the time of a target, beside `cat` of the same messages, with and without Meltano."""
    meltano = install("meltano", "meltano>=4,<5") / "meltano"
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        sandbox.add("users", users(rows, 11))
        config, messages, settings, cat = (Path(folder, n) for n in ("config.json", "messages", "target.json", "cat"))
        config.write_text(json.dumps(sandbox.config))
        launch(python, "-m", "tap_dynamic", "--config", config, out=messages)
        cat.write_text(f"#!/bin/sh\nexec cat {messages}\n")
        cat.chmod(0o755)
        # Installed as users do, and `cat` as an extractor.
        project = (ROOT / "meltano.yml").read_text().replace("pip_url: -e .\n", f"pip_url: {ROOT}\n")
        project = project.replace(
            "  extractors:\n", f"  extractors:\n    - {{name: tap-cat, namespace: tap_cat, executable: {cat}}}\n"
        )
        Path(folder, "meltano.yml").write_text(project)
        here = (meltano, "--log-level=error", "--cwd", folder)
        launch(*here, "install", **sandbox.variables)
        tap = Path(folder, ".meltano", "extractors", "tap-dynamic", "venv", "bin", "tap-dynamic")
        target = Path(folder, ".meltano", "loaders", "target-duckdb", "venv", "bin", "target-duckdb")
        for program in (tap, target):
            launch(program, "--help")  # the first start compiles what it imports
        base = Path(folder, "output.duckdb")
        settings.write_text(json.dumps({"filepath": str(base), "default_target_schema": "dynamic"}))
        ways: dict[str, tuple[str | Path, ...]] = {
            "`meltano run tap-dynamic`": (*here, "run", "--full-refresh", "tap-dynamic", "target-duckdb"),
            "`meltano run`, `cat` as the extractor": (*here, "run", "--full-refresh", "tap-cat", "target-duckdb"),
            "`tap-dynamic` into the target": ("sh", "-c", f"{tap} --config {config} | {target} --config {settings}"),
            "`cat` into the target": ("sh", "-c", f"cat {messages} | {target} --config {settings}"),
        }
        costs: dict[str, list[Cost]] = {way: [] for way in ways}
        for _ in range(pairs):
            for way, command in ways.items():
                costs[way].append(launch(*command, **sandbox.variables, TARGET_DUCKDB_FILEPATH=str(base)))
                base.unlink()
    print(f"\n| into target-duckdb, {rows:,} rows | seconds | rows a second | time / `cat` in Meltano | time / `cat` |")
    print("|:----|-----:|-----:|-----:|-----:|")
    _, cat_in_meltano, _, bare = costs.values()
    for way, of in costs.items():
        ratios = [statistics.median(a["seconds"] / b["seconds"] for a, b in zip(of, c)) for c in (cat_in_meltano, bare)]
        seconds = middle(of, "seconds")
        print(f"| {way} | {seconds:.1f} | {rows / seconds:,.0f} | {ratios[0]:.3f} | {ratios[1]:.3f} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks", description=__doc__)
    sizes = ["200000x24", "100000x11", "600000x11", "1000000x11", "3000000x11"]
    parser.add_argument("--sizes", nargs="*", default=sizes, help="rows x columns (eleven or more)")
    parser.add_argument("--pairs", type=int, default=3, help="paired runs of each way")
    parser.add_argument("--stock-up-to", type=int, default=600_000, help="rows: the stock tap is slow")
    parser.add_argument("--pipeline", type=int, default=600_000, help="rows of the pipeline, 0 for none")
    options = parser.parse_args()
    python = install("dev", "--quiet", "--editable", ".", "--group", "dev") / "python"
    for module in ("tap_dynamic", "benchmarks.stock"):
        launch(python, "-m", module, "--help", WIDTH="11")  # the first start compiles what it imports
    print(
        "| way | rows x columns | rows a second | CPU s / M rows | peak MiB | time / tap-dynamic | CPU / tap-dynamic |"
    )
    print(
        "|:----|---------------:|--------------:|---------------:|---------:|-------------------:|------------------:|"
    )
    for size in options.sizes:
        rows, width = map(int, size.split("x"))
        rows_side_by_side(python, rows, width, options.pairs, with_stock=rows <= options.stock_up_to)
    if options.pipeline and shutil.which("sh"):
        pipeline(python, options.pipeline, options.pairs)


main()
