"""Text that fits the terminal, with colour only on a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
SHORTENED = ("id", "address")
"""Ends of the names of columns that lose characters first where a table is too wide."""
SHORTEST = 9
READABLE = 20
"""Cells below which other columns are rather left out than shortened."""
GAP = 2
"""Spaces between two columns."""


def display_width(text: str) -> int:
    """Return the number of terminal cells that a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def clip(text: str, width: int) -> str:
    """Cut a text that is wider than `width` cells, and end it with an ellipsis."""
    if display_width(text) <= width:
        return text
    while text and display_width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def pad(text: str, width: int) -> str:
    """Fill a text with spaces up to `width` cells."""
    return text + " " * (width - display_width(text))


def printable(value: Any) -> str:
    """Format a cell in one line; control characters, which a terminal would interpret, become spaces."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else " " for c in text)


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]], width: int) -> Iterator[str]:
    """Format a table as lines of at most `width` cells, the header first.

    Args:
        columns: Their names.
        rows: Their cells.
        width: Columns are shortened, then the last ones are left out, so that the table fits.
    """
    cells = [[printable(value) for value in row] for row in [columns, *rows]]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    least = [
        min(w, max(display_width(name), SHORTEST if name.endswith(SHORTENED) else READABLE))
        for name, w in zip(columns, widths, strict=True)
    ]
    shown = len(columns)
    while shown > 1 and sum(least[:shown]) + GAP * (shown - 1) > width:
        shown -= 1
    widths = widths[:shown]
    while sum(widths) + GAP * (shown - 1) > width:
        reducible = [n for n in range(shown) if widths[n] > least[n]]
        first = [n for n in reducible if columns[n].endswith(SHORTENED)]
        widths[max(first or reducible or range(shown), key=widths.__getitem__)] -= 1
    for row in cells:
        line = (" " * GAP).join(pad(clip(cell, w), w) for cell, w in zip(row, widths))
        yield line.rstrip()
    if shown < len(columns):
        yield clip(f"Too narrow for: {', '.join(columns[shown:])}", width)


class Terminal:
    """Standard output."""

    def __init__(self) -> None:
        self.width = shutil.get_terminal_size().columns
        self.is_interactive = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        is_forced = bool(os.environ.get("FORCE_COLOR"))
        self.has_colour = (self.is_interactive or is_forced) and not os.environ.get("NO_COLOR")

    def style(self, text: str, style: str) -> str:
        """Return a text in a style, where colour is wanted."""
        return f"\033[{STYLES[style]}m{text}\033[0m" if self.has_colour and text else text

    def write(self, text: str) -> None:
        """Write a text at once."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def line(self, text: str = "", style: str | None = None, *, indent: int = 0) -> None:
        """Write a line, cut to the width of the terminal."""
        text = clip(text, self.width - indent)
        self.write(" " * indent + (self.style(text, style) if style else text) + "\n")

    def heading(self, text: str) -> None:
        """Write a blank line and a heading."""
        self.line()
        self.line(text, "bold")

    def labelled(self, label: str, text: str, style: str) -> None:
        """Write an indented line that begins with a coloured label."""
        text = clip(text, self.width - len(label) - 4)
        self.write(f"  {self.style(label, style)}  {text}\n")

    def command(self, *words: str) -> None:
        """Write a command to type, over several lines where it is too long for one."""
        line = "    " + " ".join(words)
        self.write((line if len(line) <= self.width else "    " + " \\\n      ".join(words)) + "\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write an indented table."""
        for number, line in enumerate(table_lines(columns, rows, self.width - 2)):
            self.line(line, None if number else "dim", indent=2)
