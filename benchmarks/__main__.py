"""Compare the speed and memory of this tap with a stock SDK tap, a minimal loop and, in a pipeline, `cat`."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from benchmarks.data import users
from benchmarks.measure import Measurement, measure, median, median_ratio
from benchmarks.nights import compare_nights
from sandbox.server import Sandbox
from sandbox.setup import ROOT, install

Command = tuple[str | Path, ...]


def compare_taps(python: Path, rows: int, width: int, pairs: int, *, with_stock: bool) -> None:
    """Print a line for each candidate, at one size."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        file, config = Path(folder, "users.csv"), Path(folder, "config.json")
        file.write_bytes(sandbox.add("users", users(rows, width)).data)
        config.write_text(json.dumps(sandbox.config))
        options = ("--config", config)
        later = Path(folder, "state.json")
        later.write_text(json.dumps({"bookmarks": {"users": {"key_properties": ["id"]}}}))
        candidates: dict[str, Command] = {
            "tap-dynamic": (python, "-m", "tap_dynamic", *options, "--state", later),
            "tap-dynamic, first load": (python, "-m", "tap_dynamic", *options),
        }
        if with_stock:
            candidates["stock SDK tap"] = (python, "-m", "benchmarks.stock", *options)
            batch_config = {
                "encoding": {"format": "jsonl", "compression": "gzip"},
                "storage": {"root": f"file://{folder}/batches"},
            }
            batches = Path(folder, "batches.json")
            batches.write_text(json.dumps({**sandbox.config, "batch_config": batch_config}))
            candidates["tap-dynamic, BATCH"] = (python, "-m", "tap_dynamic", "--config", batches)
            candidates["stock SDK tap, BATCH"] = (python, "-m", "benchmarks.stock", "--config", batches)
        candidates["bare loop"] = (python, "-m", "benchmarks.bare", file)
        results: dict[str, list[Measurement]] = {name: [] for name in candidates}
        for _ in range(pairs):
            for name, command in candidates.items():
                results[name].append(measure(*command, WIDTH=str(width)))
    for name, measurements in results.items():
        time_ratio, cpu_ratio = (median_ratio(measurements, results["tap-dynamic"], n) for n in ("seconds", "cpu"))
        speed, cpu = rows / median(measurements, "seconds"), median(measurements, "cpu") / rows * 1e6
        peak = max(measurement["mib"] for measurement in measurements)
        print(
            f"| {name} | {rows:,} x {width} | {speed:,.0f} | {cpu:.1f} | {peak:.0f}"
            f" | {time_ratio:.2f} | {cpu_ratio:.2f} |",
            flush=True,
        )


