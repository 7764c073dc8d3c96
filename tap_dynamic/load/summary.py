"""The summary of a run for one stream: counts, and lines that are logged once."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tap_dynamic.errors import plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_dynamic.load.plan import LoadPlan
    from tap_dynamic.load.rows import Tally
    from tap_dynamic.table.layout import Note


@dataclass
class Summary:
    """What was loaded into a stream in a run."""

    stream: str
    logger: logging.Logger
    exports: int = 0
    rows: int = 0
    columns: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    logged: dict[str, None] = field(default_factory=dict)

    def add(self, plan: LoadPlan, tally: Tally) -> None:
        """Add a load."""
        self.exports += 1
        self.rows += tally.emitted
        self.columns = len(plan.layout.names)
        self.seconds += time.monotonic() - tally.started_at
        if plan.is_full:
            self.counts["not compared"] += tally.read
            self.counts["deleted"] += plan.counts.deleted if plan.counts else 0
        elif plan.counts:
            self.counts.update(asdict(plan.counts))

    def log_once(self, export_id: str, notes: Iterable[Note]) -> None:
        """Log lines about an export, the same text only once in a run."""
        for note in notes:
            if note.text not in self.logged:
                self.logged[note.text] = None
                level = logging.WARNING if note.is_warning else logging.INFO
                self.logger.log(level, "Export %s: %s.", export_id, note.text)

    def log_summary(self, *, with_changes: bool) -> None:
        """Log the run in one line, if an export was read; with the numbers of changes where rows were compared."""
        if not self.exports:
            return
        exports, rows = plural(self.exports, "export"), plural(self.rows, "row")
        kinds = ["added", "changed", "deleted", "unchanged"]
        if self.counts["not compared"]:
            kinds = [name for name in (*kinds, "not compared") if self.counts[name]]
        changes = f" ({', '.join(f'{self.counts[name]:,} {name}' for name in kinds)})" if with_changes else ""
        notes = "".join(f"; {text}" for text in self.logged)
        line = f"{exports} read, {rows}{changes}, {plural(self.columns, 'column')}"
        self.logger.info("%s: %s, %.1f s%s.", self.stream, line, self.seconds, notes)
