"""Row streams as the SDK sees them: schema, selection and messages of the export at hand."""

from __future__ import annotations

import contextlib
import copy
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from singer_sdk.exceptions import StreamMapConfigError
from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform
from singer_sdk.singerlib.catalog import SelectionMask
from singer_sdk.singerlib.messages import ActivateVersionMessage

from tap_dynamic.errors import FileUnusable, TapError, plural
from tap_dynamic.file.reader import CsvFile
from tap_dynamic.load.changes import find_changes, fingerprint, too_many_deleted
from tap_dynamic.load.index import RowIndex
from tap_dynamic.load.plan import fit_file, has_versions, plan_comparison, plan_load
from tap_dynamic.load.rows import Tally, read_chunks
from tap_dynamic.load.selection import between, reads_all, snapshots_of
from tap_dynamic.load.state import RowState
from tap_dynamic.load.summary import Summary
from tap_dynamic.output.sinks import BatchSink, EachRecordSink, RecordSink
from tap_dynamic.redaction import first_line
from tap_dynamic.schemas import KEY_CANDIDATES, SCHEMAS
from tap_dynamic.singer.base import DynamicStream
from tap_dynamic.table.columns import DELETED_AT, FALLBACK_KEY, fold
from tap_dynamic.table.layout import Catalog, Note, documented_layout, with_deletions

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from singer_sdk import Tap
    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.mapper import StreamMap
    from singer_sdk.singerlib import Catalog as SingerCatalog
    from singer_sdk.singerlib import CatalogEntry

    from tap_dynamic.api.client import ExportsApi
    from tap_dynamic.api.exports import Export
    from tap_dynamic.download.host import FileHost
    from tap_dynamic.load.plan import LoadPlan
    from tap_dynamic.output.sinks import Sink
    from tap_dynamic.table.layout import Layout

EVERYTHING = SelectionMask()


class ActiveLoad(NamedTuple):
    """The load at hand."""

    plan: LoadPlan
    tally: Tally


