"""The virtual environments of the candidates, each with its own dependencies."""

from __future__ import annotations

import functools
import subprocess
from typing import TYPE_CHECKING

from sandbox.setup import install

if TYPE_CHECKING:
    from pathlib import Path


@functools.cache
def tap() -> Path:
    """Install the tap; return the interpreter."""
    return install("benchmark-tap", "--quiet", "--editable", ".[parquet]") / "python"


@functools.cache
def target_duckdb() -> Path:
    """Install the loader `target-duckdb` as meltano.yml does; return its executable."""
    return install("benchmark-target-duckdb", "--quiet", "target-duckdb~=0.8", "duckdb<1.3") / "target-duckdb"


@functools.cache
def duckdb() -> Path:
    """Install DuckDB; return the interpreter."""
    return install("benchmark-duckdb", "--quiet", "--group", "benchmark-duckdb") / "python"


@functools.cache
def dlt() -> Path:
    """Install dlt; return the interpreter."""
    return install("benchmark-dlt", "--quiet", "--group", "benchmark-dlt") / "python"


@functools.cache
def charts() -> Path:
    """Install matplotlib; return the interpreter."""
    return install("benchmark-charts", "--quiet", "--group", "benchmark-charts") / "python"


def versions() -> str:
    """Name the versions of what the tap is compared with."""
    target = target_duckdb()
    return (
        f"dlt {_version(dlt(), 'dlt')} with DuckDB {_version(dlt(), 'duckdb')},"
        f" target-duckdb {_version(target, 'target-duckdb')} with DuckDB {_version(target, 'duckdb')},"
        f" otherwise DuckDB {_version(duckdb(), 'duckdb')}"
    )


def _version(program: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version('{package}'))"
    return subprocess.check_output([program.with_name("python"), "-c", code], text=True).strip()
