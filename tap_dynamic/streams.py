"""The streams as the SDK sees them: exports, and its children users and visits."""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import RESTStream, Stream
from singer_sdk.exceptions import StreamMapConfigError
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform
from singer_sdk.pagination import SinglePagePaginator
from singer_sdk.schema.source import SchemaDirectory, StreamSchema
from singer_sdk.singerlib.catalog import SelectionMask

from tap_dynamic import schemas
from tap_dynamic.batches import JsonLinesWriter
from tap_dynamic.csvfile import ROWS_PER_CHUNK
from tap_dynamic.errors import FileUnusable, TapError, first_line, plural
from tap_dynamic.exports import Bookmark, Export, is_newest
from tap_dynamic.layout import FALLBACK_KEY, Catalog, Layout, Note
from tap_dynamic.load import ExportLoad
from tap_dynamic.messages import RecordEncoder, record_messages
from tap_dynamic.run import Run
from tap_dynamic.state import StreamState

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import requests
    from singer_sdk import Tap
    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.mapper import StreamMap
    from singer_sdk.metrics import Counter
    from singer_sdk.singerlib import Catalog as SingerCatalog

    from tap_dynamic.batches import BatchWriter
    from tap_dynamic.client import ExportsApi
    from tap_dynamic.download import FileHost

SCHEMAS = SchemaDirectory(schemas)
EVERYTHING = SelectionMask()


class DynamicStream(Stream):
    """What the streams have in common."""

    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE  # values are typed where they are parsed

    def __init__(self, tap: Tap, **kwargs: Any) -> None:
        super().__init__(tap, **kwargs)
        self.failures: dict[str, None] = {}

    @property
    def is_dry_run(self) -> bool:
        """Whether this is `--test` or the SDK's test suite, which must not create exports."""
        return self.ABORT_AT_RECORD_COUNT is not None

    @property
    def record_label(self) -> str:
        """The record at hand, for messages."""
        return f"Stream {self.name}"

    @override
    @property
    def stream_maps(self) -> list[StreamMap]:
        # The SDK keeps the first maps; these follow the schema of each file.
        maps = self._tap.mapper.stream_maps
        if self.name not in maps:  # a stream that the catalog lacks
            self._tap.mapper.register_raw_stream_schema(self.name, self.schema, list(self.primary_keys))
        return maps[self.name]

    @override
    def log(self, message: str, *args: Any, level: int = logging.INFO, **kwargs: Any) -> None:
        # At ERROR the SDK announces whatever leaves `sync`; the failure is reported once, where it is known.
        if level < logging.ERROR:
            super().log(message, *args, level=level, **kwargs)

    @override
    def get_batch_config(self, config: Any) -> BatchConfig | None:
        batch_config = super().get_batch_config(config)
        if batch_config and not batch_config.encoding.compression:
            batch_config.encoding.compression = "gzip"
        return batch_config

    @override
    def _write_record_message(self, record: Record) -> None:
        """Report a failing map or filter without the record.

        Private in the SDK, where whatever a map raises would end the run, with the record in its text.
        """
        with self.reporting_failures():
            super()._write_record_message(record)

    @contextlib.contextmanager
    def reporting_failures(self) -> Iterator[None]:
        """Turn whatever is raised while a record is mapped or encoded into an expected failure."""
        try:
            yield
        except TapError:
            raise
        except Exception as error:
            kind = type(error.__cause__ or error).__name__
            msg = f"{self.record_label}: the record can't be mapped or encoded ({kind}). Check stream_maps."
            raise TapError("\n".join([*self.failures, msg])) from None

    def new_batch_writer(self, config: BatchConfig, alias: str, schema: dict[str, Any]) -> BatchWriter:
        """Make the writer of the BATCH files of this stream, or of one that a map makes of it."""
        return JsonLinesWriter(alias, self.tap_name, config, schema, self._tap.write_message)

    def write_mapped_batches(self, config: BatchConfig, records: Iterable[Record]) -> None:
        """Write the records that RECORD messages would hold to BATCH files, each stream to its own."""
        with contextlib.ExitStack() as stack:
            writers = {
                stream_map.stream_alias: stack.enter_context(
                    self.new_batch_writer(config, stream_map.stream_alias, stream_map.transformed_schema)
                )
                for stream_map in self.stream_maps
                if not isinstance(stream_map, RemoveRecordTransform)
            }
            for record in records:
                with self.reporting_failures():
                    for message in self._generate_record_messages(record):  # private: runs maps and filters
                        writer = writers[message.stream]
                        writer.add(1, writer.encode_records([message.record]))


