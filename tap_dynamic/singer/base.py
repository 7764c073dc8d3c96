"""What the streams have in common: stream maps, BATCH files, and failures without the record."""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from singer_sdk import Stream, Tap
from singer_sdk.helpers._catalog import get_selected_schema
from singer_sdk.mapper import RemoveRecordTransform, StreamMap
from singer_sdk.singerlib import RecordMessage
from typing_extensions import override

from tap_dynamic.errors import TapError
from tap_dynamic.output.batches import JsonLinesWriter
from tap_dynamic.singer.records import UnfitError, drop_parts, fit_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from singer_sdk.helpers._batch import BatchConfig
    from singer_sdk.helpers.types import Record

    from tap_dynamic.output.batches import BatchWriter


class DynamicStream(Stream):
    """What the streams have in common."""

    def __init__(self, tap: Tap, **kwargs: Any) -> None:
        super().__init__(tap, **kwargs)
        self.version: int | None = None
        """The version of the table, where messages have one."""
        self.passed = set[str]()
        """The streams of maps that got a record of the export at hand."""

    @cached_property
    def deselected(self) -> list[tuple[str, ...]]:
        """The paths of what is removed from each record."""
        return [path for path, chosen in self.mask.items() if path and not chosen]

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

    def write_state(self) -> None:
        """Write a STATE message."""
        self._tap.state_writer.write_state(self.tap_state)

    # --- records, one by one

    @override
    def _write_record_message(self, record: Record) -> None:
        """Write what maps make of a record.

        Private in the SDK, where whatever a map raises would end the run, with the record in its text.
        """
        self.map_record(record, f"Stream {self.name}", self._write_record)

    def map_record(self, record: Record, label: str, write: Callable[[str, Record], None]) -> None:
        """Pass on what maps and flattening make of a record, fitted to the SCHEMA whose types the SDK guesses.

        Raises:
            TapError: If the record can't be mapped, fitted or written; it has the label, and nothing of the record.
        """
        try:
            drop_parts(record, self.deselected)
            for stream_map in self.stream_maps:
                mapped = stream_map.transform(record)
                if mapped is not None:
                    schema, key = stream_map.transformed_schema, stream_map.transformed_key_properties or ()
                    write(stream_map.stream_alias, fit_record(mapped, schema, key))
                    self.passed.add(stream_map.stream_alias)
        except TapError:
            raise
        except Exception as error:
            # Only the kind of a foreign error: its text can hold cells.
            kind = type(error.__cause__ or error).__name__
            problem = error if isinstance(error, UnfitError) else f"the record can't be mapped or encoded ({kind})"
            msg = f"{label}: {problem}. Check stream_maps."
            raise TapError(msg) from None

    def _write_record(self, alias: str, record: Record) -> None:
        self._tap.write_message(
            RecordMessage(stream=alias, record=record, version=self.version, time_extracted=datetime.now(timezone.utc))
        )

    # --- BATCH files

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
                m.stream_alias: stack.enter_context(self.new_batch_writer(config, m.stream_alias, m.transformed_schema))
                for m in self.stream_maps
                if not isinstance(m, RemoveRecordTransform)
            }

            def write(record: Record, label: str) -> None:
                self.map_record(record, label, lambda alias, mapped: writers[alias].add_record(mapped, label))

            yield write
