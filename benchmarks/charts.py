"""Draw a chart as SVG: `python -m benchmarks.charts FILE < chart.json`. Needs matplotlib."""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

INK, MUTED, OURS, OTHERS, PAPER, EDGE = "#1f2328", "#59636e", "#2f6feb", "#afb8c1", "#ffffff", "#d1d9e0"
WIDTH, BAR_SPACE, TITLE, SUBTITLE_LINE, BOTTOM = 9.0, 0.58, 0.5, 0.2, 0.15
"""Inches: of the chart, for each bar, the title and each line below it, and below the bars."""
BARS_FROM, BARS_TO = 0.4, 0.84
"""Fractions of the width."""

mpl.rcParams.update(
    {
        "svg.hashsalt": "tap-dynamic",
        "svg.fonttype": "none",
        "font.family": ["sans-serif"],
        "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    }
)


def draw(chart: dict[str, Any], file: str) -> None:
    """Draw a chart.

    Args:
        chart: A `benchmarks.results.Chart` as JSON.
        file: The SVG that is written.
    """
    bars = chart["bars"]
    top = TITLE + SUBTITLE_LINE * len(chart["subtitle"].splitlines())
    height = top + BAR_SPACE * len(bars) + BOTTOM
    figure = Figure(figsize=(WIDTH, height))
    figure.patch.set_alpha(0)
    figure.add_artist(
        FancyBboxPatch(
            (0.006, 0.015), 0.988, 0.97, "round,pad=0,rounding_size=0.02", transform=figure.transFigure,
            mutation_aspect=WIDTH / height, zorder=-1, facecolor=PAPER, edgecolor=EDGE,
        )
    )  # fmt: skip
    figure.text(0.025, 1 - 0.34 / height, chart["title"], color=INK, size=12.5, weight="bold")
    figure.text(0.025, 1 - 0.44 / height, chart["subtitle"], color=MUTED, size=9, va="top", linespacing=1.5)
    axes = figure.add_axes((BARS_FROM, BOTTOM / height, BARS_TO - BARS_FROM, BAR_SPACE * len(bars) / height))
    axes.set_axis_off()
    axes.set_xlim(0, max(bar["value"] for bar in bars))
    axes.set_ylim(len(bars) - 0.5, -0.5)
    for row, bar in enumerate(bars):
        axes.barh(row, bar["value"], height=0.56, color=OURS if bar["is_tap"] else OTHERS)
        axes.annotate(
            bar["text"], (bar["value"], row), (6, 0), textcoords="offset points", va="center", color=INK, size=9.5,
            weight="bold" if bar["is_tap"] else "normal",
        )  # fmt: skip
        label = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "ha": "right"}
        axes.annotate(bar["label"], (0, row), (-8, 2), va="baseline", color=INK, size=10, **label)
        axes.annotate(bar["detail"], (0, row), (-8, -4), va="top", color=MUTED, size=7.5, **label)
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    draw(json.load(sys.stdin), sys.argv[1])