class RowStream(DynamicStream):
    """Rows of the exports of one model: each row of the file is a record.

    Args:
        tap: The tap.
        api: The exports API.
        host: The file host.
        inferred: The layout that discovery found; the documented columns otherwise.
    """

    replication_key = "_sdc_exported_at"
    state_partitioning_keys = ()
    emit_activate_version_messages = False
    """The SDK would send ACTIVATE_VERSION before the rows, and empty a table whose file can't be read."""

    def __init__(self, tap: Tap, api: ExportsApi, host: FileHost, inferred: Layout | None = None) -> None:
        self.api, self.host = api, host
        self.documented: dict[str, dict[str, Any]] = SCHEMAS.get_schema(self.name)["properties"]
        self.candidates = KEY_CANDIDATES[self.name]
        layout = inferred or documented_layout(self.documented, self.candidates)
        self._active: ActiveLoad | None = None
        super().__init__(tap, schema=copy.deepcopy(layout.schema))
        self.primary_keys = layout.key
        self.summary = Summary(self.name, self.logger)
        self.verdict = ("there is nothing to read", True)
        self._version_floor = 0

    # --- what catalog and state say

    @override
    def apply_catalog(self, catalog: SingerCatalog) -> None:
        super().apply_catalog(catalog)
        self.replication_key = "_sdc_exported_at"

    @property
    def catalog(self) -> Catalog:
        """What the catalog says of this stream."""
        entry = self._tap.input_catalog.get_stream(self.name) if self._tap.input_catalog else None
        properties = super().effective_schema.get("properties", {})
        return parse_catalog(entry, properties, super().mask, self.candidates)

    @property
    def state(self) -> RowState:
        """What the state remembers of this stream."""
        return RowState.parse(self.stream_state, f"bookmarks.{self.name}")

    @state.setter
    def state(self, state: RowState) -> None:
        self.stream_state.update(state.of_environment(self.api.environment_id).values())

    @property
    def is_full_table(self) -> bool:
        """Whether the replication method is FULL_TABLE."""
        return bool(self.replication_method == "FULL_TABLE")

    @override
    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Set no upper limit to the bookmark: it is a time of Dynamic's clock, not of this machine's."""

    # --- one export: fetch, plan, begin, sync, commit

    def load(self, export: Export, listed: Sequence[Export]) -> None:
        """Write all messages of an export.

        Args:
            export: A completed one.
            listed: All exports.

        Raises:
            TapError: If its rows can't be read to the end.
        """
        self.record_label = label = f"Stream {self.name}, export {export.id}"
        self.verdict = (f"export {export.id} can't be read", False)
        if export.format != "csv":
            msg = f"{label}: its format is {first_line(export.format)!r}, not csv. Make a CSV export."
            raise FileUnusable(msg)
        try:
            with contextlib.ExitStack() as stack:
                plan = self._plan(export, listed, stack)
                self.summary.log_once(export.id, plan.notes)
                with self.loading(plan) as tally:
                    self.sync({"export_id": export.id})  # calls `_begin`
                    if not self.is_dry_run:
                        self._commit(plan, tally)
        except TapError:
            raise
        except Exception as error:
            msg = f"{self.record_label}: the load failed ({type(error).__name__}). Please report this."
            raise TapError(msg) from None
        columns, key = plural(len(plan.layout.names), "column"), first_line(", ".join(plan.layout.key))
        self.verdict = (f"export {export.id} is readable and has {columns}; the key is {key}", True)

    def _fetch(self, export_id: str, label: str, stack: contextlib.ExitStack) -> CsvFile:
        file = self.host.fetch(lambda: self.api.download_url(export_id), label)
        return CsvFile.open(stack.enter_context(file), label)

    def _plan(self, export: Export, listed: Sequence[Export], stack: contextlib.ExitStack) -> LoadPlan:
        """Fetch the file of an export, and those it is compared with, and decide what is emitted."""
        config, state = self.config, self.state
        self._version_floor = now = max(int(time.time()), self._version_floor + 1)
        file = self._fetch(export.id, self.record_label, stack)
        layout = fit_file(
            file,
            self.catalog,
            state.table,
            documented=self.documented,
            candidates=self.candidates,
            logger=self.logger,
        )
        if not config["changes_only"]:
            return plan_load(export, file, layout, state, config, now=now)
        layout = with_deletions(layout)
        parts = [path for path, chosen in super().mask.items() if len(path) > 2 and not chosen]  # noqa: PLR2004
        shape = fingerprint(layout, config, parts)
        plan = partial(plan_load, export, file, layout, state, config, now=now, fingerprint=shape)
        snapshots = snapshots_of(self.name, listed)
        comparison = plan_comparison(
            export,
            layout,
            state,
            fingerprint=shape,
            between=() if reads_all(config) else between(snapshots, state.bookmark, export),
            listed={e.id for e in listed},
            is_full_table=self.is_full_table,
            needs_version=has_versions(config),
        )
        if file.is_empty or self.is_dry_run:
            return plan(comparison=comparison)
        earlier = []
        for export_id in comparison.wanted:
            try:
                earlier.append(self._fetch(export_id, f"Stream {self.name}, earlier export {export_id}", stack))
            except FileUnusable as error:  # gone for good; any other failure ends the load, or deletions would be lost
                comparison = comparison.losing(f"an earlier export can't be read ({error})")
        if not earlier:
            return plan(comparison=comparison)
        index = stack.enter_context(RowIndex(file.label))
        return plan(comparison=comparison, changes=find_changes(file, earlier, layout, index, self.logger))

    @contextlib.contextmanager
    def loading(self, plan: LoadPlan) -> Iterator[Tally]:
        """Make an export the one that `sync` writes: its layout is the schema, and what maps are applied to.

        Args:
            plan: The plan of its load.

        Yields:
            How far the load is.

        Raises:
            TapError: If the stream maps or flattening don't fit the layout.
        """
        self._active, layout = ActiveLoad(plan, Tally()), plan.layout
        # Private in the SDK, which sets it in FULL_TABLE mode only.
        self._stream_version = plan.version
        self.passed.clear()
        try:
            self._register_maps(plan)
            for stream_map in self.stream_maps:
                if problem := map_problem(stream_map, layout):
                    msg = f"{plan.label}: {problem}"
                    raise TapError(msg)
            yield self._active.tally
        except StreamMapConfigError as error:
            msg = f"{plan.label}: stream_maps can't be applied to its columns: {first_line(error)}"
            raise TapError(msg) from None
        finally:
            self._active = None

    def _register_maps(self, plan: LoadPlan) -> None:
        try:
            self._tap.mapper.register_raw_stream_schema(self.name, plan.layout.schema, list(plan.layout.key))
        except ValueError:  # of the SDK's flattening
            msg = (
                f"{plan.label}: flattening gives two columns one name. Raise flattening_max_key_length, or set another"
                " flattening_separator."
            )
            raise TapError(msg) from None

    def _begin(self, plan: LoadPlan) -> None:
        """Remember in the state what a load leaves behind that ends here: its SCHEMA message is written."""
        if not self.is_dry_run:
            self.state = self.state.begun(plan.export, plan.layout, held=plan.holdings, fingerprint=plan.fingerprint)
            self.write_state()

    def _commit(self, plan: LoadPlan, tally: Tally) -> None:
        """Write what follows an export's last row: its ACTIVATE_VERSION, and the STATE with the bookmark."""
        rows, state, notes = plan.rows(tally.read), self.state, list(tally.notes())
        if rows and plan.replaces_table:
            before = state.row_count or 0
            if problem := too_many_deleted(before - rows, before, self.config["max_deleted_percent"]):
                msg = f"{plan.label}: {problem}."
                raise TapError(msg)
            notes += self._activate_version(plan)
        elif not rows and (plan.version is not None or plan.fingerprint):
            notes.append(Note("the file has no rows: none are deleted from the table", is_warning=True))
        self.state = state.committed(
            plan.export,
            replication_key=self.replication_key,
            holdings=plan.holdings_after(rows),
            rows=rows,
            version=plan.version,
            moves_bookmark=plan.moves_bookmark,
        )
        self.write_state()
        self.summary.log_once(plan.export.id, notes)
        self.summary.add(plan, tally)

    def _activate_version(self, plan: LoadPlan) -> Iterator[Note]:
        """Let the target delete the rows that are not of this load."""
        for stream_map in self.stream_maps:
            alias = stream_map.stream_alias
            if alias in self.passed:
                self._tap.write_message(ActivateVersionMessage(stream=alias, version=plan.version or 0))
            elif not isinstance(stream_map, RemoveRecordTransform):
                text = f"no row of {alias} passes its stream map: none are deleted from the table"
                yield Note(text, is_warning=True)

    # --- what the SDK sees while an export is loaded

    @override
    @property
    def schema(self) -> dict[str, Any]:
        return self._active.plan.layout.schema if self._active else super().schema

    @override
    @property
    def effective_schema(self) -> dict[str, Any]:
        return self._active.plan.layout.schema if self._active else super().effective_schema

    @override
    @property
    def mask(self) -> SelectionMask:
        """The selection; during a load, of parts of objects: the layout has just the selected columns."""
        mask = super().mask
        if not self._active:
            return mask
        parts = {path: chosen for path, chosen in mask.items() if len(path) > 2}  # noqa: PLR2004 (`properties`, name)
        return SelectionMask(parts) if parts else EVERYTHING

    # --- messages

    @override
    def get_records(self, context: Context | None) -> Iterator[Record]:
        msg = f"Stream {self.name} is synced as a child of exports."
        raise TapError(msg)

    @property
    def _is_plain(self) -> bool:
        """Whether records pass as they are: without stream map, flattening, limit or deselected part."""
        stream_map = self.stream_maps[0]
        return (
            len(self.stream_maps) == 1
            and type(stream_map) is SameRecordTransform
            and not stream_map.flattening_enabled
            and not self.is_dry_run
            and all(self.mask.values())
        )

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[Record, Any, Any]:
        """Write RECORD messages, in bulk where the SDK would change nothing in a record.

        Private in the SDK, which has no hook for many rows at once; its own way handles
        a row in 50 µs. tests/test_bulk.py compares both, message for message.
        """
        self._write_rows(context, self._record_sink)
        yield from ()

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        self._write_rows(context, partial(self._batch_sink, batch_config))
        return ()

    def _write_rows(
        self,
        context: Context | None,
        open_sink: Callable[[LoadPlan], contextlib.AbstractContextManager[Sink]],
    ) -> None:
        """Write the rows of the load at hand; a dry run ends at its limit."""
        if self._active is None:
            msg = f"Stream {self.name} is synced as a child of exports."
            raise TapError(msg)
        plan, tally = self._active
        self._begin(plan)
        with self.metered(context) as counter, open_sink(plan) as sink:
            for chunk in read_chunks(plan, tally, self.logger):
                self.record_label = f"{chunk.label}, row {chunk.numbers[0]}"
                if self.is_dry_run:
                    sink.add(next(chunk.slices(self.ABORT_AT_RECORD_COUNT or 1)))
                    break
                sink.add(chunk)
                counter.increment(len(chunk))

    @contextlib.contextmanager
    def _record_sink(self, plan: LoadPlan) -> Iterator[Sink]:
        names = plan.layout.names
        if self._is_plain:
            self.passed.add(self.name)
            yield RecordSink(self.name, names, plan.version, self._tap.message_writer.write_lines)  # type: ignore[attr-defined]
        else:
            yield EachRecordSink(names, self._write_labelled)

    @contextlib.contextmanager
    def _batch_sink(self, config: BatchConfig, plan: LoadPlan) -> Iterator[Sink]:
        names = plan.layout.names
        if self._is_plain:
            with self.new_batch_writer(config, self.name, plan.layout.schema) as writer:
                yield BatchSink(names, writer)
        else:
            with self.mapped_batches(config) as write:
                yield EachRecordSink(names, write)

    def _write_labelled(self, record: Record, label: str) -> None:
        self.record_label = label
        self._write_record_message(record)


