"""Rules of load/changes.py: what differs between files, whatever the earlier ones are."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from tap_dynamic.errors import TapError
from tap_dynamic.load.changes import Changes, Earlier, find_changes
from tap_dynamic.load.index import Counts, RowIndex
from tap_dynamic.table.fit import fit_layout
from tap_dynamic.table.layout import KnownTable, Layout, StreamCatalog
from tests.builders import csv_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOGGER = logging.getLogger("test")
TEXT: dict[str, Any] = {"type": ["string", "null"]}
NUMBER: dict[str, Any] = {"type": ["number", "null"]}
SDC: dict[str, dict[str, Any]] = {"_sdc_exported_at": {"type": "string", "format": "date-time"}}


@pytest.fixture
def index() -> Iterator[RowIndex]:
    with RowIndex("file 1") as opened:
        yield opened


def compare(
    index: RowIndex, *files: Sequence[str], key: tuple[str, ...] = ("id",), kind: dict[str, Any] = TEXT
) -> Changes:
    """Compare the last of some files with the others."""
    *earlier, newest = (csv_file(*lines, label=f"file {place}") for place, lines in enumerate(files))
    layout: Layout = fit_layout(
        newest.sample, StreamCatalog({"id": kind, "x": TEXT, **SDC}), KnownTable(key, key), SDC, key
    )
    return find_changes(newest, list(map(Earlier, earlier)), layout, index, LOGGER)


OLD = ["id,x", "1,a", "2,b", "3,c"]
NEW = ["id,x", "1,a", "2,B", "4,d"]
DIFFERENCES: dict[str, tuple[list[str], list[str], list[int], list[int], Counts]] = {
    # name: (old file, new file, rows emitted, rows gone, counts)
    "added, changed, deleted": (OLD, NEW, [2, 3], [3], Counts(1, 1, 1, 1)),
    "equal": (OLD, OLD, [], [], Counts(unchanged=3)),
    "columns in another order": (["x,id", "a,1", "b,2", "c,3"], OLD, [], [], Counts(unchanged=3)),
    "columns in another case": (["ID,X", "1,a", "2,b", "3,c"], OLD, [], [], Counts(unchanged=3)),
    "a new column without a value": (OLD, ["id,x,y", "1,a,", "2,b,", "3,c,"], [], [], Counts(unchanged=3)),
    "a new column with a value": (OLD, ["id,x,y", "1,a,", "2,b,n", "3,c,"], [2], [], Counts(changed=1, unchanged=2)),
    "a column that is gone and had a value": (["id,x", "1,", "2,b"], ["id", "1", "2"], [2], [], Counts(0, 1, 0, 1)),
    "a value that moves to another column": (["id,x,y", "1,a,"], ["id,x,y", "1,,a"], [1], [], Counts(changed=1)),
    "quotes and delimiters do not count": (["id;x", "1;a"], ["id,x", '"1","a"'], [], [], Counts(unchanged=1)),
    "an earlier file without rows": (["id,x"], ["id,x", "1,a"], [1], [], Counts(added=1)),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_differs_between_two_files(index: RowIndex, name: str) -> None:
    old, new, emitted, gone, counts = DIFFERENCES[name]
    changes = compare(index, old, new)
    assert changes.problem is None
    assert list(changes.emitted.numbers()) == emitted
    assert [list(rows.numbers()) for rows in changes.gone] == [gone]
    assert changes.counts == counts


def test_keys_are_equal_by_their_values(index: RowIndex) -> None:
    changes = compare(index, ["id,x", "1,a", "2.50,b"], ["id,x", "2.5,b", "1.0,a"], kind=NUMBER)
    # A key that is written otherwise is a change, not another row.
    assert changes.counts == Counts(changed=2)


UNUSABLE: dict[str, tuple[list[str], str]] = {
    # name: (earlier file, part of the problem)
    "no key column": (["x,y", "a,b"], "the file lacks a key column"),
    "its key is not unique": (["id,x", "9,a", "9,b"], "the key of an earlier export is not unique"),
    "a key is empty": (["id,x", "9,a", ",b"], "key column 'id' is empty"),
    "a row with another number of fields": (["id,x", "9,a", "2"], "1 field, where the header has 2"),
    "an unclosed quote": (["id,x", "9,a", '2,"b'], "an unclosed quote"),
}


@pytest.mark.parametrize(("unusable", "problem"), UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("place", [0, 1])
def test_an_earlier_file_that_is_malformed_does_not_count(
    index: RowIndex, unusable: list[str], problem: str, place: int
) -> None:
    """It will be so the next night too: the load must not fail because of it."""
    files = [OLD]
    files.insert(place, unusable)
    changes = compare(index, *files, NEW)
    assert changes.problem
    assert problem in changes.problem
    assert "\n" not in changes.problem
    assert [rows.file.label for rows in changes.gone] == [f"file {1 - place}"]
    assert [list(rows.numbers()) for rows in changes.gone] == [[3]]
    assert changes.counts.deleted == 1


def test_no_earlier_file_can_be_read(index: RowIndex) -> None:
    changes = compare(index, ["y", "1"], NEW)
    assert changes.problem
    assert changes.gone == ()
    assert changes.counts.deleted == 0


BROKEN: dict[str, tuple[list[str], str]] = {
    # name: (new file, part of the error)
    "its key is not unique": (["id,x", "1,a", "2,b", "1,c"], "id can't be the key: id is the same in rows 1 and 3"),
    "a key is empty": (["id,x", "1,a", ",b"], "row 2: key column 'id' is empty"),
    "malformed": (["id,x", "1,a", "2"], "row 2: 1 field, where the header has 2"),
}


@pytest.mark.parametrize(("new", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_new_file_that_is_malformed_is_an_error(index: RowIndex, new: list[str], problem: str) -> None:
    with pytest.raises(TapError, match=r"^file 1") as raised:
        compare(index, OLD, new)
    assert problem in str(raised.value)
    assert len(raised.value.lines) == 1


def test_a_full_disk_is_an_error_whichever_file_is_read(index: RowIndex) -> None:
    (pages,) = index._database.execute("pragma page_count").fetchone()  # noqa: SLF001 (a full disk is pretended)
    index._database.execute(f"pragma max_page_count = {pages}")  # noqa: SLF001
    with pytest.raises(TapError, match="temporary files can't be written"):
        compare(index, ["id,x", *(f"{number},a" for number in range(5000))], NEW)
