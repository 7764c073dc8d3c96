"""Verdicts of `--test`: a line for each stream, after everything that a run logs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from tap_dynamic.errors import plural
from tap_dynamic.singer.boundary import LOGGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tap_dynamic.api.exports import Export


def describe_exports(exports: Iterable[Export], environment_id: str) -> str:
    """Say that the token works, and how many exports there are of each model and status."""
    counts: dict[tuple[str, str], int] = {}
    for export in exports:
        counts[export.model, export.status] = counts.get((export.model, export.status), 0) + 1
    kinds = ", ".join(f"{count:,} {status} of {model}" for (model, status), count in sorted(counts.items()))
    found = f"{plural(sum(counts.values()), 'export')} found" + (f" ({kinds})" if kinds else "")
    return f"the token is accepted for environment {environment_id}; {found}"


def remember(verdicts: Mapping[str, tuple[str, bool]]) -> None:
    """Keep the verdicts of a dry run for `log`; the SDK's test suite has no command line, and needs none.

    Args:
        verdicts: For each stream, what was found, and whether it passed.
    """
    if context := click.get_current_context(silent=True):
        context.meta[__name__] = verdicts


def log(context: click.Context) -> None:
    """Log the verdicts."""
    LOGGER.disabled = False  # see `report`
    for stream, (text, has_passed) in context.meta.get(__name__, {}).items():
        level, outcome = (logging.INFO, "passed") if has_passed else (logging.WARNING, "failed")
        LOGGER.log(level, "Test of %s %s: %s.", stream, outcome, text)
