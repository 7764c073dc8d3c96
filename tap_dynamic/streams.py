"""The streams: exports, and its children users and visits."""

from __future__ import annotations

import contextlib
import copy
import gzip
import logging
import os
import sys
import time
from datetime import datetime, timezone
from itertools import chain, count, repeat, starmap
from operator import eq
from typing import IO, TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import msgspec
import pendulum
from singer_sdk.exceptions import AbortedSyncFailedException, AbortedSyncPausedException
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.schema.source import SchemaDirectory, StreamSchema

from tap_dynamic import schemas
from tap_dynamic.client import TELL_EVERY, DynamicStream, Export, Progress, TapError, completed_at, first_line, moment
from tap_dynamic.download import FileHost
from tap_dynamic.rows import CHUNK, HEAD, Column, CsvFile, column_names, read_head, reads_as, type_of

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from singer_sdk import Tap
    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.metrics import Counter
    from singer_sdk.singerlib import Catalog, MetadataMapping

SCHEMAS = SchemaDirectory(schemas)
LINEAGE = ("_sdc_export_id", "_sdc_exported_at", "_sdc_row_number")
ROW_KEY = ("_sdc_export_id", "_sdc_row_number")
TEXT = {"type": ["string", "null"]}
REQUEST_AGE = 24.0
"""Hours after which a pending export, requested by an earlier run, is given up."""


def by_completion(exports: Iterable[Export]) -> list[Export]:
    """Sort exports by completion, oldest first.

    Args:
        exports: Their metadata.

    Returns:
        The same, sorted.
    """
    return sorted(exports, key=lambda export: (moment(completed_at(export)), export["id"]))


def trouble_of(export: Export) -> str | None:
    """Say why an export will never have rows.

    Args:
        export: Its metadata.

    Returns:
        The reason, or None if it is completed or pending.
    """
    name = f"Export {export['id']} of {export['model']}"
    if export["status"] == "failed":
        return f"{name} failed at Dynamic: {first_line(export.get('error')) or 'no reason given'}"
    if export["status"] not in {"completed", "pending"}:
        return f"{name} has the status {first_line(export['status'])!r}, which this version of the tap does not know"
    return None


