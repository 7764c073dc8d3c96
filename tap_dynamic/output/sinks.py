"""Where the rows of a load go: RECORD messages or BATCH files, as they are or one by one through the SDK's maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tap_dynamic.file.reader import row_error
from tap_dynamic.output.batches import MisfitError
from tap_dynamic.output.messages import RecordEncoder, record_messages
from tap_dynamic.table.layout import Chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_dynamic.output.batches import BatchWriter

Sink = Callable[[Chunk], None]
"""Writes some rows."""


def record_sink(stream: str, names: Sequence[str], version: int | None, write_lines: Callable[..., None]) -> Sink:
    """Write RECORD messages in bulk, with the version of the table if there is one."""
    encoder = RecordEncoder(names)
    return lambda chunk: write_lines(*record_messages(stream, version, encoder.encode(chunk.values)))


def batch_sink(names: Sequence[str], writer: BatchWriter) -> Sink:
    """Write BATCH files in bulk."""

    def write_chunk(chunk: Chunk) -> None:
        try:
            content = writer.encode_values(names, chunk.values)
        except MisfitError as error:
            raise row_error(chunk.label, chunk.numbers[error.index], error.problem) from None
        writer.add(len(chunk), content)

    return write_chunk


def each_record_sink(names: Sequence[str], write: Callable[[dict[str, Any], str], None]) -> Sink:
    """Pass rows on one by one; `write` takes a record, and what it is for messages."""

    def write_chunk(chunk: Chunk) -> None:
        for number, row in zip(chunk.numbers, zip(*chunk.values)):
            write(dict(zip(names, row)), f"{chunk.label}, row {number}")

    return write_chunk
