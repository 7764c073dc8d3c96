"""Property-based tests: CSV is read as Python's `csv` reads it, damaged files also or with a `TapError`."""

from __future__ import annotations

import csv
import gzip
import io
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.data import csv_file
from tap_dynamic.errors import TapError
from tap_dynamic.file.reader import CsvFile
from tap_dynamic.file.sample import from_header, header_problem, reject_reason

if TYPE_CHECKING:
    from typing import Any

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
PROPERTY_SETTINGS = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
SAMPLE = csv_file("users", 25)


def read_with_tap(data: bytes, size: int = 1000) -> list[list[str | None]] | None:
    """Read rows with the tap, or return None if it raises `TapError`."""
    rows: list[list[Any]] = []
    try:
        for number, chunk in CsvFile.open(io.BytesIO(data), "Stream users, export x").chunks(size):
            assert number == len(rows) + 1
            assert len(chunk) <= size
            rows += ([cell or None for cell in row] for row in chunk)
    except TapError as error:
        assert str(error).startswith("Stream users, export x")  # noqa: PT017
        return None
    return rows


def read_with_csv(data: bytes) -> list[list[str | None]] | None:
    """Read rows with Python's csv, or return None for what is not valid according to it or to RFC 4180."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    try:
        data.replace(b"\0", b"").decode()
        delimiter, text = from_header(data)
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except (csv.Error, UnicodeDecodeError):
        return None
    if not rows or any(len(row) != len(rows[0]) for row in rows) or reject_reason(data) or header_problem(rows[0]):
        return None
    return [[cell or None for cell in row] for row in rows[1:]]


@PROPERTY_SETTINGS
@given(
    width=st.integers(1, 5),
    data=st.data(),
    dialect=st.sampled_from(["excel", "unix"]),
    packed=st.booleans(),
    size=st.integers(1, 4),
)
def test_any_csv_is_read_as_python_reads_it(
    width: int, data: st.DataObject, dialect: str, *, packed: bool, size: int
) -> None:
    rows = data.draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8))
    text = io.StringIO(newline="")
    csv.writer(text, dialect).writerows(rows)
    file = text.getvalue().encode()
    assert read_with_tap(gzip.compress(file) if packed else file, size) == read_with_csv(file)


DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "double", "insert"]), st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)
    ),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, damage: list[tuple[str, int, int]]) -> bytes:
    for kind, place, value in damage:
        if kind == "cut":
            data = data[:place]
        elif kind == "flip":
            data = data[:place] + bytes([value]) + data[place + 1 :]
        elif kind == "double":
            data = data[:place] + data[place : place + value] + data[place:]
        else:
            data = data[:place] + bytes([value]) + data[place:]
    return data


@PROPERTY_SETTINGS
@given(damage=DAMAGE, packed=st.booleans())
def test_damaged_csv_is_read_as_python_reads_it_or_rejected(
    damage: list[tuple[str, int, int]], *, packed: bool
) -> None:
    data = damaged(SAMPLE, damage)
    assert read_with_tap(gzip.compress(data) if packed else data, 7) == read_with_csv(data)


@PROPERTY_SETTINGS
@given(damage=DAMAGE)
def test_damaged_gzip_is_read_completely_or_rejected(damage: list[tuple[str, int, int]]) -> None:
    packed = gzip.compress(SAMPLE, mtime=0)
    data = damaged(packed, [(kind, place % len(packed), value) for kind, place, value in damage])
    rows = read_with_tap(data)
    assert rows is None or rows == read_with_csv(SAMPLE) or data[:2] != b"\x1f\x8b"
