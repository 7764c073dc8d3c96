"""BATCH files (gzipped JSON lines or Parquet) on any storage that the SDK knows, and their messages."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import sys
from abc import ABC, abstractmethod
from datetime import date, datetime
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from singer_sdk.helpers._batch import SDKBatchMessage

from tap_dynamic.convert import JSON_KINDS, json_text, type_of
from tap_dynamic.errors import TapError
from tap_dynamic.messages import RecordEncoder, encode_records
from tap_dynamic.tempfiles import disk_error, new_temporary_file

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from singer_sdk.helpers._batch import BatchConfig
    from typing_extensions import Self


BLOCK = 1 << 20
"""Bytes that are copied to the storage at once."""


class BatchWriter(ABC):
    """Writes the BATCH files of one stream, and a BATCH message after each whole file.

    Args:
        stream: The stream's name, in messages and file names.
        prefix: The start of the file names.
        config: The setting `batch_config`.
        schema: The JSON schema of the records.
        write_message: Writes a message.
    """

    extension = ""

    def __init__(
        self,
        stream: str,
        prefix: str,
        config: BatchConfig,
        schema: dict[str, Any],
        write_message: Callable[[SDKBatchMessage], None],
    ) -> None:
        self.stream, self.config, self.schema, self.write_message = stream, config, schema, write_message
        self.label = f"Stream {stream}, BATCH file"
        self.base = f"{config.storage.prefix or ''}{prefix}--{stream}-{uuid4()}"
        self.files = self.rows = 0
        self.file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the last file; after an error it is not stored."""
        if error is None:
            self.finish()
        elif self.file:
            self.file.close()

    def add(self, rows: int, content: Any) -> None:
        """Add records to the current file, or to a new one where they would exceed `batch_size`.

        Args:
            rows: Their number.
            content: What `encode_values` or `encode_records` made of them.

        Raises:
            TapError: If the storage fails.
        """
        if self.rows and self.rows + rows > self.config.batch_size:
            self.finish()
        if self.file is None:
            # Local first: the storages of the SDK can write one file at a time, and none is left half written.
            self.file = new_temporary_file(self.label)
            self._open(self.file)
        try:
            self._write(content)
        except OSError as error:
            raise disk_error(self.label, error) from None
        self.rows += rows

    def finish(self) -> None:
        """Store the current file, if there is one, and write its message."""
        if self.file is None:
            return
        self.files += 1
        name = f"{self.base}-{self.files}.{self.extension}"
        with self.file as file:
            try:
                self._close()
                file.seek(0)
            except OSError as error:
                raise disk_error(self.label, error) from None
            with self._storage_errors():
                with self.config.storage.open(name, "wb") as stored:
                    shutil.copyfileobj(file, stored, BLOCK)
                url = self.config.storage.get_url(name)
        self.file, self.rows = None, 0
        self.write_message(SDKBatchMessage(stream=self.stream, encoding=self.config.encoding, manifest=[url]))

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # Storages raise errors of their own libraries, whose texts hold URLs.
            reason = getattr(error, "strerror", None) or type(error).__name__
            msg = f"Stream {self.stream}: the storage of BATCH files failed ({reason}). Check batch_config.storage."
            raise TapError(msg) from None

    @abstractmethod
    def encode_values(self, names: Sequence[str], values: Sequence[Sequence[Any]]) -> Any:
        """Encode the values of each column."""

    @abstractmethod
    def encode_records(self, records: Sequence[dict[str, Any]]) -> Any:
        """Encode records."""

    @abstractmethod
    def _open(self, file: IO[bytes]) -> None: ...

    @abstractmethod
    def _write(self, content: Any) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


class JsonLinesWriter(BatchWriter):
    """Writes gzipped JSON lines."""

    extension = "json.gz"

    @override
    def encode_values(self, names: Sequence[str], values: Sequence[Sequence[Any]]) -> bytes:
        return RecordEncoder(names).encode(values)

    @override
    def encode_records(self, records: Sequence[dict[str, Any]]) -> bytes:
        return encode_records(records)

    @override
    def _open(self, file: IO[bytes]) -> None:
        self.packed = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1)

    @override
    def _write(self, content: Any) -> None:
        self.packed.write(content)

    @override
    def _close(self) -> None:
        self.packed.close()


class ParquetWriter(BatchWriter):
    """Writes Parquet with one Arrow schema for all files of a stream, made from its JSON schema.

    Date-times are UTC timestamps, numbers are doubles, objects and arrays are JSON text.
    """

    extension = "parquet"

    @property
    def kinds(self) -> dict[str, str]:
        """The type of each column, a key of `CONVERTERS`."""
        return {name: type_of(schema) or "string" for name, schema in self.schema["properties"].items()}

    @override
    def encode_values(self, names: Sequence[str], values: Sequence[Sequence[Any]]) -> Any:
        columns = dict(zip(names, values))
        return [_arrow_array(kind, list(columns[name])) for name, kind in self.kinds.items()]

    @override
    def encode_records(self, records: Sequence[dict[str, Any]]) -> Any:
        return [_arrow_array(kind, [r.get(name) for r in records]) for name, kind in self.kinds.items()]

    @override
    def _open(self, file: IO[bytes]) -> None:
        self.chunks: list[list[Any]] = []

    @override
    def _write(self, content: Any) -> None:
        self.chunks.append(content)

    @override
    def _close(self) -> None:
        import pyarrow as pa  # noqa: PLC0415 (an extra)
        from pyarrow import parquet  # noqa: PLC0415

        columns = [pa.chunked_array(arrays) for arrays in zip(*self.chunks)]
        parquet.write_table(pa.Table.from_arrays(columns, names=list(self.kinds)), self.file, compression="zstd")
        self.chunks = []


def _arrow_array(kind: str, values: list[Any]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 (an extra)

    if kind == "date-time":
        return pa.array(msgspec.convert(values, list[datetime | None]), pa.timestamp("us", "UTC"))
    if kind == "date":
        return pa.array(msgspec.convert(values, list[date | None]), pa.date32())
    if kind == "number":
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    if kind in {"integer", "boolean"}:
        return pa.array(values, pa.int64() if kind == "integer" else pa.bool_())
    if kind in JSON_KINDS:
        return pa.array([None if v is None else json_text(v) for v in values], pa.string())
    return pa.array([None if v is None else str(v) for v in values], pa.string())


WRITERS: dict[str, type[BatchWriter]] = {"jsonl": JsonLinesWriter, "parquet": ParquetWriter}