def parse_catalog(
    entry: CatalogEntry | None,
    properties: dict[str, Any],
    mask: SelectionMask,
    candidates: Iterable[Sequence[str]],
) -> Catalog:
    """Read what the catalog says of a stream.

    Args:
        entry: Its entry in the catalog of the user, if there is one.
        properties: Its schema.
        mask: The selection.
        candidates: The keys that discovery chooses from.
    """
    deselected = frozenset(
        path[1]
        for path in [*mask, *(("properties", name) for name in properties)]
        if len(path) == 2 and not mask[path]  # noqa: PLR2004
    )
    key = user_key(entry, candidates) if entry else None
    return Catalog(properties, deselected, key)


def user_key(entry: CatalogEntry, candidates: Iterable[Sequence[str]]) -> tuple[str, ...] | None:
    """Return the key that the user sets in a catalog; None where it has just what discovery wrote, or none."""
    # Discovery writes its key into both places; a user changes one.
    found, key = tuple(entry.key_properties or ()), tuple(entry.metadata.root.table_key_properties or ())
    if key and key != found:
        return key
    own = {tuple(map(fold, candidate)) for candidate in (*candidates, FALLBACK_KEY)}
    return found if found and tuple(map(fold, found)) not in own else None


def map_problem(stream_map: StreamMap, layout: Layout) -> str | None:
    """Say why a stream map can't be applied to a layout; None if it can."""
    columns = set(stream_map.transformed_schema["properties"])
    if isinstance(stream_map, RemoveRecordTransform):
        return None
    if not columns.issuperset(stream_map.transformed_key_properties or ()):
        return "flattening renames key columns. Raise flattening_max_key_length."
    if DELETED_AT in layout.sdc_columns and DELETED_AT not in columns and stream_map.flattening_enabled:
        return f"flattening renames {DELETED_AT}. Raise flattening_max_key_length."
    if DELETED_AT in layout.sdc_columns and DELETED_AT not in columns:
        return f"a stream map drops {DELETED_AT}: deleted rows would look as if they were not."
    return None