def compare_pipelines(python: Path, rows: int, pairs: int) -> None:
    """Print the duration of a load by this tap, and by `cat` of the same messages, with and without Meltano."""
    meltano = install("meltano", "meltano>=4,<5") / "meltano"
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        sandbox.add("users", users(rows, 11))
        config, messages, settings, cat = (Path(folder, n) for n in ("config.json", "messages", "target.json", "cat"))
        config.write_text(json.dumps(sandbox.config))
        measure(python, "-m", "tap_dynamic", "--config", config, out=messages)
        cat.write_text(f"#!/bin/sh\nexec cat {messages}\n")
        cat.chmod(0o755)
        # A regular installation of the tap instead of an editable one, and `cat` as another extractor.
        project = (ROOT / "meltano.yml").read_text().replace("pip_url: -e .\n", f"pip_url: {ROOT}\n")
        project = project.replace(
            "  extractors:\n", f"  extractors:\n    - {{name: tap-cat, namespace: tap_cat, executable: {cat}}}\n"
        )
        Path(folder, "meltano.yml").write_text(project)
        run_meltano = (meltano, "--log-level=error", "--cwd", folder)
        measure(*run_meltano, "install", **sandbox.variables)
        tap = Path(folder, ".meltano", "extractors", "tap-dynamic", "venv", "bin", "tap-dynamic")
        target = Path(folder, ".meltano", "loaders", "target-duckdb", "venv", "bin", "target-duckdb")
        for program in (tap, target):
            measure(program, "--help")  # warm-up: the first start compiles the imports
        database = Path(folder, "output.duckdb")
        settings.write_text(json.dumps({"filepath": str(database), "default_target_schema": "dynamic"}))
        candidates: dict[str, Command] = {
            "`meltano run tap-dynamic`": (*run_meltano, "run", "--full-refresh", "tap-dynamic", "target-duckdb"),
            "`meltano run`, `cat` as the extractor": (
                *run_meltano, "run", "--full-refresh", "tap-cat", "target-duckdb",
            ),
            "`tap-dynamic` into the target": ("sh", "-c", f"{tap} --config {config} | {target} --config {settings}"),
            "`cat` into the target": ("sh", "-c", f"cat {messages} | {target} --config {settings}"),
        }  # fmt: skip
        results: dict[str, list[Measurement]] = {name: [] for name in candidates}
        for _ in range(pairs):
            for name, command in candidates.items():
                results[name].append(measure(*command, **sandbox.variables, TARGET_DUCKDB_FILEPATH=str(database)))
                database.unlink()
    print(
        f"\n| into target-duckdb, {rows:,} rows | seconds | rows per second | time / `cat` in Meltano | time / `cat` |"
    )
    print("|:----|-----:|-----:|-----:|-----:|")
    _, cat_in_meltano, _, cat_alone = results.values()
    for name, measurements in results.items():
        ratios = [median_ratio(measurements, baseline, "seconds") for baseline in (cat_in_meltano, cat_alone)]
        seconds = median(measurements, "seconds")
        print(f"| {name} | {seconds:.1f} | {rows / seconds:,.0f} | {ratios[0]:.3f} | {ratios[1]:.3f} |", flush=True)


def main() -> None:
    """Run the benchmarks and print the tables."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks", description=__doc__)
    sizes = ["200000x24", "100000x11", "600000x11", "1000000x11", "3000000x11"]
    parser.add_argument("--sizes", nargs="*", default=sizes, help="rows x columns (at least eleven)")
    parser.add_argument("--pairs", type=int, default=3, help="number of runs of each candidate")
    parser.add_argument("--stock-up-to", type=int, default=600_000, help="largest number of rows for the stock tap")
    parser.add_argument("--pipeline", type=int, default=600_000, help="rows of the pipeline benchmark, 0 to skip it")
    parser.add_argument("--nights", nargs="*", default=["600000x2"], help="rows x percent that changed")
    options = parser.parse_args()
    python = install("dev", "--quiet", "--editable", ".", "--group", "dev") / "python"
    for module in ("tap_dynamic", "benchmarks.stock"):
        measure(python, "-m", module, "--help", WIDTH="11")  # warm-up: the first start compiles the imports
    print(
        "| candidate | rows x columns | rows per second | CPU s / M rows | peak MiB"
        " | time / tap-dynamic | CPU / tap-dynamic |"
    )
    print(
        "|:----------|---------------:|----------------:|---------------:|---------:"
        "|-------------------:|------------------:|"
    )
    for size in options.sizes:
        rows, width = map(int, size.split("x"))
        compare_taps(python, rows, width, options.pairs, with_stock=rows <= options.stock_up_to)
    if options.pipeline and shutil.which("sh"):
        compare_pipelines(python, options.pipeline, options.pairs)
    if options.nights and shutil.which("sh"):
        print("\n| a later night, target-duckdb | rows | changed | seconds | CPU s | peak MiB | time / full load |")
        print("|:----|-----:|-----:|-----:|-----:|-----:|-----:|")
        for night in options.nights:
            rows, percent = night.split("x")
            compare_nights(python, int(rows), float(percent) / 100, options.pairs)


main()
