"""BATCH files of any format, their messages, and the format of JSON lines."""

from __future__ import annotations

import gzip
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from singer_sdk.contrib.msgspec import serialize_jsonl
from singer_sdk.helpers._batch import SDKBatchMessage
from typing_extensions import override

from tap_dynamic.file.reader import row_error
from tap_dynamic.output.messages import RecordEncoder
from tap_dynamic.output.storage import store_file
from tap_dynamic.tempfiles import disk_error, new_temporary_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from singer_sdk.helpers._batch import BatchConfig
    from typing_extensions import Self

    from tap_dynamic.table.layout import Chunk


class MisfitError(ValueError):
    """A value that a format can't hold: its place in the column, and what is wrong, without the value."""

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(problem)
        self.index, self.problem = index, problem


class BatchWriter(ABC):
    """Writes the BATCH files of one stream, and a BATCH message after each whole file.

    The names of the files start with `prefix`; `schema` is that of the records.
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
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Finish the last file; after an error it is not stored."""
        try:
            if kind is None:
                self.finish()
        finally:
            if self.file:
                self._abandon()
                self.file.close()

    def add_chunk(self, chunk: Chunk) -> None:
        """Add rows, with values for each property of the schema, in its order."""
        try:
            content = self._encode(chunk.values)
        except MisfitError as error:
            raise row_error(chunk.label, chunk.numbers[error.index], error.problem) from None
        self._add(len(chunk), content)

    @abstractmethod
    def add_record(self, record: Mapping[str, Any], label: str) -> None:
        """Add a record. The label says what it is, for messages."""

    def _add(self, rows: int, content: Any) -> None:
        """Add encoded rows to the current file, or to a new one where they would exceed `batch_size`."""
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
    def _encode(self, values: Sequence[Sequence[Any]]) -> Any:
        """Encode the values of each property; a value that the format can't hold is a `MisfitError`."""

    @abstractmethod
    def _open(self, file: IO[bytes]) -> None: ...

    @abstractmethod
    def _write(self, content: Any) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    def _abandon(self) -> None:  # noqa: B027 (most formats hold nothing that outlives the file)
        ...


class JsonLinesWriter(BatchWriter):
    """Writes gzipped JSON lines."""

    extension = "json.gz"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.encoder = RecordEncoder(list(self.schema["properties"]))

    @override
    def add_record(self, record: Mapping[str, Any], label: str) -> None:
        self._add(1, bytes(serialize_jsonl(dict(record))))  # a copy: the SDK reuses its buffer for messages

    @override
    def _encode(self, values: Sequence[Sequence[Any]]) -> bytes:
        return self.encoder.encode(values)

    @override
    def _open(self, file: IO[bytes]) -> None:
        self.packed = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1)

    @override
    def _write(self, content: Any) -> None:
        self.packed.write(content)

    @override
    def _close(self) -> None:
        self.packed.close()
