"""Rules of load/rows.py: the rows of a load, in order, and what is known at the end."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tap_dynamic.errors import TapError
from tap_dynamic.load.changes import Earlier, Rows, find_changes
from tap_dynamic.load.index import RowIndex
from tap_dynamic.load.plan import LoadPlan
from tap_dynamic.load.rows import Tally, read_chunks
from tap_dynamic.table.fit import fit_layout
from tap_dynamic.table.layout import KnownTable, Layout, StreamCatalog, with_deletions
from tests.builders import SDC, at, csv_file, export

LOGGER = logging.getLogger("test")
PROPERTIES: dict[str, dict[str, Any]] = {
    "id": {"type": "string"},
    "n": {"type": ["integer", "null"]},
    "data": {"type": ["object", "null"]},
    **SDC,
}
C = export("c", at(3))
Row = tuple[Any, ...]


def fit(file: Any, key: tuple[str, ...] = ("id",)) -> Layout:
    """Fit a file."""
    return fit_layout(file.sample, StreamCatalog(PROPERTIES), KnownTable(), SDC, key)


def read(plan: LoadPlan, tally: Tally | None = None) -> list[Row]:
    """Read the rows of a load."""
    chunks = read_chunks(plan, tally or Tally(), LOGGER)
    return [row for chunk in chunks for row in zip(*chunk.values, strict=True)]


def full(*lines: str, key: tuple[str, ...] = ("id",), **facts: Any) -> LoadPlan:
    """Plan a load of all rows."""
    file = csv_file(*lines)
    layout = fit(file, key)
    return LoadPlan(C, layout, Rows(file, layout.columns), **facts)


def test_all_rows_have_their_numbers_and_their_export() -> None:
    plan, tally = full("id,n", "1,5", "", "2,"), Tally()
    assert plan.layout.names == ["id", "n", "data", *SDC]
    assert read(plan, tally) == [("1", 5, None, "c", at(3), 1), ("2", None, None, "c", at(3), 2)]
    assert (tally.emitted, tally.read) == (2, 2)
    assert list(tally.notes()) == []


def test_changes_are_the_rows_that_are_gone_and_then_those_that_differ() -> None:
    old = csv_file("n,id", *(f"{number},{number}" for number in range(1000)), label="old")
    new = csv_file("id,n", *(f"{n},{n if n % 300 else -n}" for n in range(1, 1001)), label="new")
    layout = with_deletions(fit(new))
    with RowIndex("new") as index:
        changes = find_changes(new, [Earlier(old)], layout, index, LOGGER)
        plan, tally = LoadPlan(C, layout, changes.emitted, changes.gone, is_full=False, counts=changes.counts), Tally()
        rows = read(plan, tally)
    assert plan.layout.names == ["id", "n", "data", *SDC, "_sdc_deleted_at"]
    assert rows == [
        ("0", 0, None, "c", at(3), None, at(3)),
        ("300", -300, None, "c", at(3), 300, None),
        ("600", -600, None, "c", at(3), 600, None),
        ("900", -900, None, "c", at(3), 900, None),
        ("1000", 1000, None, "c", at(3), 1000, None),
    ]
    assert (tally.emitted, tally.read, plan.rows(tally.read)) == (5, 4, 1000)


def test_a_row_that_is_gone_is_emitted_whatever_its_cells_are() -> None:
    """Its file was read by another version, or with other types."""
    old, new = csv_file("id,n", "1,many", "2,5", label="old"), csv_file("id,n", "2,5", label="new")
    layout = fit(new)
    with RowIndex("new") as index:
        changes = find_changes(new, [Earlier(old)], layout, index, LOGGER)
        rows = read(LoadPlan(C, layout, changes.emitted, changes.gone, is_full=False, counts=changes.counts))
    assert rows == [("1", None, None, "c", at(3), None)]


@pytest.mark.parametrize("key", [("id",), ("id", "n")])
def test_a_key_that_is_not_verified_is_so_while_rows_are_read(key: tuple[str, ...]) -> None:
    plan = full("id,n", "1,5", "2,5", "1,05", key=key, is_key_verified=False)
    chunks = read_chunks(plan, Tally(), LOGGER)
    assert len(next(chunks)) == 3
    names = ", ".join(key)
    text = rf"^Stream users, export x: {names} can't be the key: {names} is the same in rows 1 and 3\. Set "
    with pytest.raises(TapError, match=text):
        next(chunks)
    assert len(read(full("id,n", "1,5", "2,5", key=key, is_key_verified=False))) == 2
    assert len(read(full("id,n", "1,5", "1,5", key=key, is_key_verified=True))) == 2


def test_a_cell_that_does_not_read_as_its_type_is_named_by_its_row() -> None:
    plan = full("id,n", *(f"{number},{number}" for number in range(400)), "x,SECRET")
    chunks = read_chunks(plan, Tally(), LOGGER)
    assert len(next(chunks)) == 250
    with pytest.raises(TapError, match=r"row 401: the cell of column 'n' does not read as integer") as raised:
        list(chunks)
    assert "SECRET" not in str(raised.value)


def test_nul_characters_are_counted() -> None:
    tally = Tally()
    rows = read(full("id,data", '1\0,"{""a"": ""\\u0000x\\u0000""}"', "2,"), tally)
    assert "\0" not in str(rows)
    assert [(note.text, note.is_warning) for note in tally.notes()] == [("3 NUL characters dropped", True)]


def test_many_columns_make_small_chunks() -> None:
    names = ["id", *(f"{number:_>6000}" for number in range(40))]
    plan = full(",".join(names), *[",".join(str(row) for _ in names) for row in range(30)])
    sizes = [len(chunk) for chunk in read_chunks(plan, Tally(), LOGGER)]
    assert sum(sizes) == 30
    assert max(sizes) < 5
