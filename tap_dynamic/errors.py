"""Expected failures."""

from __future__ import annotations


class TapError(Exception):
    """An expected failure: it ends the run with exit code 1, and each of its arguments is logged as an ERROR."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What failed and what to do, one line for each failure."""
        return self.args


class FileUnusable(TapError):  # noqa: N818 (a TapError)
    """A file that is gone for good or is not CSV: another attempt would fail in the same way."""


class FilteredExport(FileUnusable):
    """An export of which a filter made only a part, although the list of exports does not say so."""


class OutputError(TapError):
    """Stdout can't be written: nothing that follows could be."""


def without_advice(error: TapError) -> str:
    """Return what failed, without the advice to make a new export, which does not bring an earlier one back."""
    return " ".join(line.partition(" Make a new export.")[0] for line in error.lines)


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: `1 row`, `2,000 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
