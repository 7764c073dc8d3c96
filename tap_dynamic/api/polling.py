"""Waiting for pending exports."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tap_dynamic.api.exports import Export, oldest_first
from tap_dynamic.errors import TapError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection, Iterable, Iterator

LOG_INTERVAL = 30.0
"""Seconds between two lines that name the exports that are waited for."""


def wait_for(  # noqa: PLR0913 (what it depends on, nothing hidden)
    export_ids: Iterable[str],
    get: Callable[[str], Export],
    *,
    models: Collection[str],
    timeout: float,
    interval: float,
    logger: logging.Logger,
) -> Iterator[Export | TapError]:
    """Poll exports until each has ended or the time is over.

    Args:
        export_ids: What to wait for.
        get: Returns an export in its present state.
        models: The models whose pending exports are waited for.
        timeout: Seconds; 0 polls once.
        interval: Seconds between two polls.
        logger: Receives progress.

    Yields:
        Exports in their last state, and errors of `get`. Of each model, no export before all of it
        have ended, so that the oldest completion comes first.
    """
    pending, ended = list(export_ids), list[Export]()
    started_at, logged_at = time.monotonic(), None
    while pending:
        waiting: list[Export] = []
        for export_id in pending:
            try:
                export = get(export_id)
            except TapError as error:
                yield error
                continue
            is_waiting = export.status == "pending" and export.model in models
            (waiting if is_waiting else ended).append(export)
        busy = {e.model for e in waiting}
        yield from oldest_first(e for e in ended if e.model not in busy)
        ended = [e for e in ended if e.model in busy]
        waited = time.monotonic() - started_at
        if waiting and waited >= timeout:
            yield from oldest_first([*ended, *waiting])
            return
        pending = [e.id for e in waiting]
        if waiting:
            if logged_at is None or waited - logged_at >= LOG_INTERVAL:
                logged_at = waited
                noun = "export" if len(waiting) == 1 else "exports"
                names = ", ".join(f"{e.id} ({e.model})" for e in waiting)
                logger.info("Waiting for %s %s, for %d s so far.", noun, names, waited)
            time.sleep(min(interval, timeout - waited))
