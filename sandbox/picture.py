"""Draw the demo as an SVG: `python3 -m sandbox.picture docs/images/demo.svg`."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from sandbox.setup import ROOT
from sandbox.terminal import STYLES, display_width

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = 80
PROMPT = "$ python3 -m sandbox.demo"
CELL_WIDTH, LINE_HEIGHT = 8.4, 18
MARGIN = 20
BAR_HEIGHT = 32
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
STYLESHEET = f"""
text {{ font: 14px {FONTS}; fill: #d6deeb }}
.bold {{ font-weight: bold; fill: #ffffff }}
.dim {{ fill: #8b9bb4 }}
.red {{ fill: #ff7b85 }}
.green {{ fill: #8ddb8c }}
.yellow {{ fill: #f0c674 }}
"""
STYLE_OF_CODE = {code: style for style, code in STYLES.items()}


def segments(line: str) -> Iterator[tuple[str, str]]:
    """Split a line with escape sequences into pairs of style and text."""
    style = ""
    for number, part in enumerate(re.split(r"\033\[(\d+)m", line)):
        if number % 2:
            style = STYLE_OF_CODE.get(part, "")
        elif part:
            yield style, part


def draw_line(line: str, y: float) -> Iterator[str]:
    """Draw each word group at its column, as wide as its cells whatever the font."""
    column = 0
    for style, text in segments(line):
        for match in re.finditer(r"\S+(?: \S+)*", text):
            x = MARGIN + (column + display_width(text[: match.start()])) * CELL_WIDTH
            length = display_width(match[0]) * CELL_WIDTH
            attributes = f'x="{x:.1f}" y="{y:g}" textLength="{length:.1f}"' + (f' class="{style}"' if style else "")
            yield f"<text {attributes}>{escape(match[0])}</text>"
        column += display_width(text)


def draw(output: str) -> str:
    """Draw a terminal's output as an SVG."""
    lines = output.splitlines()
    width = 2 * MARGIN + COLUMNS * CELL_WIDTH
    height = BAR_HEIGHT + (len(lines) + 1) * LINE_HEIGHT
    dots = [
        f'<circle cx="{MARGIN + 18 * number}" cy="{BAR_HEIGHT / 2 + 2:g}" r="5.5" fill="{colour}"/>'
        for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    ]
    texts = [text for n, line in enumerate(lines) for text in draw_line(line, BAR_HEIGHT + (n + 1) * LINE_HEIGHT)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img">',
            "<title>The output of python3 -m sandbox.demo</title>",
            f"<style>{STYLESHEET}</style>",
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#0f1726"/>',
            *dots,
            *texts,
            "</svg>\n",
        ]
    )


def main() -> None:
    """Run the demo and draw what it prints."""
    parser = argparse.ArgumentParser(prog="python3 -m sandbox.picture", description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    environment.pop("NO_COLOR", None)
    demo = subprocess.run(
        [sys.executable, "-m", "sandbox.demo"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(draw(f"\033[2m{PROMPT}\033[0m\n" + demo.stdout.decode()), "utf-8")


if __name__ == "__main__":
    main()
