"""BATCH files (gzipped JSON lines or Parquet) on a local folder or an object store, and their messages."""

from __future__ import annotations

import gzip
import logging
import math
import os
import re
import shutil
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from singer_sdk.helpers._batch import SDKBatchMessage

from tap_dynamic.convert import type_of
from tap_dynamic.errors import TapError, causes, first_line, host_of
from tap_dynamic.layout import quoted
from tap_dynamic.messages import RecordEncoder, encode_records
from tap_dynamic.tempfiles import disk_error, new_temporary_file

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from singer_sdk.helpers._batch import BatchConfig, StorageTarget
    from typing_extensions import Self


BLOCK = 1 << 20
"""Bytes that are copied to the storage at once."""
PART = 8 << 20
"""Bytes of a part of a multipart upload, which are kept in memory; s3fs would keep 50 MiB."""
ROW_GROUP = 64 << 20
"""Bytes in memory after which a row group is written, if it has not reached `batch_size` rows."""
MAX_ARRAYS = 50_000
"""Arrow arrays that are kept before they are joined: each takes a kilobyte, however few values it has."""
PENDING_ROWS, PENDING_SIZE = 1000, 4 << 20
"""Rows, and characters of their text, that become an Arrow array at once if they come one by one."""


class MisfitError(ValueError):
    """A value that a format can't hold.

    Args:
        index: Its place among the values.
        problem: What is wrong, without the value.
    """

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(problem)
        self.index, self.problem = index, problem


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
        try:
            if error is None:
                self.finish()
        finally:
            if self.file:
                self._abandon()
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
        try:
            if self.file is None:
                # Local first: a file whose rows can't all be read is not stored.
                self.file = new_temporary_file(self.label)
                self._open(self.file)
            self._write(content)
        except OSError as error:
            raise disk_error(self.label, error) from None
        self.rows += rows

    def finish(self) -> None:
        """Store the current file, if there is one, and write its message."""
        if self.file is None:
            return
        self.files += 1
        with self.file as file:
            try:
                self._close()
                file.seek(0)
            except OSError as error:
                raise disk_error(self.label, error) from None
            url = store_file(file, self.config.storage, f"{self.base}-{self.files}.{self.extension}", self.label)
        self.file, self.rows = None, 0
        self.write_message(SDKBatchMessage(stream=self.stream, encoding=self.config.encoding, manifest=[url]))

    @abstractmethod
    def encode_values(self, names: Sequence[str], values: Sequence[Sequence[Any]]) -> Any:
        """Encode the values of each column.

        Raises:
            MisfitError: At a value that the format can't hold.
        """

    @abstractmethod
    def add_record(self, record: Mapping[str, Any], label: str) -> None:
        """Add a record; see `add`.

        Args:
            record: The record.
            label: What it is, for messages.
        """

    @abstractmethod
    def _open(self, file: IO[bytes]) -> None: ...

    @abstractmethod
    def _write(self, content: Any) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _abandon(self) -> None: ...


class JsonLinesWriter(BatchWriter):
    """Writes gzipped JSON lines."""

    extension = "json.gz"

    @override
    def encode_values(self, names: Sequence[str], values: Sequence[Sequence[Any]]) -> bytes:
        return RecordEncoder(names).encode(values)

    @override
    def add_record(self, record: Mapping[str, Any], label: str) -> None:
        self.add(1, encode_records([dict(record)]))

    @override
    def _open(self, file: IO[bytes]) -> None:
        self.packed = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1)

    @override
    def _write(self, content: Any) -> None:
        self.packed.write(content)

    @override
    def _close(self) -> None:
        self.packed.close()

    @override
    def _abandon(self) -> None: ...


class ParquetWriter(BatchWriter):
    """Writes Parquet with one Arrow schema for all files of a stream, made from its JSON schema.

    Date-times are UTC timestamps of microseconds, numbers are doubles, objects and arrays are JSON text. All columns
    are nullable. Files are compressed with zstd.
    """

    extension = "parquet"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        import pyarrow as pa  # noqa: PLC0415 (an extra)

        self.kinds = {name: type_of(schema) or "string" for name, schema in self.schema["properties"].items()}
        self.arrow_schema = pa.schema([(name, _arrow_type(kind)) for name, kind in self.kinds.items()])
        self.pending: list[list[Any]] = []
        self.pending_size = self.group_size = self.arrays = 0

    @override
    def encode_values(self, names: Sequence[str], values: Sequence[Sequence[Any]]) -> Any:
        import pyarrow as pa  # noqa: PLC0415 (an extra)

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
        import pyarrow as pa  # noqa: PLC0415 (an extra)

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
        from pyarrow import parquet  # noqa: PLC0415 (an extra)

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
        import pyarrow as pa  # noqa: PLC0415 (an extra)

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


AS_THEY_ARE = {"string", "integer", "boolean", "date", "date-time"}
"""Kinds whose values `CONVERTERS` makes as Arrow takes them."""
INTEGERS = range(-(2**63), 2**63)
FINE_FRACTION = re.compile(r"(\.\d{6})\d+")
"""A fraction of a second beyond microseconds, which are the unit of most databases."""
TEXT_ENCODER = msgspec.json.Encoder(decimal_format="number")


