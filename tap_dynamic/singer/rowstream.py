"""Row streams as the SDK sees them: schema, selection and messages of the export at hand."""

from __future__ import annotations

import contextlib
import copy
import sys
from typing import TYPE_CHECKING, Any

from singer_sdk.exceptions import StreamMapConfigError
from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform
from singer_sdk.singerlib.catalog import SelectionMask

from tap_dynamic.errors import TapError
from tap_dynamic.file.reader import ROWS_PER_CHUNK, row_error
from tap_dynamic.output.batches import MisfitError
from tap_dynamic.output.messages import RecordEncoder, record_messages
from tap_dynamic.redaction import first_line
from tap_dynamic.schemas import KEY_CANDIDATES, SCHEMAS
from tap_dynamic.singer.base import DynamicStream
from tap_dynamic.table.columns import DELETED_AT, FALLBACK_KEY, fold
from tap_dynamic.table.layout import Catalog, documented_layout

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from singer_sdk import Tap
    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.mapper import StreamMap
    from singer_sdk.singerlib import Catalog as SingerCatalog
    from singer_sdk.singerlib import CatalogEntry

    from tap_dynamic.load.load import ExportLoad
    from tap_dynamic.table.layout import Layout

EVERYTHING = SelectionMask()


class RowStream(DynamicStream):
    """Rows of the exports of one model: each row of the file is a record.

    Args:
        tap: The tap.
        inferred: The layout that discovery found; the documented columns otherwise.
    """

    replication_key = "_sdc_exported_at"
    state_partitioning_keys = ()
    emit_activate_version_messages = False
    """The SDK would send ACTIVATE_VERSION before the rows, and empty a table whose file can't be read."""

    def __init__(self, tap: Tap, inferred: Layout | None = None) -> None:
        self.documented: dict[str, dict[str, Any]] = SCHEMAS.get_schema(self.name)["properties"]
        layout = inferred or documented_layout(self.documented, KEY_CANDIDATES[self.name])
        self._load: ExportLoad | None = None
        super().__init__(tap, schema=copy.deepcopy(layout.schema))
        self.primary_keys = layout.key

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
        return parse_catalog(entry, properties, super().mask, KEY_CANDIDATES[self.name])

    @override
    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Set no upper limit to the bookmark: it is a time of Dynamic's clock, not of this machine's."""

    # --- one export

    @contextlib.contextmanager
    def loading(self, load: ExportLoad) -> Iterator[None]:
        """Make an export the one that `sync` writes: its layout is the schema, and what maps are applied to.

        Args:
            load: Its load.

        Raises:
            TapError: If the stream maps or flattening don't fit the layout.
        """
        self._load, layout = load, load.layout
        # Private in the SDK, which sets it in FULL_TABLE mode only.
        self._stream_version = load.version
        try:
            self._register_maps(load)
            for stream_map in self.stream_maps:
                if problem := map_problem(stream_map, layout):
                    msg = f"{load.label}: {problem}"
                    raise TapError(msg)
            yield
        except StreamMapConfigError as error:
            msg = f"{load.label}: stream_maps can't be applied to its columns: {first_line(error)}"
            raise TapError(msg) from None
        finally:
            self._load = None

    def _register_maps(self, load: ExportLoad) -> None:
        try:
            self._tap.mapper.register_raw_stream_schema(self.name, load.layout.schema, list(load.layout.key))
        except ValueError:  # of the SDK's flattening
            msg = (
                f"{load.label}: flattening gives two columns one name. Raise flattening_max_key_length, or set another"
                " flattening_separator."
            )
            raise TapError(msg) from None

    def activate_version(self, load: ExportLoad) -> None:
        """Let the target delete the rows that are not of this load."""
        self._write_activate_version_message(load.version)  # type: ignore[arg-type] # private: one for each map

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
        return f"{load.label}, row {load.row_number}" if load else super().record_label

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
        with self.metered(context) as counter:
            if self._is_plain:
                encoder = RecordEncoder(load.layout.names)
                for rows, values in load.chunks():
                    parts = record_messages(self.name, self._stream_version, encoder.encode(values))
                    self._tap.message_writer.write_lines(*parts)  # type: ignore[attr-defined]
                    counter.increment(rows)
            else:
                for record in self.counted(load.records(), counter):
                    self._write_record_message(record)
        yield from ()

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        load = self._active_load
        with self.metered(context) as counter:
            if self._is_plain:
                names = load.layout.names
                with self.new_batch_writer(batch_config, self.name, load.layout.schema) as writer:
                    for rows, values in load.chunks(min(ROWS_PER_CHUNK, batch_config.batch_size)):
                        try:
                            content = writer.encode_values(names, values)
                        except MisfitError as error:
                            raise row_error(load.label, load.numbers[error.index], error.problem) from None
                        writer.add(rows, content)
                        counter.increment(rows)
            else:
                self.write_mapped_batches(batch_config, self.counted(load.records(), counter))
        return ()


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
