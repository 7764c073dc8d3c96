"""Where the rows of a load go: RECORD messages or BATCH files, as they are or one by one through the SDK's maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from tap_dynamic.file.reader import row_error
from tap_dynamic.output.batches import MisfitError
from tap_dynamic.output.messages import RecordEncoder, record_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tap_dynamic.output.batches import BatchWriter
    from tap_dynamic.table.layout import Chunk


class Sink(Protocol):
    """Takes the rows of a load."""

    def add(self, chunk: Chunk) -> None:
        """Write some rows."""


class RecordSink:
    """Writes RECORD messages in bulk.

    Args:
        stream: The stream's name.
        names: The names of the values.
        version: The version of the table, if there is one.
        write_lines: Writes messages.
    """

    def __init__(
        self, stream: str, names: Sequence[str], version: int | None, write_lines: Callable[..., None]
    ) -> None:
        self.stream, self.version, self.write_lines = stream, version, write_lines
        self.encoder = RecordEncoder(names)

    def add(self, chunk: Chunk) -> None:
        """Write some rows."""
        self.write_lines(*record_messages(self.stream, self.version, self.encoder.encode(chunk.values)))


class BatchSink:
    """Writes BATCH files in bulk.

    Args:
        names: The names of the values.
        writer: Writes the files.
    """

    def __init__(self, names: Sequence[str], writer: BatchWriter) -> None:
        self.names, self.writer = names, writer

    def add(self, chunk: Chunk) -> None:
        """Write some rows.

        Raises:
            TapError: At a value that the format can't hold.
        """
        try:
            content = self.writer.encode_values(self.names, chunk.values)
        except MisfitError as error:
            raise row_error(chunk.label, chunk.numbers[error.index], error.problem) from None
        self.writer.add(len(chunk), content)


class EachRecordSink:
    """Passes rows on one by one.

    Args:
        names: The names of the values.
        write: Takes a record, and what it is for messages.
    """

    def __init__(self, names: Sequence[str], write: Callable[[dict[str, Any], str], None]) -> None:
        self.names, self.write = names, write

    def add(self, chunk: Chunk) -> None:
        """Write some rows."""
        for number, row in zip(chunk.numbers, zip(*chunk.values)):
            self.write(dict(zip(self.names, row)), f"{chunk.label}, row {number}")
