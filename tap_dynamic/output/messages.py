"""Singer messages: encoding rows in bulk, and writing whole messages to stdout."""

from __future__ import annotations

import contextlib
import select
import signal
import sys
from datetime import datetime, timezone
from itertools import starmap
from typing import TYPE_CHECKING, Any

import msgspec
from singer_sdk.contrib.msgspec import MsgSpecWriter, serialize_jsonl
from typing_extensions import override

from tap_dynamic.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from singer_sdk.singerlib.encoding.simple import Message

    from tap_dynamic.table.layout import Chunk

    Sink = Callable[[Chunk], None]
    """Writes some rows."""

LARGE_CHUNK = 1 << 22
"""Bytes of encoded rows above which they are not copied."""
TERMINATION_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


class MessageWriter(MsgSpecWriter):
    """Writes whole messages: a signal that would end the tap waits until they are out."""

    @override
    def write_message(self, message: Message) -> None:
        self.write_lines(serialize_jsonl(message.to_dict()))

    def write_lines(self, *parts: bytes | bytearray | memoryview) -> None:
        """Write to stdout what together are whole lines.

        Raises:
            OutputError: If stdout is closed or full.
        """
        with termination_blocked():
            try:
                if sys.stdout is None:
                    raise BrokenPipeError  # noqa: TRY301 (Python's own sign of a closed stdout)
                buffer = sys.stdout.buffer
                for part in parts:
                    write_all(getattr(buffer, "raw", buffer), part)
            except BrokenPipeError:
                msg = "Stdout is closed: the target has ended. Its own log says why."
                raise OutputError(msg) from None
            except OSError as error:
                msg = f"Stdout can't be written ({(error.strerror or 'error').lower()}). The run ends here."
                raise OutputError(msg) from None


def write_all(raw: Any, data: bytes | bytearray | memoryview) -> None:
    """Write every byte to a raw stream, whose `write` returns how many it took, or None if it would block."""
    rest = memoryview(data)
    while rest:
        written = raw.write(rest)
        if written is None:
            select.select([], [raw], [])
        else:
            rest = rest[written:]


@contextlib.contextmanager
def termination_blocked() -> Iterator[None]:
    """Hold back `TERMINATION_SIGNALS`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATION_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class RecordEncoder:
    """Encodes rows as JSON objects, many at once."""

    def __init__(self, names: Sequence[str]) -> None:
        fields = {f"f{i}": name for i, name in enumerate(names)}
        self.record: Callable[..., Any]
        try:  # half the cost of a dict
            self.record = msgspec.defstruct("Record", [(f, Any) for f in fields], rename=fields, gc=False)
        except ValueError:  # a name with a quote or the like
            self.record = lambda *row: dict(zip(names, row))
        self.encoder = msgspec.json.Encoder(decimal_format="number")

    def encode(self, values: Iterable[Iterable[Any]]) -> bytes:
        """Encode the values of each column into a line for each row."""
        return self.encoder.encode_lines(list(starmap(self.record, zip(*values))))


def record_messages(stream: str, version: int | None, lines: bytes) -> Iterator[bytes | memoryview]:
    """Make RECORD messages of encoded records, a JSON object a line.

    Yields:
        Parts, together whole lines: one for ordinary rows, more for large ones, which are not copied.
    """
    extracted_at = msgspec.json.encode(datetime.now(timezone.utc))
    start = b'{"type":"RECORD","stream":%b,"record":' % msgspec.json.encode(stream)
    end = (b"" if version is None else b',"version":%d' % version) + b',"time_extracted":' + extracted_at + b"}\n"
    if not lines:
        return
    # JSON escapes line breaks: each one here ends a record.
    if len(lines) <= LARGE_CHUNK:
        yield start + lines.replace(b"\n", end + start)[: -len(start)]
        return
    view, at = memoryview(lines), 0
    while (line_break := lines.find(b"\n", at)) >= 0:
        yield start
        yield view[at:line_break]
        yield end
        at = line_break + 1


def record_sink(stream: str, names: Sequence[str], version: int | None, write_lines: Callable[..., None]) -> Sink:
    """Write RECORD messages in bulk, with the version of the table if there is one."""
    encoder = RecordEncoder(names)
    return lambda chunk: write_lines(*record_messages(stream, version, encoder.encode(chunk.values)))


def each_record_sink(names: Sequence[str], write: Callable[[dict[str, Any], str], None]) -> Sink:
    """Pass rows on one by one; `write` takes a record, and what it is for messages."""

    def write_chunk(chunk: Chunk) -> None:
        for number, row in zip(chunk.numbers, zip(*chunk.values)):
            write(dict(zip(names, row)), f"{chunk.label}, row {number}")

    return write_chunk
