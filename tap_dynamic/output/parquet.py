"""BATCH files in Parquet, with one Arrow schema for a stream. Needs pyarrow, the extra `parquet`."""

from __future__ import annotations

import math
import re
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet
from typing_extensions import override

from tap_dynamic.errors import TapError
from tap_dynamic.file.reader import ROWS_PER_CHUNK
from tap_dynamic.output.batches import BatchWriter, MisfitError
from tap_dynamic.table.columns import quoted
from tap_dynamic.table.convert import json_text
from tap_dynamic.table.types import JSON_KINDS, type_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROW_GROUP = 64 << 20
"""Bytes in memory after which a row group is written, if it has not reached `batch_size` rows."""
LARGE_ROWS = 8 << 20
"""Bytes of rows added at once above which they are a group of their own: the encoder copies large cells."""
ARRAY_SIZE = 1 << 10
"""Bytes that an Arrow array takes besides its values."""
PENDING_SIZE = 4 << 20
"""Characters of the text of records after which they become Arrow arrays."""
ARROW_TYPES = {
    **dict.fromkeys(("string", *JSON_KINDS), pa.string()),
    "date-time": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
}
AS_THEY_ARE = {"string", "integer", "boolean", "date", "date-time"}
"""Kinds whose values `CONVERTERS` makes as Arrow takes them."""
INTEGERS = range(-(2**63), 2**63)
FINE_FRACTION = re.compile(r"(\.\d{6})\d+")
"""A fraction of a second beyond microseconds, which are the unit of most databases."""


class ParquetWriter(BatchWriter):
    """Writes Parquet with one Arrow schema for all files of a stream, made from its JSON schema.

    Date-times are UTC timestamps of microseconds, numbers are doubles, objects and arrays are JSON text. All columns
    are nullable. Files are compressed with zstd.
    """

    extension = "parquet"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.kinds = {name: type_of(schema) or "string" for name, schema in self.schema["properties"].items()}
        self.arrow_schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in self.kinds.items()])
        self.pending: list[list[Any]] = []
        self.pending_size = 0

    @override
    def _encode(self, values: Sequence[Sequence[Any]]) -> Any:
        return self._table(
            column if kind in AS_THEY_ARE else _to_plain(name, kind, column)
            for (name, kind), column in zip(self.kinds.items(), values)
        )

    def _table(self, columns: Iterable[Sequence[Any]]) -> Any:
        arrays = [_to_arrow(kind, column) for kind, column in zip(self.kinds.values(), columns)]
        return pa.Table.from_arrays(arrays, schema=self.arrow_schema)

    @override
    def add_record(self, record: Mapping[str, Any], label: str) -> None:
        try:
            row = [_to_plain(name, kind, [record.get(name)])[0] for name, kind in self.kinds.items()]
        except MisfitError as error:
            msg = f"{label}: {error.problem}."
            raise TapError(msg) from None
        self.pending.append(row)
        self.pending_size += sum(len(value) for value in row if isinstance(value, str))
        if len(self.pending) >= min(ROWS_PER_CHUNK, self.config.batch_size) or self.pending_size >= PENDING_SIZE:
            self._add_pending()

    def _add_pending(self) -> None:
        if rows := self.pending:
            self.pending, self.pending_size = [], 0
            self._add(len(rows), self._table(zip(*rows)))

    @override
    def finish(self) -> None:
        self._add_pending()
        super().finish()

    @override
    def _open(self, file: IO[bytes]) -> None:
        self.tables: list[Any] = []
        self.group_size = 0
        self.parquet = parquet.ParquetWriter(file, self.arrow_schema, compression="zstd")

    @override
    def _write(self, content: Any) -> None:
        size = content.nbytes + content.num_columns * ARRAY_SIZE
        if size > LARGE_ROWS and self.tables:
            self._write_group()
        self.tables.append(content)
        self.group_size += size
        if size > LARGE_ROWS or self.group_size >= ROW_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        table, self.tables, self.group_size = pa.concat_tables(self.tables), [], 0
        self.parquet.write_table(table, row_group_size=table.num_rows)

    @override
    def _close(self) -> None:
        if self.tables:
            self._write_group()
        self.parquet.close()

    @override
    def _abandon(self) -> None:
        self.parquet.is_open = False  # or it would write to the closed file when it is collected


def _to_plain(name: str, kind: str, values: Sequence[Any]) -> list[Any]:
    """Turn the values of a column into what `_to_arrow` takes.

    Raises:
        MisfitError: At a value that does not fit its type.
    """
    plain: list[Any] = []
    for value in values:
        if value is None:
            plain.append(None)
        elif kind == "number":
            number = float(value)
            if math.isinf(number) and not isinstance(value, float):
                raise MisfitError(len(plain), _misfit(name, kind))
            plain.append(number if math.isfinite(number) else None)  # as in JSON
        elif kind == "integer":
            if value not in INTEGERS:
                raise MisfitError(len(plain), _misfit(name, kind))
            plain.append(value)
        else:
            plain.append(value if kind == "boolean" or isinstance(value, str) else json_text(value))
    return plain


def _misfit(name: str, kind: str) -> str:
    return (
        f"column {quoted(name)} holds a value that a Parquet column of type {kind} can't hold."
        ' Set its type in the catalog or the stream map to ["string", "null"]'
    )


def _to_arrow(kind: str, values: Sequence[Any]) -> Any:
    kind_type = ARROW_TYPES[kind]
    if kind not in {"date", "date-time"}:
        return pa.array(values, kind_type)
    try:
        return pa.array(values, pa.string()).cast(kind_type)
    except pa.ArrowInvalid:
        texts = [value and FINE_FRACTION.sub(r"\1", value) for value in values]
        return pa.array(texts, pa.string()).cast(kind_type)
