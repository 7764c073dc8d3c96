"""Row streams: what catalog and state say of them, and how an export is loaded."""

from __future__ import annotations

import contextlib
import copy
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from typing_extensions import override

from tap_dynamic.errors import FileUnusable, FilteredExport, TapError, plural
from tap_dynamic.file.reader import CsvFile
from tap_dynamic.load.plan import Load, LoadPlan, check_deleted, has_versions
from tap_dynamic.load.prepare import prepare_load
from tap_dynamic.load.state import RowState
from tap_dynamic.load.summary import Summary
from tap_dynamic.redaction import first_line
from tap_dynamic.schemas import KEY_CANDIDATES, SCHEMAS
from tap_dynamic.singer.catalog import parse_catalog
from tap_dynamic.singer.loading import LoadingStream
from tap_dynamic.table.fit import documented_layout
from tap_dynamic.table.layout import Layout, Note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context
    from singer_sdk.singerlib import Catalog

    from tap_dynamic.api.client import ExportsApi
    from tap_dynamic.api.exports import Export
    from tap_dynamic.download.host import FileHost
    from tap_dynamic.load.rows import Tally


class RowStream(LoadingStream):
    """Rows of the exports of one model: each row of the file is a record."""

    replication_key = "_sdc_exported_at"
    state_partitioning_keys = ()
    emit_activate_version_messages = False
    """The SDK would send ACTIVATE_VERSION before the rows, and empty a table whose file can't be read."""

    def __init__(self, tap: Tap, api: ExportsApi, host: FileHost, inferred: Layout | None = None) -> None:
        self.api, self.host = api, host
        self.documented: dict[str, dict[str, Any]] = SCHEMAS.get_schema(self.name)["properties"]
        self.candidates = KEY_CANDIDATES[self.name]
        layout = inferred or documented_layout(self.documented, self.candidates)
        super().__init__(tap, schema=copy.deepcopy(layout.schema))
        self.primary_keys = layout.key
        self.summary = Summary(self.name, self.logger)
        self.verdict = ("there is nothing to read", True)

    # --- what catalog and state say

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        super().apply_catalog(catalog)
        self.replication_key = "_sdc_exported_at"

    @property
    def state(self) -> RowState:
        """What the state remembers of this stream."""
        return RowState.parse(self.stream_state, f"bookmarks.{self.name}")

    @state.setter
    def state(self, state: RowState) -> None:
        if state != self.state:
            self.stream_state.update(replace(state, environment_id=self.api.environment_id).values())

    @override
    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Set no upper limit to the bookmark: it is a time of Dynamic's clock, not of this machine's."""

    # --- one export: fetch, plan, begin, sync, commit

    def load(self, export: Export, listed: Sequence[Export]) -> None:
        """Write all messages of a completed export.

        Raises:
            TapError: If its rows can't be read to the end.
        """
        label, started_at = f"Stream {self.name}, export {export.id}", time.monotonic()
        self.verdict = (f"export {export.id} can't be read", False)
        if export.format != "csv":
            msg = f"{label}: its format is {first_line(export.format)!r}, not csv. Make a CSV export."
            raise FileUnusable(msg)
        try:
            with contextlib.ExitStack() as stack:
                plan = prepare_load(self._new_load(export, listed), partial(self._fetch, stack), stack)
                self.summary.log_once(export.id, plan.notes)
                with self.loading(plan, self._begin) as tally:
                    tally.started_at = started_at
                    self.sync({"export_id": export.id})
                    if not self.is_dry_run:
                        self._commit(plan, tally)
        except FilteredExport as error:
            self.verdict = (str(error), True)
            raise
        except TapError:
            raise
        except Exception as error:
            msg = f"{label}: the load failed ({type(error).__name__}). Please report this."
            raise TapError(msg) from None
        columns, key = plural(len(plan.layout.names), "column"), first_line(", ".join(plan.layout.key))
        self.verdict = (f"export {export.id} is readable and has {columns}; the key is {key}", True)

    def _new_load(self, export: Export, listed: Sequence[Export]) -> Load:
        if has_versions(self.config) and self.state.last_version == int(time.time()):
            time.sleep(1)  # a version ahead of the clock could be that of a later run, too
        entry = self._tap.input_catalog.get_stream(self.name) if self._tap.input_catalog else None
        return Load(
            export,
            listed,
            self.config,
            self.state,
            parse_catalog(entry, self.effective_schema.get("properties", {}), self.mask, self.candidates),
            self.documented,
            self.candidates,
            self.deselected,
            is_full_table=self.replication_method == "FULL_TABLE",
            is_dry_run=self.is_dry_run,
            now=int(time.time()),
            logger=self.logger,
        )

    def _fetch(self, stack: contextlib.ExitStack, export_id: str, label: str, is_part: bool) -> CsvFile:  # noqa: FBT001 (a `Fetch`)
        file = self.host.fetch(lambda: self.api.download_url(export_id, is_part=is_part), label)
        return CsvFile.open(stack.enter_context(file), label)

    def _begin(self, plan: LoadPlan) -> None:
        """Remember in the state what a load leaves behind that ends here: its SCHEMA message is written."""
        if not self.is_dry_run:
            before, after = self.state, self.state.begun(plan)
            if after != before:
                self.state = after
                self.write_state()

    def _commit(self, plan: LoadPlan, tally: Tally) -> None:
        """Write what follows an export's last row: its ACTIVATE_VERSION, and the STATE with the bookmark."""
        rows, state, notes = plan.rows(tally.read), self.state, list(tally.notes())
        if rows and plan.replaces_table:
            before = state.row_count or 0
            check_deleted(plan.label, before - rows, before, self.config["max_deleted_percent"])
            notes += self.activate_version(plan.version or 0)
        elif not rows and (plan.version is not None or plan.fingerprint):
            notes.append(Note("the file has no rows: none are deleted from the table", is_warning=True))
        self.state = state.committed(plan, rows)
        self.write_state()
        self.summary.log_once(plan.export.id, notes)
        self.summary.add(plan, tally)
