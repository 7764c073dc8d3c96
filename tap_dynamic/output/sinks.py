"""Where the rows of a load go: RECORD messages or BATCH files, as they are or one by one through the SDK's maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

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


class RecordSink(Sink):
    """Writes RECORD messages in bulk, with the version of the table if there is one."""

    def __init__(
        self, stream: str, names: Sequence[str], version: int | None, write_lines: Callable[..., None]
    ) -> None:
        self.stream, self.version, self.write_lines = stream, version, write_lines
        self.encoder = RecordEncoder(names)

    @override
    def add(self, chunk: Chunk) -> None:
        self.write_lines(*record_messages(self.stream, self.version, self.encoder.encode(chunk.values)))


@dataclass
class BatchSink(Sink):
    """Writes BATCH files in bulk."""

    names: Sequence[str]
    writer: BatchWriter

    @override
    def add(self, chunk: Chunk) -> None:
        try:
            content = self.writer.encode_values(self.names, chunk.values)
        except MisfitError as error:
            raise row_error(chunk.label, chunk.numbers[error.index], error.problem) from None
        self.writer.add(len(chunk), content)


@dataclass
class EachRecordSink(Sink):
    """Passes rows on one by one: `write` takes a record, and what it is for messages."""

    names: Sequence[str]
    write: Callable[[dict[str, Any], str], None]

    @override
    def add(self, chunk: Chunk) -> None:
        for number, row in zip(chunk.numbers, zip(*chunk.values)):
            self.write(dict(zip(self.names, row)), f"{chunk.label}, row {number}")
