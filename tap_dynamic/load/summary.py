"""The summary of a run for one stream: counts, and lines that are logged once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tap_dynamic.errors import plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_dynamic.load.load import ExportLoad
    from tap_dynamic.table.layout import Note


@dataclass
class Summary:
    """What was loaded into a stream in a run.

    Args:
        stream: The stream's name.
        logger: Receives the lines.
    """

    stream: str
    logger: logging.Logger
    exports: int = 0
    rows: int = 0
    columns: int = 0
    seconds: float = 0.0
    added: int = 0
    changed: int = 0
    deleted: int = 0
    unchanged: int = 0
    not_compared: int = 0
    logged: dict[str, None] = field(default_factory=dict)

    def add(self, load: ExportLoad) -> None:
        """Add a load."""
        self.exports += 1
        self.rows += load.rows
        self.columns = len(load.layout.names)
        self.seconds += load.seconds
        if changes := load.changes:
            self.added += changes.added
            self.changed += changes.changed
            self.deleted += changes.deleted
            self.unchanged += changes.unchanged
        self.not_compared += load.read_rows if load.is_full else 0

    def log_once(self, export_id: str, notes: Iterable[Note]) -> None:
        """Log lines about an export, the same text only once in a run."""
        for note in notes:
            if note.text not in self.logged:
                self.logged[note.text] = None
                level = logging.WARNING if note.is_warning else logging.INFO
                self.logger.log(level, "Export %s: %s.", export_id, note.text)

    def log_summary(self, *, with_changes: bool) -> None:
        """Log the run in one line.

        Args:
            with_changes: Whether rows were compared with those of an earlier export.
        """
        counts = [plural(self.exports, "export") + " read", plural(self.rows, "row"), plural(self.columns, "column")]
        changes = f" ({self._changes()})" if with_changes else ""
        notes = "".join(f"; {text}" for text in self.logged)
        self.logger.info("%s: %s%s, %.1f s%s.", self.stream, ", ".join(counts), changes, self.seconds, notes)

    def _changes(self) -> str:
        kinds = [f"{getattr(self, n):,} {n}" for n in ("added", "changed", "deleted", "unchanged")]
        if self.not_compared:
            kinds.append(f"{self.not_compared:,} not compared")
        return ", ".join(kinds)