class ExportsStream(DynamicStream):
    """Metadata of the exports; starts the sync of the rows of those that are to be read."""

    name = "exports"
    path = "/exports"
    primary_keys: ClassVar[tuple[str, ...]] = ("id",)
    schema: ClassVar[StreamSchema[str]] = StreamSchema(SCHEMAS)
    emit_activate_version_messages = False
    """An export that Dynamic lists no more stays in the table: loaded rows refer to it."""

    def __init__(self, tap: Tap) -> None:
        super().__init__(tap)
        self._to_read: set[str] = set()
        self._failures: dict[str, None] = {}

    @override
    @property
    def metadata(self) -> MetadataMapping:
        metadata = super().metadata
        if self._tap_input_catalog is None:
            metadata["properties", "downloadUrl"].selected_by_default = False
        return metadata

    @property
    def rows_of(self) -> dict[str, RowStream]:
        """The selected row streams by model."""
        return {child.name: child for child in self.child_streams if child.selected and isinstance(child, RowStream)}

    @property
    def is_test(self) -> bool:
        """Whether this is `--test` or the SDK's test suite, which must not create exports."""
        return self.ABORT_AT_RECORD_COUNT is not None

    def newest(self) -> dict[str, Export]:
        """Fetch the metadata of the exports whose heads tell the columns.

        Returns:
            The newest completed one of each model, of `export_ids` or else of all.

        Raises:
            TapError: If Dynamic shows none of the named exports.
        """
        named = dict.fromkeys(self.config.get("export_ids") or ())
        exports, errors = [] if named else self.list_exports(), []
        for export_id in named:
            try:
                exports.append(self.get_export(export_id))
            except TapError as error:
                errors.append(error)
        if errors and not exports:
            raise errors[0]
        return {e["model"]: e for e in by_completion(exports) if e["status"] == "completed"}

    @override
    def get_records(self, context: Context | None) -> Iterator[Record]:
        rows_of = self.rows_of
        awaited = list(dict.fromkeys(self.config.get("export_ids") or ()))
        exports = [] if awaited else self.list_exports()
        unread: list[Export] = []
        if self.config["request_exports"] and not self.is_test:
            awaited = list(self._request_all(exports))
        elif not awaited:
            unread = by_completion(e for stream in rows_of.values() for e in stream.unread(exports))
        if self.is_test:
            # The SDK stops after a few exports, but each row stream is worth a try.
            self.ABORT_AT_RECORD_COUNT = max(self.ABORT_AT_RECORD_COUNT or 0, len(unread), len(awaited))
        self._to_read = {e["id"] for e in unread}
        others = [e for e in exports if e["id"] not in {*self._to_read, *awaited}]
        for stream in rows_of.values():
            stream.warn_of(others)
        yield from unread
        yield from others
        for export in self._await(awaited):
            if export["status"] == "completed" and export["model"] in rows_of:
                self._to_read.add(export["id"])
            yield export
        for stream in rows_of.values():
            stream.tell_summary()
        if self._failures:
            raise TapError("\n".join(self._failures))

    @override
    def generate_child_contexts(self, record: Record, context: Context | None) -> Iterable[Context | None]:
        # The SDK would start all children with each context: an export has rows of one.
        if record["id"] in self._to_read:
            self._to_read.remove(record["id"])
            try:
                self.rows_of[record["model"]].sync_export(record)
            except (AbortedSyncFailedException, AbortedSyncPausedException):
                return ()  # the few rows of a test are there
            except TapError as error:
                if self.is_test:
                    raise
                self._fail(error)
                # Later snapshots wait for this one: read now, it would come back after them.
                self._to_read -= {e["id"] for e in self.rows_of[record["model"]].waiting}
        return ()

    def _fail(self, error: TapError | str) -> None:
        self._failures.update(dict.fromkeys(str(error).splitlines()))

    def _request_all(self, exports: list[Export]) -> Iterator[str]:
        for stream in self.rows_of.values():
            try:
                yield stream.request(exports)
            except TapError as error:
                self._fail(error)

    def _await(self, export_ids: list[str]) -> Iterator[Export]:
        """Wait for exports.

        Yields:
            Those that ended; a completed one not before all of its model have ended,
            so that the oldest comes first.
        """
        pending, done = export_ids, []
        limit = 0 if self.is_test else self.config["export_timeout"]
        began = told = time.monotonic()
        while pending:
            looked = []
            for export_id in pending:
                try:
                    looked.append(self.get_export(export_id))
                except TapError as error:
                    self._fail(error)
            waiting = [e for e in looked if e["status"] == "pending" and e["model"] in self.rows_of]
            done += [e for e in looked if e not in waiting]
            models = {e["model"] for e in waiting}
            yield from self._judge(e for e in done if e["model"] not in models)
            done = [e for e in done if e["model"] in models]
            pending = [e["id"] for e in waiting]
            waited = time.monotonic() - began
            if pending and waited >= limit:
                for export in waiting:
                    self._fail(
                        f"Export {export['id']} of {export['model']} is still pending after {waited:.0f} seconds"
                        " (export_timeout). Run again later: the tap goes on waiting for the same export."
                    )
                yield from waiting
                yield from self._judge(done)
                return
            if pending:
                if told == began or time.monotonic() - told >= 3 * TELL_EVERY:
                    told = time.monotonic()
                    names = ", ".join(f"{e['id']} ({e['model']})" for e in waiting)
                    self.log("Waiting for export %s, for %d s so far.", names, waited)
                time.sleep(min(self.config["poll_interval"], max(0.0, limit - waited)))

    def _judge(self, exports: Iterable[Export]) -> list[Export]:
        """Note which awaited exports failed; return them all, oldest completion first."""
        exports = by_completion(exports)
        for export in exports:
            if trouble := trouble_of(export):
                self._fail(f"{trouble}. Ask for a new export, or read others with export_ids.")
        return exports


