"""What the streams have in common: maps, BATCH files, and failures without the record."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from singer_sdk import Stream
from singer_sdk.helpers._catalog import get_selected_schema
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.mapper import RemoveRecordTransform
from typing_extensions import override

from tap_dynamic.errors import TapError
from tap_dynamic.output.jsonlines import JsonLinesWriter
from tap_dynamic.singer.records import fit_record

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from singer_sdk import Tap
    from singer_sdk.helpers._batch import BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.mapper import StreamMap
    from singer_sdk.metrics import Counter
    from singer_sdk.singerlib import RecordMessage

    from tap_dynamic.output.batches import BatchWriter


class DynamicStream(Stream):
    """What the streams have in common."""

    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE  # values are typed where they are parsed

    def __init__(self, tap: Tap, **kwargs: Any) -> None:
        super().__init__(tap, **kwargs)
        self.failures: dict[str, None] = {}
        self.record_label = f"Stream {self.name}"
        """The record at hand, for messages."""
        self.version: int | None = None
        """The version of the table, where messages have one."""
        self.passed = set[str]()
        """The streams of maps that got a record of the export at hand."""

    @property
    def is_dry_run(self) -> bool:
        """Whether this is `--test` or the SDK's test suite, which must not create exports."""
        return self.ABORT_AT_RECORD_COUNT is not None

    @override
    @property
    def stream_maps(self) -> list[StreamMap]:
        # The SDK keeps the first maps; these follow the schema of each file.
        maps = self._tap.mapper.stream_maps
        if self.name not in maps:
            selected = get_selected_schema(self.name, self.effective_schema, self.mask)
            self._tap.mapper.register_raw_stream_schema(self.name, selected, list(self.primary_keys))
        return maps[self.name]

    @override
    def log(self, message: str, *args: Any, level: int = logging.INFO, **kwargs: Any) -> None:
        # At ERROR the SDK announces whatever leaves `sync`; the failure is reported once, where it is known.
        if level < logging.ERROR:
            super().log(message, *args, level=level, **kwargs)

    @override
    def get_batch_config(self, config: Any) -> BatchConfig | None:
        batch_config = None if self.is_dry_run else super().get_batch_config(config)  # a test leaves no files behind
        if batch_config and batch_config.encoding.format == "jsonl":
            batch_config.encoding.compression = "gzip"
        elif batch_config:
            batch_config.encoding.compression = None  # Parquet compresses its own pages
            if "batch_size" not in config["batch_config"]:
                batch_config.batch_size = 100_000
        return batch_config

    @override
    def _write_record_message(self, record: Record) -> None:
        """Report a failing map or filter without the record.

        Private in the SDK, where whatever a map raises would end the run, with the record in its text.
        """
        with self.reporting_failures():
            super()._write_record_message(record)

    @override
    def _generate_record_messages(self, record: Record) -> Generator[RecordMessage, None, None]:
        """Fit what maps and flattening make of a record to its SCHEMA.

        Private in the SDK, which guesses the types of expressions.
        """
        shapes = {m.stream_alias: (m.transformed_schema, m.transformed_key_properties) for m in self.stream_maps}
        for message in super()._generate_record_messages(record):
            schema, key = shapes[message.stream]
            try:
                message.record = fit_record(message.record, schema, key or ())
            except ValueError as error:
                msg = f"{self.record_label}: {error}. Check stream_maps."
                raise TapError(*self.failures, msg) from None
            message.version = self.version
            self.passed.add(message.stream)
            yield message

    def write_state(self) -> None:
        """Write a STATE message."""
        self._tap.state_writer.write_state(self.tap_state)

    @contextlib.contextmanager
    def metered(self, context: Context | None) -> Iterator[Counter]:
        """Count and time rows as the SDK does."""
        with self.get_record_counter() as counter, self.get_sync_timer() as timer:
            counter.with_context(context)
            timer.with_context(context)
            yield counter

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
            raise TapError(*self.failures, msg) from None

    def new_batch_writer(self, config: BatchConfig, alias: str, schema: dict[str, Any]) -> BatchWriter:
        """Make the writer of the BATCH files of this stream, or of one that a map makes of it."""
        writer: type[BatchWriter] = JsonLinesWriter
        if config.encoding.format == "parquet":
            from tap_dynamic.output.parquet import ParquetWriter  # noqa: PLC0415 (needs an extra)

            writer = ParquetWriter
        return writer(alias, self.tap_name, config, schema, self._tap.write_message)

    @contextlib.contextmanager
    def mapped_batches(self, config: BatchConfig) -> Iterator[Callable[[Record, str], None]]:
        """Open BATCH files for the records that RECORD messages would hold, each stream to its own.

        Yields:
            A function that takes a record, and what it is for messages.
        """
        with contextlib.ExitStack() as stack:
            writers = {
                stream_map.stream_alias: stack.enter_context(
                    self.new_batch_writer(config, stream_map.stream_alias, stream_map.transformed_schema)
                )
                for stream_map in self.stream_maps
                if not isinstance(stream_map, RemoveRecordTransform)
            }

            def write(record: Record, label: str) -> None:
                self.record_label = label
                with self.reporting_failures():
                    for message in self._generate_record_messages(record):  # private: runs maps and filters
                        writers[message.stream].add_record(message.record, label)

            yield write
