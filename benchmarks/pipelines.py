"""What Meltano and the tap add to a load: the target fed by the tap, and by `cat` of the same messages."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environments
from benchmarks.data import users
from benchmarks.measure import Candidate, compare, measure
from benchmarks.nights import bash
from benchmarks.results import Options, Result, markdown
from sandbox.server import Sandbox
from sandbox.setup import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

MELTANO, MELTANO_CAT = "`meltano run tap-dynamic`", "`meltano run`, `cat` as the extractor"
PIPE, PIPE_CAT = "`tap-dynamic` into the target", "`cat` into the target"


def run(options: Options) -> Result:
    """Compare the pipelines."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        sandbox.add("users", users(options.rows, options.columns))
        summaries = compare(make_candidates(Path(folder), sandbox), PIPE_CAT, options.rows, options.pairs)
    table = markdown(
        ("into target-duckdb", "seconds", "rows per second", "time / `cat`"),
        ((s.name, f"{s.seconds:.1f}", f"{s.speed:,.0f}", f"{s.time_ratio:.2f}") for s in summaries),
    )
    return Result("meltano", table)


def make_candidates(folder: Path, sandbox: Sandbox) -> dict[str, Candidate]:
    """Install a Meltano project and make the candidates."""
    config, messages, settings, cat = (folder / name for name in ("config.json", "messages", "target.json", "cat"))
    config.write_text(json.dumps(sandbox.config))
    measure(environments.tap(), "-m", "tap_dynamic", "--config", config, out=messages)
    cat.write_text(f"#!/bin/sh\nexec cat {messages}\n")
    cat.chmod(0o755)
    run_meltano = install_project(folder, cat, sandbox.variables)
    tap = folder / ".meltano" / "extractors" / "tap-dynamic" / "venv" / "bin" / "tap-dynamic"
    target = folder / ".meltano" / "loaders" / "target-duckdb" / "venv" / "bin" / "target-duckdb"
    for program in (tap, target):
        measure(program, "--help")  # the first start compiles the imports
    database = folder / "output.duckdb"
    settings.write_text(json.dumps({"filepath": str(database), "default_target_schema": "dynamic"}))
    commands: dict[str, tuple[str | Path, ...]] = {
        MELTANO: (*run_meltano, "run", "--full-refresh", "tap-dynamic", "target-duckdb"),
        MELTANO_CAT: (*run_meltano, "run", "--full-refresh", "tap-cat", "target-duckdb"),
        PIPE: bash(f"{tap} --config {config} | {target} --config {settings}"),
        PIPE_CAT: bash(f"cat {messages} | {target} --config {settings}"),
    }
    variables = {**sandbox.variables, "TARGET_DUCKDB_FILEPATH": str(database)}
    return {
        name: Candidate(command, variables, prepare=lambda: database.unlink(missing_ok=True))
        for name, command in commands.items()
    }


def install_project(folder: Path, cat: Path, variables: Mapping[str, str]) -> tuple[str | Path, ...]:
    """Install a copy of meltano.yml with a regular installation of the tap, and `cat` as another extractor."""
    project = (ROOT / "meltano.yml").read_text().replace("pip_url: -e .\n", f"pip_url: {ROOT}\n")
    project = project.replace(
        "  extractors:\n", f"  extractors:\n    - {{name: tap-cat, namespace: tap_cat, executable: {cat}}}\n"
    )
    (folder / "meltano.yml").write_text(project)
    run_meltano = (environments.meltano(), "--log-level=error", "--cwd", folder)
    measure(*run_meltano, "install", **variables)
    return run_meltano