class RowStream(DynamicStream):
    """Rows of the exports of one model: each row of the file is a record."""

    path = "/exports/{export_id}"
    parent_stream_type = ExportsStream
    replication_key = "_sdc_exported_at"
    state_partitioning_keys = ()
    emit_activate_version_messages = False
    """Not the SDK's way, which empties a table before the file is here; see `_finish`."""
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE  # values come typed from rows.py

    def __init__(self, tap: Tap, newest: Export | None = None) -> None:
        """Make the stream, with the columns of a file or else the documented ones.

        Args:
            tap: The tap.
            newest: The export whose head tells the columns.
        """
        self.documented = SCHEMAS.get_schema(self.name)["properties"]
        super().__init__(tap, schema=copy.deepcopy({"type": "object", "properties": self.documented}))
        self.primary_keys = ("id",)
        schemes = ("https", "http") if self.config["api_url"].startswith("http://") else ("https",)
        self.host = FileHost(self.agent, self.timeout, schemes, self.logger)
        self.waiting: list[Export] = []
        self._pinned_key = False
        self._catalog_schema: dict[str, Any] | None = None
        self._file: CsvFile | None = None
        self._columns: list[Column] = []
        self._names: list[str] = []
        self._loads: dict[str, float] = {"exports": 0, "rows": 0, "seconds": 0.0}
        self._notes: dict[str, None] = {}
        if newest:
            self._discover(newest)

    def _discover(self, export: Export) -> None:
        try:
            rows = read_head(self.host.head(self.get_download_url(export["id"]), HEAD))
            problem = "" if rows else "its file has no header"
        except TapError as error:
            rows, problem = [], str(error)
        if problem:
            text = "The columns of %s are the documented ones: export %s: %s"
            self.log(text, self.name, export["id"], problem, level=logging.WARNING)
            return
        types = self._types(column_names(rows[0], LINEAGE), rows[1:])
        self._schema = {"type": "object", "properties": {**types, **self._lineage()}}
        self.primary_keys = ROW_KEY if self._contradiction(("id",), list(types), rows[1:]) else ("id",)

    def _lineage(self) -> dict[str, Any]:
        return {name: self.documented[name] for name in LINEAGE}

    def _types(self, names: list[str], sample: list[list[str]]) -> dict[str, Any]:
        """Give each column its documented type where the sample reads as it, else text."""
        cells = dict(zip(names, zip(*sample))) if sample else {}
        return {
            name: self.documented[name]
            if name in self.documented and reads_as(self.documented[name], cells.get(name, ()))
            else TEXT
            for name in names
        }

    def _is_documented(self, name: str, schema: dict[str, Any] | None) -> bool:
        """Whether a column has a type that is not the user's, and is no text."""
        return schema is not None and type_of(schema) == type_of(self.documented.get(name, TEXT)) != "string"

    @staticmethod
    def _contradiction(key: Sequence[str], names: list[str], sample: list[list[str]]) -> str | None:
        """Say why some columns can't be the key of a file."""
        columns = [name for name in key if name not in LINEAGE]
        for name in columns:
            if name not in names:
                return f"the file has no column {name!r}"
        values = [tuple(row[names.index(name)] for name in columns) for row in sample]
        if any("" in value for value in values):
            return f"{', '.join(key)} is empty in some rows"
        if "_sdc_row_number" not in key and len(set(values)) < len(values):
            return f"{', '.join(key)} is the same in several rows"
        return None

    # --- which exports

    @property
    def _bookmark(self) -> str | None:
        value = self.stream_state.get("replication_key_value")
        return None if value is None or self.replication_method == "FULL_TABLE" else str(value)

    def unread(self, exports: list[Export]) -> list[Export]:
        """Choose the exports whose rows are to be read.

        Args:
            exports: All exports.

        Returns:
            Those of this model that `snapshots`, `start_date` and the bookmark leave.
        """
        chosen = completed = [e for e in exports if e["model"] == self.name and e["status"] == "completed"]
        if start := self.config.get("start_date"):
            chosen = [e for e in chosen if moment(completed_at(e)) >= moment(start)]
        if chosen and self.config["snapshots"] == "latest":
            newest = max(moment(completed_at(e)) for e in chosen)
            chosen = [e for e in chosen if moment(completed_at(e)) == newest]
        if bookmark := self._bookmark:
            at, loaded = moment(bookmark), self.stream_state.get("export_ids", ())
            chosen = [e for e in chosen if moment(completed_at(e)) >= at]
            chosen = [e for e in chosen if moment(completed_at(e)) > at or e["id"] not in loaded]
        if not completed:
            self.log("There is no completed export yet: make one in Dynamic's dashboard, or set request_exports.")
        elif not chosen:
            self.log("Nothing new: %d completed exports, all read before or older than start_date.", len(completed))
        self.waiting = chosen
        return chosen

    def warn_of(self, exports: list[Export]) -> None:
        """Warn of the exports of this model that failed, unless a later one was loaded.

        Args:
            exports: Those that nobody waits for.
        """
        bookmark = self._bookmark
        for export in exports:
            is_new = bookmark is None or moment(completed_at(export)) > moment(bookmark)
            if export["model"] == self.name and is_new and (trouble := trouble_of(export)):
                self.log("%s.", trouble, level=logging.WARNING)

    def request(self, exports: list[Export]) -> str:
        """Ask for a fresh export, unless an earlier run did and it is still of use.

        Args:
            exports: All exports.

        Returns:
            The id of the export to wait for, which is in the state from now on.
        """
        asked = self.stream_state.get("requested_export_id")
        for export in exports:
            if export["id"] == asked:
                age = pendulum.now("UTC") - moment(completed_at(export))
                limit = self.config["export_timeout"] if export["status"] == "completed" else REQUEST_AGE * 3600
                if export["status"] in {"completed", "pending"} and age.total_seconds() <= limit:
                    self.log("Export %s was requested by an earlier run: it is not requested again.", asked)
                    return str(asked)
        export_id = str(self.create_export(self.name, exports)["id"])
        self.log("Requested export %s of %s.", export_id, self.name)
        self.stream_state["requested_export_id"] = export_id
        self._tap.state_writer.write_state(self.tap_state)
        return export_id

    # --- one export: from its file to its messages

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        super().apply_catalog(catalog)
        if entry := catalog.get_stream(self.name):
            # The SDK prefers what discovery wrote (key_properties) to what the user sets.
            key = entry.metadata.root.table_key_properties
            self._pinned_key = bool(key) and list(key or ()) != list(entry.key_properties or ())
            self.primary_keys = tuple(key or entry.key_properties or ROW_KEY)
            self.replication_key = "_sdc_exported_at"

    @override
    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Set no upper limit to the bookmark: it is of Dynamic's clock, not of this one."""

    def sync_export(self, export: Export) -> None:
        """Write all messages of an export.

        Args:
            export: A completed one.

        Raises:
            TapError: If its rows can't be read to the end.
        """
        self._export, self._exported_at = export, completed_at(export)
        self.sync({"export_id": export["id"]})

    @override
    def preprocess_context(self, context: Context) -> Context:
        """Fetch the file before the SCHEMA message is written, so that it fits the file."""
        self._began, export = time.monotonic(), self._export
        what = f"Stream {self.name}, export {export['id']}"
        self._spool: IO[bytes] = self.host.fetch(lambda: self.get_download_url(export["id"]), what)
        try:
            self._file = CsvFile(self._spool, what)
            self._fit_catalog(self._file)
        except TapError:
            self._spool.close()
            raise
        if self.config["emit_activate_version_messages"]:
            # Seconds: SQL targets keep the version in 32 bits.
            self._stream_version = moment(self._exported_at).int_timestamp
        return context

    def _fit_catalog(self, file: CsvFile) -> None:
        """Settle columns, types and key for a file, and tell them to the SDK's mapper."""
        if self._catalog_schema is None:
            self._catalog_schema = self.effective_schema
        known: dict[str, Any] = self._catalog_schema["properties"]
        names = column_names(file.header, LINEAGE)
        sample = file.head[1:]
        types = self._types(names, sample)
        is_first = "replication_key_value" not in self.stream_state
        if is_first and (odd := [n for n in names if types[n] is TEXT and self._is_documented(n, known.get(n))]):
            self._warn("these columns are loaded as text, for they do not read as their documented types: %s", odd)
            known |= dict.fromkeys(odd, TEXT)
        properties = {name: schema for name, schema in known.items() if self.mask["properties", name]}
        if new := [name for name in names if name not in known]:
            if len(properties) == len(known):
                properties.update({name: types[name] for name in new})
                self._note("new columns: %s", new)
            else:
                self._warn("new columns are left out, because the catalog selects columns: %s", new)
        if lost := [name for name in properties if name not in names and name not in LINEAGE]:
            self.log("Export %s: columns that the file lacks: %s.", self._export["id"], ", ".join(lost))
        key = self._settle_key(names, sample, is_first=is_first)
        # These come whatever is selected: no target can do without.
        own = {**types, **known, **self._lineage()}
        properties |= {name: own[name] for name in (*key, "_sdc_exported_at")}
        self._columns = [
            Column(name, names.index(name) if name in names else None, schema, required=name in key)
            for name, schema in properties.items()
            if name not in LINEAGE
        ]
        self._names = [*(c.name for c in self._columns), *(n for n in LINEAGE if n in properties)]
        self._schema = self._input_schema = {"type": "object", "properties": properties}
        self._tap.mapper.register_raw_stream_schema(self.name, self._schema, list(key))
        self._stream_maps = None  # the SDK keeps the old ones

    def _settle_key(self, names: list[str], sample: list[list[str]], *, is_first: bool) -> Sequence[str]:
        """Choose the key: the user's, else the table's, else the catalog's; never one that the file contradicts."""
        key = tuple(self.primary_keys)
        table_key = tuple(self.stream_state.get("key_properties", ()))
        if table_key and not self._pinned_key:
            key = table_key
        if problem := self._contradiction(key, names, sample):
            if not is_first:
                msg = (
                    f"Stream {self.name}, export {self._export['id']}: {', '.join(key)} can't be the key: {problem}."
                    f" Set the stream's table-key-properties to [{', '.join(ROW_KEY)}] or to columns that are"
                    " (Meltano: the extractor's `metadata` extra), best with a new table (--full-refresh)."
                )
                raise TapError(msg)
            self._warn("the key is " + ", ".join(ROW_KEY) + f", because {problem}: %s", list(key))
            key = ROW_KEY
        self.primary_keys = key
        return key

    def _chunks(self, size: int = CHUNK) -> Iterator[tuple[int, list[Sequence[Any]]]]:
        """Read the open file.

        Args:
            size: Number of rows at once.

        Yields:
            A number of rows, and as many values for each of `_names`.
        """
        if self._file is None:
            msg = f"Stream {self.name} is synced as a child of exports."
            raise TapError(msg)
        key = [i for i, column in enumerate(self._columns) if column.required]
        previous: Any = None
        repeated = 0
        progress = Progress(f"Stream {self.name}, export {self._export['id']}", "rows", self.logger)
        with self._spool:
            length = os.fstat(self._spool.fileno()).st_size
            for numbers, values in self._file.chunks(self._columns, size):
                if key and "_sdc_row_number" not in self.primary_keys:
                    keys = values[key[0]] if len(key) == 1 else list(zip(*(values[i] for i in key)))
                    repeated += sum(map(eq, keys, chain([previous], keys)))
                    previous = keys[-1]
                lineage = {
                    "_sdc_export_id": repeat(self._export["id"], len(numbers)),
                    "_sdc_exported_at": repeat(self._exported_at, len(numbers)),
                    "_sdc_row_number": numbers,
                }
                self._loads["rows"] += len(numbers)
                yield len(numbers), [*values, *(lineage[n] for n in self._names[len(values) :])]  # type: ignore[list-item]
                progress.tell(numbers[-1], self._spool.tell() / length)
        if repeated:
            self._warn(
                f"{repeated:,} rows repeat the key of the row before; a target that upserts keeps one: %s",
                list(self.primary_keys),
            )
        if self._file.nuls:
            self._warn(f"{self._file.nuls:,} NUL characters were dropped", [])

    def _finish(self) -> None:
        """Write what follows an export's last row: its ACTIVATE_VERSION, and the STATE with the bookmark."""
        state, now = self.stream_state, moment(self._exported_at)
        before = state.get("replication_key_value")
        is_newest = before is None or now >= moment(before)
        if self._stream_version is not None and is_newest and not self.config.get("batch_config"):
            self._write_activate_version_message(self._stream_version)
        state.pop("starting_replication_value", None)
        if state.get("requested_export_id") == self._export["id"]:
            del state["requested_export_id"]
        # A named export says nothing of older ones that `all` has still to read.
        if is_newest and not (self.config.get("export_ids") and self.config["snapshots"] == "all"):
            same = state.get("export_ids", []) if before is not None and now == moment(before) else []
            state.update(
                replication_key=self.replication_key,
                replication_key_value=self._exported_at,
                export_ids=sorted({*same, self._export["id"]}),
                key_properties=list(self.primary_keys),
            )
        self._tap.state_writer.write_state(self.tap_state)
        self._loads["exports"] += 1
        self._loads["seconds"] += time.monotonic() - self._began

    @override
    def get_records(self, context: Context | None) -> Iterator[Record]:
        for _, values in self._chunks():
            for row in zip(*values):
                yield dict(zip(self._names, row))
        if not self.config.get("batch_config"):
            self._finish()

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterator[tuple[BaseBatchFileEncoding, list[str]]]:
        if self._is_plain() and batch_config.encoding.format == "jsonl":
            yield from self._bulk_batches(batch_config, context)
        else:
            yield from super().get_batches(batch_config, context)
        self._finish()

    def _bulk_batches(
        self, batch_config: BatchConfig, context: Context | None
    ) -> Iterator[tuple[BaseBatchFileEncoding, list[str]]]:
        """Write files as the SDK's batcher does, of at most `batch_size` rows."""
        storage, size = batch_config.storage, batch_config.batch_size
        name = f"{storage.prefix or ''}{self.tap_name}--{self.name}-{uuid4()}"
        with self._metered(context) as counter:
            chunks = self._encoded_records(min(CHUNK, size))
            chunk = next(chunks, None)
            for number in count(1):
                if not chunk:
                    return
                rows, file = 0, f"{name}-{number}.json.gz"
                with storage.open(file, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1) as packed:
                    while chunk and rows + chunk[0] <= size:
                        packed.write(chunk[1])
                        rows += chunk[0]
                        chunk = next(chunks, None)
                counter.increment(rows)
                yield batch_config.encoding, [storage.get_url(file)]

    @contextlib.contextmanager
    def _metered(self, context: Context | None) -> Iterator[Counter]:
        """Count and time rows as the SDK does."""
        with self.get_record_counter() as counter, self.get_sync_timer() as timer:
            counter.with_context(context)
            timer.with_context(context)
            yield counter

    @override
    def _increment_stream_state(self, latest_record: Record, *, context: Context | None = None) -> None:
        """Leave the bookmark alone: `_finish` moves it, after the last row."""

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[Record, Any, Any]:
        """Write RECORD messages in bulk where the SDK would change nothing in a record.

        Private in the SDK, which has no hook for many rows at once; its own way handles
        a row in 50 µs. tests/test_bulk.py compares both, message for message.
        """
        if not write_messages or not self._is_plain():
            yield from super()._sync_records(context, write_messages=write_messages)
            return
        with self._metered(context) as counter:
            for rows, lines in self._encoded_messages():
                self._tap.message_writer.write_lines(lines)  # type: ignore[attr-defined]
                counter.increment(rows)
        self._finish()

    def _is_plain(self) -> bool:
        """Whether records pass as they are: no stream map, flattening, limit or deselected part."""
        stream_map = self.stream_maps[0]
        return (
            len(self.stream_maps) == 1
            and type(stream_map) is SameRecordTransform
            and not stream_map.flattening_enabled
            and self.ABORT_AT_RECORD_COUNT is None
            and not any(len(path) > 2 and not chosen for path, chosen in self.mask.items())  # noqa: PLR2004 (nested)
        )

    def _encoded_records(self, size: int = CHUNK) -> Iterator[tuple[int, bytes]]:
        """Encode the open file.

        Args:
            size: Number of rows at once.

        Yields:
            A number of rows, and as many lines of JSON, each a record.
        """
        rename = {f"f{i}": name for i, name in enumerate(self._names)}
        record: Callable[..., Any]
        try:  # half the cost of a dict
            record = msgspec.defstruct("Record", [(field, Any) for field in rename], rename=rename, gc=False)
        except ValueError:  # a name with a quote or the like
            record = lambda *row: dict(zip(self._names, row))  # noqa: E731
        encode = msgspec.json.Encoder(decimal_format="number").encode_lines
        for rows, values in self._chunks(size):
            yield rows, encode(list(starmap(record, zip(*values))))

    def _encoded_messages(self) -> Iterator[tuple[int, bytes]]:
        start = b'{"type":"RECORD","stream":%b,"record":' % msgspec.json.encode(self.name)
        version = b"" if self._stream_version is None else b',"version":%d' % self._stream_version
        for rows, lines in self._encoded_records():
            extracted = msgspec.json.encode(datetime.now(timezone.utc))
            end = version + b',"time_extracted":' + extracted + b"}\n"
            # JSON escapes line breaks: each one here ends a record.
            yield rows, start + lines.replace(b"\n", end + start)[: -len(start)]

    def _warn(self, text: str, names: list[str]) -> None:
        self._note(text, names, level=logging.WARNING)

    def _note(self, text: str, names: list[str], *, level: int = logging.INFO) -> None:
        """Log a line about columns, the same one only once in a run."""
        text = text % ", ".join(names) if names else text
        if text not in self._notes:
            self._notes[text] = None
            self.log("Export %s: %s.", self._export["id"], text, level=level)

    def tell_summary(self) -> None:
        """Log the run in one line."""
        loads, notes = self._loads, "".join(f"; {note}" for note in self._notes)
        self.log(
            "%s: %d exports read, %s rows, %d columns, %.1f s%s.",
            self.name,
            loads["exports"],
            f"{loads['rows']:,}",
            len(self._names),
            loads["seconds"],
            notes,
        )


class UsersStream(RowStream):
    """The users of the environment."""

    name = "users"


class VisitsStream(RowStream):
    """The visits of the environment."""

    name = "visits"