class ExportsStream(DynamicStream, RESTStream[None]):
    """Metadata of the exports; loads the rows of those that are to be read."""

    name = "exports"
    path = "/exports"
    primary_keys: ClassVar[tuple[str, ...]] = ("id",)
    schema: ClassVar[StreamSchema[str]] = StreamSchema(SCHEMAS)
    emit_activate_version_messages = False
    """An export that Dynamic no longer lists stays in the table: loaded rows refer to it."""
    # A redirect would carry the token to a host that nobody has named.
    allow_redirects = False

    def __init__(self, tap: Tap, api: ExportsApi) -> None:
        super().__init__(tap)
        self.api = api

    # --- the request, by the SDK

    @override
    @property
    def url_base(self) -> str:
        return self.api.url

    @override
    @property
    def requests_session(self) -> requests.Session:
        return self.api.session

    @override
    @property
    def authenticator(self) -> Any:
        return self.api.session.auth

    @override
    @property
    def timeout(self) -> tuple[float, float]:  # type: ignore[override]
        """Seconds to wait for a connection, and for the next byte."""
        return self.api.timeout

    @override
    def get_new_paginator(self) -> SinglePagePaginator:
        return SinglePagePaginator()

    @override
    def request_decorator(self, func: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
        return self.api.retrying(func)

    @override
    def validate_response(self, response: requests.Response) -> None:
        self.api.check(response)

    @override
    def parse_response(self, response: requests.Response) -> Iterable[Any]:
        return self.api.entries(response)

    # --- selection

    @override
    @property
    def metadata(self) -> Any:
        metadata = super().metadata
        if self._tap.input_catalog is None:
            metadata["properties", "downloadUrl"].selected_by_default = False
        return metadata

    @property
    def row_streams(self) -> dict[str, RowStream]:
        """The selected row streams by model."""
        return {child.name: child for child in self.child_streams if child.selected and isinstance(child, RowStream)}

    # --- the run

    @override
    def generate_child_contexts(self, record: Record, context: Context | None) -> Iterable[Context | None]:
        # The SDK would sync every child with each context, in the order of the list. `Run` loads them.
        return ()

    @override
    def get_records(self, context: Context | None) -> Iterator[Record]:
        run = Run(
            self.api,
            self.row_streams,
            self.config,
            logger=self.logger,
            write_state=lambda: self._tap.state_writer.write_state(self.tap_state),
            is_dry_run=self.is_dry_run,
        )
        exports = run.execute(
            [] if self.config.get("export_ids") else self.api.parse_entries(self.request_records(context))
        )
        for stream in self.row_streams.values():
            stream.log_summary()
        self.failures = run.failures
        if not (self.failures and self.is_dry_run):  # the SDK stops a dry run after one record
            yield from (dict(export.record) for export in exports)
        if self.failures:
            raise TapError("\n".join(self.failures))

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        # The SDK's own way writes raw records: no selection, no maps.
        self.write_mapped_batches(batch_config, self._sync_records(context, write_messages=False))
        return ()


@dataclass
class Totals:
    """What a row stream loaded in a run."""

    exports: int = 0
    rows: int = 0
    columns: int = 0
    seconds: float = 0.0


class RowStream(DynamicStream):
    """Rows of the exports of one model: each row of the file is a record.

    Args:
        tap: The tap.
        api: The exports API.
        host: The file host.
        inferred: The layout that discovery found; the documented columns otherwise.
    """

    parent_stream_type = ExportsStream
    replication_key = "_sdc_exported_at"
    state_partitioning_keys = ()
    emit_activate_version_messages = False
    """The SDK would send ACTIVATE_VERSION before the rows, and empty a table whose file can't be read."""

    def __init__(self, tap: Tap, api: ExportsApi, host: FileHost, inferred: Layout | None = None) -> None:
        self.documented: dict[str, dict[str, Any]] = SCHEMAS.get_schema(self.name)["properties"]
        schema = inferred.schema if inferred else {"type": "object", "properties": self.documented}
        self._load: ExportLoad | None = None
        super().__init__(tap, schema=copy.deepcopy(schema))
        self.primary_keys = inferred.key if inferred else ("id",)
        self.api, self.host = api, host
        self.totals = Totals()
        self.logged: dict[str, None] = {}

    # --- what catalog and state say

    @override
    def apply_catalog(self, catalog: SingerCatalog) -> None:
        super().apply_catalog(catalog)
        self.replication_key = "_sdc_exported_at"

    @property
    def catalog(self) -> Catalog:
        """What the catalog says of this stream."""
        properties = super().effective_schema.get("properties", {})
        mask = super().mask
        deselected = frozenset(name for name in properties if not mask["properties", name])
        entry = self._tap.input_catalog.get_stream(self.name) if self._tap.input_catalog else None
        if not entry:
            return Catalog(properties, deselected, tuple(self.primary_keys))
        # Discovery writes its key into both places; a user changes one.
        key, pinned = tuple(entry.key_properties or ()), tuple(entry.metadata.root.table_key_properties or ())
        return Catalog(
            properties, deselected, pinned or key or FALLBACK_KEY, is_key_pinned=bool(pinned) and pinned != key
        )

    @property
    def state(self) -> StreamState:
        """What the state remembers of this stream."""
        return StreamState(self.stream_state)

    @property
    def bookmark(self) -> Bookmark | None:
        """What counts as loaded: nothing in FULL_TABLE mode."""
        return None if self.replication_method == "FULL_TABLE" else self.state.bookmark

    @override
    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Set no upper limit to the bookmark: it is a time of Dynamic's clock, not of this machine's."""

    # --- one export

    def load(self, export: Export) -> None:
        """Write all messages of an export.

        Args:
            export: A completed one.

        Raises:
            TapError: If its rows can't be read to the end.
        """
        label = f"Stream {self.name}, export {export.id}"
        if export.format != "csv":
            msg = f"{label}: its format is {first_line(export.format)!r}, not csv. Make a CSV export."
            raise FileUnusable(msg)
        file = self.host.fetch(lambda: self.api.download_url(export.id), label)
        opened = ExportLoad.open(
            export,
            file,
            catalog=self.catalog,
            table=self.state.table,
            documented=self.documented,
            logger=self.logger,
        )
        try:
            with opened as self._load:
                self._begin(self._load)
                self.sync({"export_id": export.id})
        except Exception as error:
            if isinstance(error, TapError):
                raise
            row = f", row {self._load.row_number}" if self._load and self._load.row_number else ""
            msg = f"{label}{row}: the load failed ({type(error).__name__}). No data was lost; please report this."
            raise TapError(msg) from None
        finally:
            self._load = None

    def _begin(self, load: ExportLoad) -> None:
        """Register the layout with the SDK's maps, and remember the table that its SCHEMA makes."""
        layout = load.layout
        try:
            self._tap.mapper.register_raw_stream_schema(self.name, layout.schema, list(layout.key))
        except StreamMapConfigError as error:
            msg = f"{load.file.label}: stream_maps can't be applied to its columns: {first_line(error)}"
            raise TapError(msg) from None
        for stream_map in self.stream_maps:
            lost = set(stream_map.transformed_key_properties or ()) - set(stream_map.transformed_schema["properties"])
            if lost and not isinstance(stream_map, RemoveRecordTransform):
                msg = f"{load.file.label}: flattening renames key columns. Raise flattening_max_key_length."
                raise TapError(msg)
        for note in load.notes():
            self.log_once(load, note)
        if self.config["emit_activate_version_messages"]:
            # Seconds: SQL targets keep the version in 32 bits. Private in the SDK, which sets it for FULL_TABLE only.
            self._stream_version = int(load.export.completed_at.timestamp())
        self.state.remember_table(layout)

    def _commit(self, load: ExportLoad) -> None:
        """Write what follows an export's last row: its ACTIVATE_VERSION, and the STATE with the bookmark."""
        export = load.export
        if (
            self._stream_version is not None
            and is_newest(export, self.state.bookmark)
            and not self.config.get("batch_config")
        ):
            if load.rows:
                self._write_activate_version_message(self._stream_version)  # private: one for each map
            else:
                self.log_once(load, Note("the file has no rows: none are deleted from the table", is_warning=True))
        # A named export says nothing about older ones that `all` has still to read.
        moves_bookmark = not (self.config.get("export_ids") and self.config["snapshots"] == "all")
        self.state.commit(export, replication_key=self.replication_key, moves_bookmark=moves_bookmark)
        self._tap.state_writer.write_state(self.tap_state)
        for note in load.notes():
            self.log_once(load, note)
        self.totals.exports += 1
        self.totals.rows += load.rows
        self.totals.columns = len(load.layout.names)
        self.totals.seconds += load.seconds

    def log_once(self, load: ExportLoad, note: Note) -> None:
        """Log a line about an export, the same text only once in a run."""
        if note.text not in self.logged:
            self.logged[note.text] = None
            level = logging.WARNING if note.is_warning else logging.INFO
            self.log("Export %s: %s.", load.export.id, note.text, level=level)

    def log_summary(self) -> None:
        """Log the run in one line."""
        totals, notes = self.totals, "".join(f"; {text}" for text in self.logged)
        parts = (plural(totals.exports, "export"), plural(totals.rows, "row"), plural(totals.columns, "column"))
        self.log("%s: %s read, %s, %s, %.1f s%s.", self.name, *parts, totals.seconds, notes)

    # --- what the SDK sees while an export is loaded

    @override
    @property
    def schema(self) -> dict[str, Any]:
        return self._load.layout.schema if self._load else super().schema

    @override
    @property
    def effective_schema(self) -> dict[str, Any]:
        return self._load.layout.schema if self._load else super().effective_schema

    @override
    @property
    def mask(self) -> SelectionMask:
        """The selection; during a load, of parts of objects: the layout has just the selected columns."""
        mask = super().mask
        if not self._load or all(len(path) <= 2 for path in mask):  # noqa: PLR2004 (`properties`, name)
            return mask if not self._load else EVERYTHING
        return SelectionMask({path: chosen for path, chosen in mask.items() if len(path) > 2})  # noqa: PLR2004

    @property
    @override
    def record_label(self) -> str:
        load = self._load
        return f"{load.file.label}, row {load.row_number}" if load else super().record_label

    # --- messages

    @override
    def get_records(self, context: Context | None) -> Iterator[Record]:
        yield from self._active_load.records()

    @property
    def _active_load(self) -> ExportLoad:
        if self._load is None:
            msg = f"Stream {self.name} is synced as a child of exports."
            raise TapError(msg)
        return self._load

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
        load = self._active_load
        with self._metered(context) as counter:
            if self._is_plain:
                encoder = RecordEncoder(load.layout.names)
                for rows, values in load.chunks():
                    lines = record_messages(self.name, self._stream_version, encoder.encode(values))
                    self._tap.message_writer.write_lines(lines)  # type: ignore[attr-defined]
                    counter.increment(rows)
            else:
                for record in self._limited(load.records()):
                    self._write_record_message(record)
                    counter.increment()
        if not self.is_dry_run:
            self._commit(load)
        yield from ()

    def _limited(self, records: Iterator[Record]) -> Iterator[Record]:
        """Stop at the record limit of a dry run."""
        for count, record in enumerate(records, 1):
            yield record
            if self.ABORT_AT_RECORD_COUNT is not None and count >= self.ABORT_AT_RECORD_COUNT:
                return

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        load = self._active_load
        with self._metered(context) as counter:
            if self._is_plain:
                names = load.layout.names
                with self.new_batch_writer(batch_config, self.name, load.layout.schema) as writer:
                    for rows, values in load.chunks(min(ROWS_PER_CHUNK, batch_config.batch_size)):
                        writer.add(rows, writer.encode_values(names, values))
                        counter.increment(rows)
            else:
                self.write_mapped_batches(batch_config, self._counted(load.records(), counter))
        if not self.is_dry_run:
            self._commit(load)
        return ()

    def _counted(self, records: Iterator[Record], counter: Counter) -> Iterator[Record]:
        for record in self._limited(records):
            yield record
            counter.increment()

    @contextlib.contextmanager
    def _metered(self, context: Context | None) -> Iterator[Counter]:
        """Count and time rows as the SDK does."""
        with self.get_record_counter() as counter, self.get_sync_timer() as timer:
            counter.with_context(context)
            timer.with_context(context)
            yield counter


class UsersStream(RowStream):
    """The users of the environment."""

    name = "users"


class VisitsStream(RowStream):
    """The visits of the environment."""

    name = "visits"
