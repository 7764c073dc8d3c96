"""The messages of an export: its rows as RECORD messages or BATCH files, through stream maps."""

from __future__ import annotations

import contextlib
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn

from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform
from singer_sdk.singerlib.messages import ActivateVersionMessage
from typing_extensions import override

from tap_dynamic.errors import TapError
from tap_dynamic.file.reader import ROWS_PER_CHUNK
from tap_dynamic.load.rows import Tally, read_chunks
from tap_dynamic.output.messages import each_record_sink, record_sink
from tap_dynamic.singer.base import DynamicStream
from tap_dynamic.singer.records import register_maps
from tap_dynamic.table.layout import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record

    from tap_dynamic.load.plan import LoadPlan
    from tap_dynamic.output.messages import Sink


class LoadingStream(DynamicStream):
    """A stream that writes one export after the other."""

    _active: tuple[LoadPlan, Tally, Callable[[LoadPlan], None]] | None = None

    @contextlib.contextmanager
    def loading(self, plan: LoadPlan, begin: Callable[[LoadPlan], None]) -> Iterator[Tally]:
        """Make an export the one that `sync` writes, and its layout what maps are applied to.

        `begin` is called once its SCHEMA message is written.

        Yields:
            How far the load is.

        Raises:
            TapError: If the stream maps or flattening don't fit the layout.
        """
        if problem := register_maps(self._tap.mapper, self.name, plan.layout):
            msg = f"{plan.label}: {problem}"
            raise TapError(msg)
        tally = Tally()
        self._active, self.version = (plan, tally, begin), plan.version
        self.passed.clear()
        try:
            yield tally
        finally:
            self._active = None

    @override
    @cached_property
    def deselected(self) -> list[tuple[str, ...]]:
        # Just parts of objects: the layout has just the selected columns.
        return [path for path, chosen in self.mask.items() if len(path) > 2 and not chosen]  # noqa: PLR2004

    @property
    def _is_plain(self) -> bool:
        """Whether records pass as they are: without stream map, flattening, limit or deselected part."""
        stream_map = self.stream_maps[0]
        return (
            len(self.stream_maps) == 1
            and type(stream_map) is SameRecordTransform
            and not stream_map.flattening_enabled
            and not self.is_dry_run
            and not self.deselected
        )

    @override
    def get_records(self, context: Context | None) -> NoReturn:
        msg = f"Stream {self.name} is synced as a child of exports."
        raise TapError(msg)

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[Record, Any, Any]:
        """Write RECORD messages, in bulk where the SDK would change nothing in a record.

        Private in the SDK, which has no hook for many rows at once; its own way handles
        a row in 50 µs. tests/output/test_bulk.py compares both, message for message.
        """
        self._write_rows(context, None, self.ABORT_AT_RECORD_COUNT or ROWS_PER_CHUNK)
        yield from ()

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        size = min(int(batch_config.batch_size), ROWS_PER_CHUNK)  # JSON schemas accept 5.0 as an integer
        self._write_rows(context, batch_config, size)
        return ()

    def _write_rows(self, context: Context | None, config: BatchConfig | None, count: int) -> None:
        """Write the rows of the load at hand, `count` at once; a dry run ends after the first of them."""
        plan, tally, begin = self._active or self.get_records(context)
        begin(plan)
        with self.get_record_counter() as counter, self.get_sync_timer() as timer, self._sink(plan, config) as sink:
            counter.with_context(context)
            timer.with_context(context)
            for chunk in read_chunks(plan, tally, self.logger, count):
                sink(chunk)
                counter.increment(len(chunk))
                if self.is_dry_run:
                    break

    @contextlib.contextmanager
    def _sink(self, plan: LoadPlan, config: BatchConfig | None) -> Iterator[Sink]:
        """Open what takes the rows: BATCH files if there is a `config`, in bulk if no record is changed."""
        names = plan.layout.names
        with contextlib.ExitStack() as stack:
            if config and self._is_plain:
                yield stack.enter_context(self.new_batch_writer(config, self.name, plan.layout.schema)).add_chunk
            elif config:
                yield each_record_sink(names, stack.enter_context(self.mapped_batches(config)))
            elif not self._is_plain:
                yield each_record_sink(names, partial(self.map_record, write=self._write_record))
            else:
                self.passed.add(self.name)
                yield record_sink(self.name, names, plan.version, self._tap.message_writer.write_lines)  # type: ignore[attr-defined]

    def activate_version(self, version: int) -> Iterator[Note]:
        """Let the target delete the rows that are not of this load; yield why not, where a map let none pass."""
        for stream_map in self.stream_maps:
            alias = stream_map.stream_alias
            if alias in self.passed:
                self._tap.write_message(ActivateVersionMessage(stream=alias, version=version))
            elif not isinstance(stream_map, RemoveRecordTransform):
                text = f"no row of {alias} passes its stream map: none are deleted from the table"
                yield Note(text, is_warning=True)
