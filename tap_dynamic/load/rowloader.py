"""Loading exports into one row stream: fetch, fit, write, commit."""

from __future__ import annotations

import contextlib
from typing import IO, TYPE_CHECKING

from tap_dynamic.api.exports import is_newest
from tap_dynamic.errors import FileUnusable, TapError, plural
from tap_dynamic.file.reader import CsvFile
from tap_dynamic.load.changes import find_changes, fingerprint, full_load_reason
from tap_dynamic.load.load import ExportLoad
from tap_dynamic.load.state import StreamState
from tap_dynamic.load.summary import Summary
from tap_dynamic.redaction import first_line
from tap_dynamic.schemas import KEY_CANDIDATES
from tap_dynamic.table.layout import Note, with_deletions

if TYPE_CHECKING:
    from tap_dynamic.api.client import ExportsApi
    from tap_dynamic.api.exports import Bookmark, Export
    from tap_dynamic.download.host import FileHost
    from tap_dynamic.singer.rowstream import RowStream
    from tap_dynamic.table.layout import Table


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
        self.summary = Summary(stream.name, stream.logger)
        self.verdict = ("there is nothing to read", True)

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
        self.verdict = (f"export {export.id} can't be read", False)
        label, row = f"Stream {self.stream.name}, export {export.id}", 0
        if export.format != "csv":
            msg = f"{label}: its format is {first_line(export.format)!r}, not csv. Make a CSV export."
            raise FileUnusable(msg)
        try:
            table = self.state.table
            with contextlib.ExitStack() as stack:
                load = stack.enter_context(
                    ExportLoad.open(
                        export,
                        self._fetch(export.id, label),
                        catalog=self.stream.catalog,
                        table=table,
                        documented=self.stream.documented,
                        candidates=KEY_CANDIDATES[self.stream.name],
                        logger=self.logger,
                    )
                )
                self._begin(load, table, stack)
                stack.enter_context(self.stream.loading(load))
                try:
                    self.stream.sync({"export_id": export.id})
                finally:
                    row = load.row_number
                if not self.stream.is_dry_run:
                    self._commit(load)
            columns, key = plural(len(load.layout.names), "column"), first_line(", ".join(load.layout.key))
            self.verdict = (f"export {export.id} is readable and has {columns}; the key is {key}", True)
        except TapError:
            raise
        except Exception as error:
            place = f", row {row}" if row else ""
            msg = f"{label}{place}: the load failed ({type(error).__name__}). No data was lost; please report this."
            raise TapError(msg) from None

    def _fetch(self, export_id: str, label: str) -> IO[bytes]:
        return self.host.fetch(lambda: self.api.download_url(export_id), label)

    def _begin(self, load: ExportLoad, table: Table, stack: contextlib.ExitStack) -> None:
        """Decide what is emitted, and remember in the state what a run that dies here leaves behind."""
        state = self.state
        if self.config["emit_activate_version_messages"] and not self.config.get("batch_config"):  # rows carry none
            # Seconds, because SQL targets keep 32 bits; two exports can complete within one.
            load.version = max(int(load.export.completed_at.timestamp()), (state.table_version or 0) + 1)
        must_write = state.remember_table(load.layout)  # its SCHEMA makes the table
        if self.config["changes_only"]:
            load.layout = with_deletions(load.layout)
            if not self.stream.is_dry_run:
                self._find_changes(load, table, stack)
                state.begin_changes(load.export, self._fingerprint(load))
                must_write = True
        elif state.forget_base():
            must_write = True
        if must_write:
            self.stream.write_state()
        self.summary.log_once(load.export.id, load.notes())

    def _fingerprint(self, load: ExportLoad) -> str:
        parts = [path for path, chosen in self.stream.mask.items() if len(path) > 2 and not chosen]  # noqa: PLR2004
        return fingerprint(load.layout, self.config, parts)

    def _find_changes(self, load: ExportLoad, table: Table, stack: contextlib.ExitStack) -> None:
        """Compare the file with the ones that the table may hold rows of, or say why all rows are emitted."""
        state, needs_version, shape = self.state, load.version is not None, self._fingerprint(load)
        base_ids = [state.base_id] if state.base_id else state.loaded_ids
        interrupted = [i for i in state.begun if i not in {*base_ids, load.export.id}]
        has_same_key = table.key == load.layout.key
        reason = full_load_reason(
            is_full_table=self.stream.replication_method == "FULL_TABLE",
            has_key=bool(load.layout.key_columns),
            has_base=state.base_id is not None,
            has_version=not needs_version or state.table_version is not None,
            has_same_shape={state.fingerprint, *state.begun.values()} == {shape},
            is_interrupted=bool(interrupted),
        )
        # A full load deletes what is gone by its version; one without a version has to look for it.
        old_ids = [i for i in (*base_ids, *interrupted) if i != load.export.id]
        if old_ids and load.layout.key_columns and has_same_key and not (reason and needs_version):
            old = []
            for export_id in old_ids:
                label = f"Stream {self.stream.name}, earlier export {export_id}"
                try:
                    old.append(CsvFile.open(stack.enter_context(self._fetch(export_id, label)), label))
                except TapError as error:
                    reason = f"an earlier export can't be read ({error})"
            load.changes = find_changes(load.file, old, load.layout, is_complete=reason is not None, logger=self.logger)
            load.is_key_verified = True
            if load.changes.problem:
                reason = load.changes.problem
        if reason:
            self.summary.log_once(load.export.id, [Note(f"all rows are emitted: {reason}")])
        elif needs_version:
            load.version = state.table_version

    def _commit(self, load: ExportLoad) -> None:
        """Write what follows an export's last row: its ACTIVATE_VERSION, and the STATE with the bookmark."""
        export, state = load.export, self.state
        newest = is_newest(export, state.bookmark)
        if not load.file_rows and (load.version is not None or self.config["changes_only"]):
            self.summary.log_once(
                load.export.id, [Note("the file has no rows: none are deleted from the table", is_warning=True)]
            )
        elif load.version is not None and load.is_full and newest:
            self.stream.activate_version(load)
        if load.file_rows:
            state.table_version = load.version
        if self.config["changes_only"] and load.file_rows:
            state.commit_changes(export, self._fingerprint(load))
        elif self.config["changes_only"]:
            state.abandon_changes(export)
        # A named export says nothing about older ones that `all` has still to read.
        moves_bookmark = not (self.config.get("export_ids") and self.config["snapshots"] == "all")
        state.commit(export, replication_key=self.stream.replication_key, moves_bookmark=moves_bookmark)
        self.stream.write_state()
        self.summary.log_once(load.export.id, load.notes())
        self.summary.add(load)
