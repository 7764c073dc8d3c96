"""BATCH files of any format, and their messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from singer_sdk.helpers._batch import SDKBatchMessage

from tap_dynamic.output.storage import store_file
from tap_dynamic.tempfiles import disk_error, new_temporary_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from singer_sdk.helpers._batch import BatchConfig
    from typing_extensions import Self


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

    def add(self, rows: int, content: Any) -> None:
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
    def encode_values(self, names: Sequence[str], values: Sequence[Sequence[Any]]) -> Any:
        """Encode the values of each column.

        Raises:
            MisfitError: At a value that the format can't hold.
        """

    @abstractmethod
    def add_record(self, record: Mapping[str, Any], label: str) -> None:
        """Add a record; see `add`. The label says what it is, for messages."""

    @abstractmethod
    def _open(self, file: IO[bytes]) -> None: ...

    @abstractmethod
    def _write(self, content: Any) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _abandon(self) -> None: ...
