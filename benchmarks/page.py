"""Writes results into docs/performance.md and docs/images."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import asdict
from typing import TYPE_CHECKING

from benchmarks import environments
from benchmarks.measure import environment
from sandbox.setup import ROOT

if TYPE_CHECKING:
    from benchmarks.results import Chart, Result

PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"


def write_result(result: Result, command: str) -> None:
    """Replace a part's table and chart.

    Args:
        result: The result of the part.
        command: The command that made it.
    """
    block = f"`{command}`:\n\n{result.table}"
    write_block(result.part, block)
    if result.chart:
        write_chart(result.chart)


def write_block(name: str, text: str) -> None:
    """Replace what is between the markers of a name in the page."""
    start, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.compile(f"{re.escape(start)}.*{re.escape(end)}", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: f"{start}\n{text}\n{end}", PAGE.read_text()))


def write_chart(chart: Chart) -> None:
    """Draw a chart."""
    IMAGES.mkdir(exist_ok=True)
    command = [environments.charts(), "-m", "benchmarks.charts", IMAGES / f"{chart.name}.svg"]
    subprocess.run(
        list(map(str, command)),
        input=json.dumps(asdict(chart)), text=True, env=environment({}), cwd=ROOT, check=True,
    )  # fmt: skip
