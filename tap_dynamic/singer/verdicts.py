"""Verdicts: what `--test` says, a line for each stream and nothing else but warnings and errors."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tap_dynamic.errors import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tap_dynamic.api.exports import Export

LOGGER = logging.getLogger("tap-dynamic.test")


def describe_exports(exports: Iterable[Export], environment_id: str) -> str:
    """Say that the token works, and how many exports there are of each model and status."""
    counts = Counter((export.model, export.status) for export in exports)
    kinds = ", ".join(f"{count:,} {status} of {model}" for (model, status), count in sorted(counts.items()))
    found = f"{plural(sum(counts.values()), 'export')} found" + (f" ({kinds})" if kinds else "")
    return f"the token is accepted for environment {environment_id}; {found}"


def log_verdicts(verdicts: Mapping[str, tuple[str, bool]]) -> None:
    """Log what was found in each stream, and whether it passed."""
    LOGGER.disabled = False  # a logging configuration disables existing loggers unless it says otherwise
    for stream, (text, has_passed) in verdicts.items():
        level, outcome = (logging.INFO, "passed") if has_passed else (logging.WARNING, "failed")
        LOGGER.log(level, "Test of %s %s: %s.", stream, outcome, text)


@contextlib.contextmanager
def only_verdicts() -> Iterator[None]:
    """Drop the messages of a run, which hold personal data, and what it logs below WARNING, but not at level DEBUG."""
    root = logging.getLogger()
    if not root.isEnabledFor(logging.DEBUG):
        for handler in root.handlers:
            handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name == LOGGER.name)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
