"""Expected failures."""

from __future__ import annotations


class TapError(Exception):
    """An expected failure: it ends the run with exit code 1, and each of its lines is logged as an ERROR."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)


class FileUnusable(TapError):  # noqa: N818 (a TapError)
    """A file that is gone for good or is not CSV: another attempt would fail in the same way."""


class OutputError(TapError):
    """Stdout can't be written: nothing that follows could be."""


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: `1 row`, `2,000 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
