"""Streams whose schema is that of the export at hand: what the SDK sees of it, and its messages."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from singer_sdk.exceptions import StreamMapConfigError
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib.catalog import SelectionMask
from typing_extensions import override

from tap_dynamic.errors import TapError
from tap_dynamic.file.reader import ROWS_PER_CHUNK
from tap_dynamic.load.rows import Tally, read_chunks
from tap_dynamic.output.sinks import batch_sink, each_record_sink, record_sink
from tap_dynamic.redaction import first_line
from tap_dynamic.singer.base import DynamicStream
from tap_dynamic.singer.records import map_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from singer_sdk import Tap
    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record

    from tap_dynamic.load.plan import LoadPlan
    from tap_dynamic.output.sinks import Sink

EVERYTHING = SelectionMask()


class ActiveLoad(NamedTuple):
    """The load at hand."""

    plan: LoadPlan
    tally: Tally


class LoadingStream(DynamicStream):
    """A stream that writes one export after the other."""

    def __init__(self, tap: Tap, **kwargs: Any) -> None:
        self._active: ActiveLoad | None = None
        super().__init__(tap, **kwargs)

    def begin(self, plan: LoadPlan) -> None:
        """Is called when the SCHEMA message of a load is written."""

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
        self.version = plan.version
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
        a row in 50 µs. tests/output/test_bulk.py compares both, message for message.
        """
        self._write_rows(context, self._record_sink, self.ABORT_AT_RECORD_COUNT or ROWS_PER_CHUNK)
        yield from ()

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        size = min(batch_config.batch_size, ROWS_PER_CHUNK)
        self._write_rows(context, partial(self._batch_sink, batch_config), size)
        return ()

    def _write_rows(
        self,
        context: Context | None,
        open_sink: Callable[[LoadPlan], contextlib.AbstractContextManager[Sink]],
        count: int,
    ) -> None:
        """Write the rows of the load at hand, some at once; a dry run ends after the first of them."""
        if self._active is None:
            msg = f"Stream {self.name} is synced as a child of exports."
            raise TapError(msg)
        plan, tally = self._active
        self.begin(plan)
        with self.metered(context) as counter, open_sink(plan) as sink:
            for chunk in read_chunks(plan, tally, self.logger, count):
                self.record_label = f"{chunk.label}, row {chunk.numbers[0]}"
                sink(chunk)
                counter.increment(len(chunk))
                if self.is_dry_run:
                    break

    @contextlib.contextmanager
    def _record_sink(self, plan: LoadPlan) -> Iterator[Sink]:
        names = plan.layout.names
        if self._is_plain:
            self.passed.add(self.name)
            yield record_sink(self.name, names, plan.version, self._tap.message_writer.write_lines)  # type: ignore[attr-defined]
        else:
            yield each_record_sink(names, self._write_labelled)

    @contextlib.contextmanager
    def _batch_sink(self, config: BatchConfig, plan: LoadPlan) -> Iterator[Sink]:
        names = plan.layout.names
        if self._is_plain:
            with self.new_batch_writer(config, self.name, plan.layout.schema) as writer:
                yield batch_sink(names, writer)
        else:
            with self.mapped_batches(config) as write:
                yield each_record_sink(names, write)

    def _write_labelled(self, record: Record, label: str) -> None:
        self.record_label = label
        self._write_record_message(record)
