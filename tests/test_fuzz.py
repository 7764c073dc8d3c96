"""Any CSV comes out as Python's csv reads it; damaged bytes end in equal rows or a clean refusal."""

from __future__ import annotations

import csv
import gzip
import io
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.data import csv_file, to_csv
from tap_dynamic.client import TapError
from tap_dynamic.rows import Column, CsvFile, column_names

if TYPE_CHECKING:
    from typing import Any

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
CALM = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
SAMPLE = csv_file("users", 25)


def read(data: bytes, size: int = 1000) -> list[list[str | None]] | None:
    """The rows as the tap reads them, or None for a clean refusal."""
    with TemporaryFile() as file:
        file.write(data)
        try:
            table = CsvFile(file, "Stream users, export x")
            names = column_names(table.header, ())
            columns = [Column(name, index, {"type": ["string", "null"]}) for index, name in enumerate(names)]
            rows: list[list[Any]] = []
            for numbers, values in table.chunks(columns, size):
                assert list(numbers) == list(range(len(rows) + 1, len(rows) + 1 + len(numbers)))
                rows += map(list, zip(*values, strict=True))
        except TapError as error:
            assert str(error).startswith("Stream users, export x")  # noqa: PT017
            return None
    return rows


def expect(data: bytes) -> list[list[str | None]] | None:
    """The rows as Python's csv reads them, or None where it or RFC 4180 refuses."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    try:
        text = data.replace(b"\0", b"").decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except (csv.Error, UnicodeDecodeError):
        return None
    if not rows or text.lstrip().startswith(("<", '{"')) or any(len(row) != len(rows[0]) for row in rows):
        return None
    return [[cell or None for cell in row] for row in rows[1:]]


@CALM
@given(
    width=st.integers(1, 5),
    data=st.data(),
    dialect=st.sampled_from(["excel", "unix"]),
    packed=st.booleans(),
    size=st.integers(1, 4),
)
def test_any_csv_comes_out_as_python_reads_it(
    width: int, data: st.DataObject, dialect: str, *, packed: bool, size: int
) -> None:
    rows = data.draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8))
    text = io.StringIO(newline="")
    csv.writer(text, dialect).writerows(rows)
    file = text.getvalue().encode()
    assert read(gzip.compress(file) if packed else file, size) == expect(file)


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


@CALM
@given(damage=DAMAGE, packed=st.booleans())
def test_damaged_bytes_end_in_equal_rows_or_a_clean_refusal(
    damage: list[tuple[str, int, int]], *, packed: bool
) -> None:
    data = damaged(SAMPLE, damage)
    assert read(gzip.compress(data) if packed else data, 7) == expect(data)


@CALM
@given(damage=DAMAGE)
def test_damaged_gzip_is_refused_or_whole(damage: list[tuple[str, int, int]]) -> None:
    packed = gzip.compress(SAMPLE, mtime=0)
    data = damaged(packed, [(kind, place % len(packed), value) for kind, place, value in damage])
    rows = read(data)
    assert rows is None or rows == expect(SAMPLE) or data[:2] != b"\x1f\x8b"


def test_what_stands_before_a_damage_has_the_right_number() -> None:
    data = to_csv([["id"], *[[str(n)] for n in range(5000)]]) + b'"x'
    with TemporaryFile() as file:
        file.write(data)
        table = CsvFile(file, "X")
        count, message = 0, ""
        try:
            for numbers, _ in table.chunks([Column("id", 0, {"type": "string"})]):
                count += len(numbers)
        except TapError as error:
            message = str(error)
    assert (count, message) == (5000, "X, row 5001: an unclosed quote.")
