"""Rules of messages.py: every byte is written, and rows become RECORD messages."""

from __future__ import annotations

import errno
import io
import json
import select
import signal
import sys
from datetime import datetime, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from rfc3339_validator import validate_rfc3339  # type: ignore[import-untyped]

from tap_dynamic.errors import OutputError, TapError
from tap_dynamic.output import messages as messages_module
from tap_dynamic.output.messages import (
    TERMINATION_SIGNALS,
    MessageWriter,
    RecordEncoder,
    record_messages,
    termination_blocked,
    write_all,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = bytes(range(256)) * 5
Answer = int | OSError | None

# --- writing


class RawStream:
    """Takes as many bytes at each write as the next answer says; the last answer stays.

    None means that the write would block; an exception is raised.
    """

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.taken = bytearray()

    def write(self, data: memoryview | bytes) -> int | None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        if answer is None:
            return None
        self.taken += bytes(data[:answer])
        return min(answer, len(data))


STREAMS: dict[str, tuple[list[Answer], int]] = {
    # name: (how many bytes each write takes, how often it would block)
    "everything": ([1 << 20], 0),
    "one byte at a time": ([1], 0),
    "all but one": ([len(DATA) - 1], 0),
    "blocks again and again": ([None, 1, None, None, 100, None, 1 << 20], 4),
    "takes nothing at first": ([0, 0, 1 << 20], 0),
}


@pytest.fixture
def selected(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The streams that were waited for; none is really."""
    waits: list[object] = []

    def wait(_: Any, writable: list[object], __: Any, timeout: float | None = None) -> tuple[list[object], ...]:
        assert timeout is None or timeout > 0
        waits.extend(writable)
        return [], writable, []

    monkeypatch.setattr(select, "select", wait)
    return waits


@pytest.mark.parametrize(("answers", "blocked"), STREAMS.values(), ids=STREAMS)
def test_every_byte_is_written(selected: list[object], answers: list[Answer], blocked: int) -> None:
    raw = RawStream(*answers)
    write_all(raw, DATA)
    assert raw.taken == DATA
    assert selected == [raw] * blocked


FAILURES: dict[str, tuple[OSError, str]] = {
    "closed": (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Stdout is closed: the target has ended"),
    "full": (OSError(errno.ENOSPC, "No space left on device"), "can't be written (no space left on device)"),
    "without words": (OSError(), "can't be written"),
}


@pytest.mark.parametrize("before", [0, 10], ids=["at once", "in a message"])
@pytest.mark.parametrize(("error", "message"), FAILURES.values(), ids=FAILURES)
def test_a_stdout_that_fails_is_an_expected_failure(
    monkeypatch: pytest.MonkeyPatch, error: OSError, message: str, before: int
) -> None:
    raw = RawStream(*([before] if before else []), error)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=SimpleNamespace(raw=raw)))
    with pytest.raises(OutputError) as raised:
        MessageWriter().write_lines(DATA)
    assert isinstance(raised.value, TapError)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


OUTPUTS: dict[str, Callable[[RawStream], Any]] = {
    "buffered": lambda raw: SimpleNamespace(buffer=SimpleNamespace(raw=raw)),
    "unbuffered": lambda raw: SimpleNamespace(buffer=raw),
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_messages_are_written_whole_to_any_stdout(monkeypatch: pytest.MonkeyPatch, output: Any) -> None:
    raw = RawStream(3)
    monkeypatch.setattr(sys, "stdout", output(raw))
    MessageWriter().write_lines(DATA)
    assert raw.taken == DATA


def test_a_missing_stdout_is_a_closed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match="Stdout is closed"):
        MessageWriter().write_lines(DATA)


def blocked_signals() -> set[int]:
    """The signals that are held back at present."""
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])}


class Watching(RawStream):
    """Notes which signals are held back while it is written to."""

    held: set[int]

    def write(self, data: memoryview | bytes) -> int | None:
        self.held = blocked_signals()
        return super().write(data)


@pytest.mark.parametrize("answer", [5, BrokenPipeError()], ids=["written", "failed"])
def test_a_signal_waits_until_a_message_is_out(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    raw = Watching(answer)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=raw))
    before = blocked_signals()
    try:
        MessageWriter().write_lines(DATA)
    except OutputError:
        assert isinstance(answer, OSError)
    assert raw.held == before | {int(number) for number in TERMINATION_SIGNALS}
    assert blocked_signals() == before


def test_signals_that_were_held_back_before_stay_so() -> None:
    with termination_blocked():
        with termination_blocked():
            pass
        assert {int(number) for number in TERMINATION_SIGNALS} <= blocked_signals()


# --- encoding

NAMES: dict[str, list[str]] = {
    "ordinary": ["id", "First Name", "a.b", "\u59d3\u540d"],
    "odd": ['a"b', "a\\b", "a\nb", "\u2028", "\U0001f600", "'", "", " "],
    "reserved words": ["class", "self", "None", "f0", "f1", "__init__", "type"],
    "many": [f"c{number}" for number in range(300)],
    "one": ["id"],
}
VALUES: dict[str, list[Any]] = {
    "texts": ["a", "", "\u00e9", "\U0001f600", 'a"b\\c', "a\nb\r\nc", "\u2028", "\x7f", "\x01"],
    "null and booleans": [None, True, False],
    "integers": [0, -1, 2**63 - 1, -(2**63)],
    "numbers": [Decimal("0.10"), Decimal("1E+3"), Decimal("12345678901234567890.123456789"), 1.5],
    "nested": [{}, [], {"a": [1, None, {"b": Decimal("0.1")}]}, {"": "\n"}, [[]]],
}


def lines_of(data: bytes) -> list[Any]:
    """The JSON documents of some lines, each of which ends with LF."""
    assert not data or data.endswith(b"\n")
    return [json.loads(line, parse_float=Decimal) for line in data.split(b"\n")[:-1]]


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_rows_are_objects_with_the_names_of_the_columns(names: list[str]) -> None:
    rows = [[f"{row}-{column}" for column in range(len(names))] for row in range(3)]
    encoded = RecordEncoder(names).encode(zip(*rows, strict=True))
    assert lines_of(encoded) == [dict(zip(names, row, strict=True)) for row in rows]
    assert RecordEncoder(names).encode([[] for _ in names]) == b""
    assert [list(line) for line in lines_of(encoded)] == [names] * 3


def test_numbers_keep_their_digits() -> None:
    encoded = RecordEncoder(["n"]).encode([[Decimal("0.10"), Decimal("12345678901234567890.123456789")]])
    assert encoded == b'{"n":0.10}\n{"n":12345678901234567890.123456789}\n'


MESSAGES: list[tuple[str, int | None]] = [
    ("users", None),
    ("users", 0),
    ("users", 1_767_225_600),
    ('odd "name"\n\u00e9', 1),
]


@pytest.mark.parametrize(("stream", "version"), MESSAGES)
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_record_messages_of_encoded_rows(stream: str, version: int | None, values: list[Any]) -> None:
    lines = RecordEncoder(["id", "x"]).encode([range(len(values)), values])
    before = datetime.now(timezone.utc)
    messages = lines_of(b"".join(record_messages(stream, version, lines)))
    assert [m["record"] for m in messages] == lines_of(lines)
    for message in messages:
        assert message["type"] == "RECORD"
        assert message["stream"] == stream
        assert message.get("version") == version
        assert ("version" in message) == (version is not None)
        assert validate_rfc3339(message["time_extracted"])
        extracted_at = datetime.fromisoformat(message["time_extracted"].replace("Z", "+00:00"))
        assert before <= extracted_at <= datetime.now(timezone.utc)


def test_large_rows_make_equal_messages_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = RecordEncoder(["id", "x"]).encode([range(3), ["a", "b\n", None]])
    whole = lines_of(b"".join(record_messages("users", 5, lines)))
    monkeypatch.setattr(messages_module, "LARGE_CHUNK", len(lines) - 1)
    parts = lines_of(b"".join(record_messages("users", 5, lines)))
    assert len(list(record_messages("users", 5, lines))) > 1
    assert [{**m, "time_extracted": None} for m in parts] == [{**m, "time_extracted": None} for m in whole]


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_messages_are_those_of_the_sdk(monkeypatch: pytest.MonkeyPatch, values: list[Any]) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    writer = MessageWriter()
    now = datetime.now(timezone.utc)
    for value in values:
        record = {"id": "1", "x": value}
        message: Any = SimpleNamespace(
            to_dict=lambda record=record: {
                "type": "RECORD",
                "stream": "users",
                "record": record,
                "version": 5,
                "time_extracted": now.isoformat(),
            }
        )
        writer.write_message(message)
    lines = RecordEncoder(["id", "x"]).encode([["1"] * len(values), values])
    mine = lines_of(b"".join(record_messages("users", 5, lines)))
    theirs = lines_of(out.getvalue())
    for one, other in zip(mine, theirs, strict=True):
        assert {**one, "time_extracted": None} == {**other, "time_extracted": None}
        assert list(one) == list(other)


def test_what_can_not_be_encoded_is_an_error_without_a_line() -> None:
    with pytest.raises((TypeError, msgspec.MsgspecError)):
        RecordEncoder(["a"]).encode([["fine", object()]])
