"""Loading exports into one row stream: fetch, fit, write, commit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tap_dynamic.errors import FileUnusable, TapError, first_line, plural
from tap_dynamic.exports import is_newest
from tap_dynamic.layout import Note
from tap_dynamic.load import ExportLoad
from tap_dynamic.state import StreamState

if TYPE_CHECKING:
    from tap_dynamic.client import ExportsApi
    from tap_dynamic.download import FileHost
    from tap_dynamic.exports import Bookmark, Export
    from tap_dynamic.rowstream import RowStream


class RowLoader:
    """Loads exports into a row stream, and counts what it loaded in a run.

    Args:
        stream: The stream.
        api: The exports API.
        host: The file host.
    """

    def __init__(self, stream: RowStream, api: ExportsApi, host: FileHost) -> None:
        self.stream, self.api, self.host = stream, api, host
        self.logger, self.config = stream.logger, stream.config
        self.exports = self.rows = self.columns = 0
        self.seconds = 0.0
        self.logged: dict[str, None] = {}

    @property
    def state(self) -> StreamState:
        """What the state remembers of the stream."""
        return StreamState(self.stream.stream_state)

    @property
    def bookmark(self) -> Bookmark | None:
        """What counts as loaded: nothing in FULL_TABLE mode."""
        return None if self.stream.replication_method == "FULL_TABLE" else self.state.bookmark

    def load(self, export: Export) -> None:
        """Write all messages of an export.

        Args:
            export: A completed one.

        Raises:
            TapError: If its rows can't be read to the end.
        """
        label, row = f"Stream {self.stream.name}, export {export.id}", 0
        if export.format != "csv":
            msg = f"{label}: its format is {first_line(export.format)!r}, not csv. Make a CSV export."
            raise FileUnusable(msg)
        file = self.host.fetch(lambda: self.api.download_url(export.id), label)
        try:
            with ExportLoad.open(
                export,
                file,
                catalog=self.stream.catalog,
                table=self.state.table,
                documented=self.stream.documented,
                logger=self.logger,
            ) as load:
                if self.config["emit_activate_version_messages"]:
                    load.version = int(export.completed_at.timestamp())  # SQL targets keep 32 bits
                self._log_notes(load)
                self.state.remember_table(load.layout)
                with self.stream.loading(load):
                    try:
                        self.stream.sync({"export_id": export.id})
                    finally:
                        row = load.row_number
                    if not self.stream.is_dry_run:
                        self._commit(load)
        except TapError:
            raise
        except Exception as error:
            place = f", row {row}" if row else ""
            msg = f"{label}{place}: the load failed ({type(error).__name__}). No data was lost; please report this."
            raise TapError(msg) from None

    def _commit(self, load: ExportLoad) -> None:
        """Write what follows an export's last row: its ACTIVATE_VERSION, and the STATE with the bookmark."""
        export, state = load.export, self.state
        if load.version is not None and is_newest(export, state.bookmark) and not self.config.get("batch_config"):
            if load.rows:
                self.stream.activate_version(load)
            else:
                self._log(load, Note("the file has no rows: none are deleted from the table", is_warning=True))
        # A named export says nothing about older ones that `all` has still to read.
        moves_bookmark = not (self.config.get("export_ids") and self.config["snapshots"] == "all")
        state.commit(export, replication_key=self.stream.replication_key, moves_bookmark=moves_bookmark)
        self.stream.write_state()
        self._log_notes(load)
        self.exports += 1
        self.rows += load.rows
        self.columns = len(load.layout.names)
        self.seconds += load.seconds

    def _log_notes(self, load: ExportLoad) -> None:
        for note in load.notes():
            self._log(load, note)

    def _log(self, load: ExportLoad, note: Note) -> None:
        """Log a line about an export, the same text only once in a run."""
        if note.text not in self.logged:
            self.logged[note.text] = None
            level = logging.WARNING if note.is_warning else logging.INFO
            self.logger.log(level, "Export %s: %s.", load.export.id, note.text)

    def log_summary(self) -> None:
        """Log the run in one line."""
        notes = "".join(f"; {text}" for text in self.logged)
        counts = f"{plural(self.exports, 'export')} read, {plural(self.rows, 'row')}, {plural(self.columns, 'column')}"
        self.logger.info("%s: %s, %.1f s%s.", self.stream.name, counts, self.seconds, notes)
