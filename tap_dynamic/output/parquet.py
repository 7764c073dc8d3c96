"""BATCH files in Parquet, with one Arrow schema for a stream. Needs pyarrow, the extra `parquet`."""

from __future__ import annotations

import math
import re
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet
from typing_extensions import override

from tap_dynamic.errors import TapError
from tap_dynamic.output.batches import BatchWriter, MisfitError
from tap_dynamic.table.columns import quoted
from tap_dynamic.table.convert import json_text
from tap_dynamic.table.types import JSON_KINDS, type_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


ROW_GROUP = 64 << 20
"""Bytes in memory after which a row group is written, if it has not reached `batch_size` rows."""
MAX_ARRAYS = 50_000
"""Arrow arrays that are kept before they are joined: each takes a kilobyte, however few values it has."""
PENDING_ROWS, PENDING_SIZE = 1000, 4 << 20
"""Rows, and characters of their text, that become an Arrow array at once if they come one by one."""
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
NATURAL: dict[str, type[Any]] = {"string": str, "date": str, "date-time": str, "integer": int, "boolean": bool}


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
        self.pending_size = self.group_size = self.arrays = 0

    @override
    def encode_values(self, names: Sequence[str], values: Sequence[Sequence[Any]]) -> Any:
        columns = dict(zip(names, values))
        arrays = []
        for name, kind in self.kinds.items():
            column = columns[name]
            try:
                # Cells of these kinds have been read as Arrow takes them.
                plain = column if kind in AS_THEY_ARE else [_plain(kind, value) for value in column]
            except ValueError:
                index = next(i for i, value in enumerate(column) if not _is_plain(kind, value))
                raise MisfitError(index, _misfit(name, kind)) from None
            arrays.append(_arrow_array(kind, plain))
        return pa.Table.from_arrays(arrays, schema=self.arrow_schema)

    @override
    def add_record(self, record: Mapping[str, Any], label: str) -> None:
        row = []
        for name, kind in self.kinds.items():
            try:
                row.append(_plain(kind, record.get(name)))
            except ValueError:
                msg = f"{label}: {_misfit(name, kind)}."
                raise TapError(msg) from None
        self.pending.append(row)
        self.pending_size += sum(len(value) for value in row if isinstance(value, str))
        is_last = self.rows % self.config.batch_size + len(self.pending) >= self.config.batch_size
        if is_last or len(self.pending) >= PENDING_ROWS or self.pending_size >= PENDING_SIZE:
            self._add_pending()

    def _add_pending(self) -> None:
        if rows := self.pending:
            self.pending, self.pending_size = [], 0
            arrays = [_arrow_array(kind, column) for kind, column in zip(self.kinds.values(), zip(*rows))]
            self.add(len(rows), pa.Table.from_arrays(arrays, schema=self.arrow_schema))

    @override
    def finish(self) -> None:
        self._add_pending()
        super().finish()

    @override
    def _open(self, file: IO[bytes]) -> None:
        self.tables: list[Any] = []
        self.parquet = parquet.ParquetWriter(file, self.arrow_schema, compression="zstd")

    @override
    def _write(self, content: Any) -> None:
        self.tables.append(content)
        self.group_size += content.nbytes
        self.arrays += content.num_columns
        if self.group_size >= ROW_GROUP:
            self._write_group()
        elif self.arrays >= MAX_ARRAYS:
            self.tables, self.arrays = [self._joined().combine_chunks()], 0

    def _joined(self) -> Any:
        return pa.concat_tables(self.tables)

    def _write_group(self) -> None:
        table, self.tables, self.group_size, self.arrays = self._joined(), [], 0, 0
        self.parquet.write_table(table, row_group_size=table.num_rows)

    @override
    def _close(self) -> None:
        if self.tables:
            self._write_group()
        self.parquet.close()

    @override
    def _abandon(self) -> None:
        self.parquet.is_open = False  # or it would write to the closed file when it is collected


def _plain(kind: str, value: Any) -> Any:
    """Return a value as `_arrow_array` takes it.

    Raises:
        ValueError: If it does not fit the type.
    """
    if value is None or (kind != "number" and kind in NATURAL and type(value) is NATURAL[kind]):
        if kind == "integer" and value is not None and value not in INTEGERS:
            raise ValueError
        return value
    if kind == "number":
        number = float(value)
        if math.isinf(number) and not isinstance(value, float):
            raise ValueError
        return number if math.isfinite(number) else None  # as in JSON
    if kind in {"integer", "boolean"}:
        raise ValueError
    return value if isinstance(value, str) else json_text(value)


def _is_plain(kind: str, value: Any) -> bool:
    try:
        _plain(kind, value)
    except ValueError:
        return False
    return True


def _misfit(name: str, kind: str) -> str:
    return (
        f"column {quoted(name)} holds a value that a Parquet column of type {kind} can't hold."
        ' Set its type in the catalog or the stream map to ["string", "null"]'
    )


def _arrow_array(kind: str, values: Sequence[Any]) -> Any:
    kind_type = ARROW_TYPES[kind]
    if kind not in {"date", "date-time"}:
        return pa.array(values, kind_type)
    try:
        return pa.array(values, pa.string()).cast(kind_type)
    except pa.ArrowInvalid:
        texts = [value and FINE_FRACTION.sub(r"\1", value.upper()) for value in values]
        return pa.array(texts, pa.string()).cast(kind_type)
