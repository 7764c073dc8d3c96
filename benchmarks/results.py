"""What a part of the benchmarks returns: tables in Markdown, and what its chart shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.measure import Summary


@dataclass(frozen=True)
class Options:
    """What is measured.

    Args:
        rows: Rows of the file.
        changed: Percent of the rows that differ on the second night.
        pairs: Runs of each candidate.
    """

    rows: int = 98_000
    changed: float = 2
    pairs: int = 3


@dataclass(frozen=True)
class Bar:
    """A bar of a chart.

    Args:
        label: What it shows.
        value: Its length.
        text: What is written at its end.
        detail: What is written below its label.
        is_tap: Whether it belongs to this tap.
    """

    label: str
    value: float
    text: str
    detail: str
    is_tap: bool


@dataclass(frozen=True)
class Chart:
    """A chart of horizontal bars.

    Args:
        name: The name of its file.
        title: The finding.
        subtitle: What was measured.
        bars: From top to bottom.
    """

    name: str
    title: str
    subtitle: str
    bars: list[Bar] = field(default_factory=list)


@dataclass(frozen=True)
class Goal:
    """What is wanted of the tap, and what was found.

    Args:
        name: What was measured.
        found: What was found.
        least: The least that is wanted.
        most: The most.
    """

    name: str
    found: float
    least: float = 0
    most: float = math.inf

    def __str__(self) -> str:
        verdict = "met" if self.least <= self.found <= self.most else "MISSED"
        wanted = f"at most {self.most:g}" if self.most < math.inf else f"at least {self.least:g}"
        return f"{verdict}: {self.name}: {self.found:.2f}, wanted: {wanted}"


@dataclass(frozen=True)
class Result:
    """The result of a part.

    Args:
        part: Its name.
        table: What the page shows.
        chart: Its chart.
        goals: What is wanted of the tap.
    """

    part: str
    table: str
    chart: Chart | None = None
    goals: Sequence[Goal] = ()


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; numbers are aligned to the right."""
    rows = list(rows)
    alignment = ["---:" if cell[:1].isdigit() else ":---" for cell in rows[0]]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, alignment, *rows))


def compare_table(
    title: str, baseline: str, summaries: Sequence[Summary], remarks: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """Write the table of a comparison.

    Args:
        title: The header of the candidates.
        baseline: What their ratios are called by.
        summaries: The candidates.
        remarks: Further columns: for each header, a text for each candidate.
    """
    more = remarks or {}
    header = (title, "seconds", "rows per second", "CPU s", "peak MiB", f"time / {baseline}", f"CPU / {baseline}")
    lines = (
        (s.name, f"{s.seconds:.1f}", f"{s.speed:,.0f}", f"{s.cpu:.1f}", f"{s.mib:.0f}", f"{s.time_ratio:.2f}",
         f"{s.cpu_ratio:.2f}", *(texts[s.name] for texts in more.values()))
        for s in summaries
    )  # fmt: skip
    return markdown((*header, *more), lines)


def bar(summary: Summary, *, label: str = "", detail: str = "", is_tap: bool = False) -> Bar:
    """Make the bar of a candidate's speed."""
    return Bar(label or summary.name, summary.speed, f"{rounded(summary.speed)} rows/s", detail, is_tap)


def rounded(number: float) -> str:
    """Write a number with three significant digits."""
    return f"{float(f'{number:.3g}'):,.0f}"