def _arrow_type(kind: str) -> Any:
    import pyarrow as pa  # noqa: PLC0415 (an extra)

    types = {
        "date-time": pa.timestamp("us", "UTC"),
        "date": pa.date32(),
        "number": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
    }
    return types.get(kind, pa.string())


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
    return value if isinstance(value, str) else TEXT_ENCODER.encode(value).decode()


NATURAL: dict[str, type[Any]] = {"string": str, "date": str, "date-time": str, "integer": int, "boolean": bool}


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
    import pyarrow as pa  # noqa: PLC0415 (an extra)

    kind_type = _arrow_type(kind)
    if kind not in {"date", "date-time"}:
        return pa.array(values, kind_type)
    try:
        return pa.array(values, pa.string()).cast(kind_type)
    except pa.ArrowInvalid:
        texts = [value and FINE_FRACTION.sub(r"\1", value.upper()) for value in values]
        return pa.array(texts, pa.string()).cast(kind_type)


WRITERS: dict[str, type[BatchWriter]] = {"jsonl": JsonLinesWriter, "parquet": ParquetWriter}


def store_file(file: IO[bytes], storage: StorageTarget, name: str, label: str) -> str:
    """Copy a file to a storage; it appears there whole or not at all.

    `StorageTarget.open` would create the bucket whose name is mistyped, and leave pieces of files in TMPDIR.

    Args:
        file: The file, at its start.
        storage: The storage.
        name: Its name there.
        label: What it is, for messages.

    Returns:
        Its URL.

    Raises:
        TapError: If the storage fails.
    """
    try:
        _quieten_object_stores()
        filesystem, root = url_to_fs(storage.root, **_options(storage))
        path = f"{root.rstrip('/')}/{name}"
        if isinstance(filesystem, LocalFileSystem):
            _store_locally(file, Path(path))
        else:
            with filesystem.transaction, filesystem.open(path, "wb", block_size=PART) as stored:
                shutil.copyfileobj(file, stored, BLOCK)
        # `StorageTarget.get_url` quotes letters that are not ASCII, and targets do not unquote them.
        return str(filesystem.unstrip_protocol(path))
    except Exception as error:
        # Storages raise errors of their own libraries, whose texts hold URLs.
        msg = (
            f"{label} can't be stored in {_place(storage.root)}: {storage_failure(error)}. Check batch_config.storage."
        )
        raise TapError(msg) from None


def _options(storage: StorageTarget) -> dict[str, Any]:
    """Return the options of a storage; s3fs and botocore would both retry, for an hour if a store does not answer."""
    options = dict(storage.params or {})
    if storage.root.startswith("s3://"):
        limits = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 0}}
        options["config_kwargs"] = {**limits, **(options.get("config_kwargs") or {})}
    return options


def _quieten_object_stores() -> None:
    """Keep out of the log what these libraries write at DEBUG: headers with keys, signatures and session tokens."""
    loggers = [logging.getLogger(name) for name in ("aiobotocore", "aiohttp", "botocore", "fsspec", "s3fs")]
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if logger.level and logger.name.partition(".")[0] in {parent.name for parent in loggers}:
            loggers.append(logger)
    for logger in loggers:
        logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))


def _store_locally(file: IO[bytes], path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")  # engines that read the folder ignore it
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("wb") as stored:
            shutil.copyfileobj(file, stored, BLOCK)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _place(root: str) -> str:
    """Return the root of a storage without what could be a secret."""
    parts = urlsplit(root)
    return first_line(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl())


STORAGE_FAILURES = {
    "AccessDenied": "access is denied to these credentials",
    "ExpiredToken": "the session token has expired",
    "InvalidAccessKeyId": "the access key is unknown",
    "NoSuchBucket": "the bucket does not exist",
    "SignatureDoesNotMatch": "the secret key does not match the access key",
    "NoCredentialsError": "there are no credentials",
    "PartialCredentialsError": "the credentials are incomplete",
    "ProfileNotFound": "the AWS profile does not exist",
    "EndpointConnectionError": "{endpoint} can't be reached",
    "ConnectTimeoutError": "{endpoint} did not accept a connection in time",
    "ReadTimeoutError": "{endpoint} did not answer in time",
    "ConnectionClosedError": "{endpoint} closed the connection",
    **dict.fromkeys(("ServerTimeoutError", "SocketTimeoutError", "TimeoutError"), "{endpoint} did not answer in time"),
}
"""By the code of S3, or by the type of the error."""


def storage_failure(error: Exception) -> str:
    """Say why a storage failed, without the text of its error: it can hold a URL or a key."""
    chain = list(causes(error))
    codes = list(filter(None, map(_s3_code, chain)))
    names = [*codes, *(type(e).__name__ for e in chain)]
    if found := next((STORAGE_FAILURES[name] for name in names if name in STORAGE_FAILURES), None):
        return found.format(endpoint=host_of(next(filter(None, map(_endpoint, chain)), "")))
    if isinstance(error, OSError) and error.errno and not codes:
        return os.strerror(error.errno).lower()
    return names[0]


def _s3_code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    details = response.get("Error") if isinstance(response, dict) else None
    code = str(details.get("Code")) if isinstance(details, dict) else ""
    return code if code.isalnum() else ""


def _endpoint(error: BaseException) -> str:
    options = getattr(error, "kwargs", None)  # of botocore's errors
    return str(options.get("endpoint_url", "")) if isinstance(options, dict) else ""
