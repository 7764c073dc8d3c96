"""Rules of index.py: uniqueness of keys, and the difference of two files, however many rows they have."""

from __future__ import annotations

import errno
import io
import logging
import tempfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tap_dynamic.load.load import find_key_problem

from tap_dynamic.errors import TapError
from tap_dynamic.file.reader import CsvFile
from tap_dynamic.load import index as index_module
from tap_dynamic.load.index import DIGEST_SIZE, KeyHashes, RowIndex, RowSet, compare, digests, key_digests, row_hashes
from tap_dynamic.table.convert import convert_rows, key_texts
from tap_dynamic.table.layout import Column, Layout

LABEL = "Stream users, export x"
PROPERTY_SETTINGS = settings(deadline=None, max_examples=100)

# --- digests

SAME_KEY: list[tuple[list[str], list[str], bool]] = [
    # (key of a row, key of another row, whether they are equal)
    (["a"], ["a"], True),
    (["a"], ["A"], False),
    (["a"], ["a "], False),
    (["1"], ["01"], False),
    (["\u00e9"], ["e\u0301"], False),
    (["a", "b"], ["a", "b"], True),
    (["a", "b"], ["b", "a"], False),
    (["ab", "c"], ["a", "bc"], False),
    (["a", ""], ["", "a"], False),
    (["", "a", ""], ["", "", "a"], False),
    (["1", "23"], ["12", "3"], False),
]


@pytest.mark.parametrize(("one", "other", "are_equal"), SAME_KEY, ids=repr)
def test_which_keys_are_equal(one: list[str], other: list[str], *, are_equal: bool) -> None:
    first, second = key_digests(list(zip(one, other, strict=True)))
    assert (first == second) == are_equal
    assert len(first) == len(second) == DIGEST_SIZE


def test_a_digest_for_each_text_in_order() -> None:
    texts = ["a", "b", "", "a", "\u00e9"]
    found = digests(texts)
    assert found == [digests([text])[0] for text in texts]
    assert found == key_digests([texts])
    assert len(set(found)) == len(set(texts))
    assert digests([]) == key_digests([[]]) == key_digests([[], []]) == []


SAME_VALUE: list[tuple[str, str, str, bool]] = [
    # (type, cell of a row, cell of another row, whether the values are equal)
    ("string", "1", "01", False),
    ("string", "a", "A", False),
    ("integer", "1", "01", True),
    ("integer", "1", "+1", True),
    ("integer", "1", "-1", False),
    ("boolean", "true", "1", True),
    ("boolean", "true", "false", False),
    ("number", "1", "1.0", True),
    ("number", "0", "-0.0", True),
    ("number", "1e3", "1000", True),
    ("number", "0.1", "0.10000000001", False),
    ("number", "12345678901234567890.1234567891", "12345678901234567890.1234567892", False),
    ("number", "1e9999999", "1e9999998", False),
    ("date", "2021-01-02", "2021-01-03", False),
    ("date-time", "2021-01-02T03:04:05Z", "2021-01-02T03:04:05+00:00", True),
    ("date-time", "2021-01-02T03:04:05Z", "2021-01-02 05:04:05.000+02", True),
    ("date-time", "2021-01-02T03:04:05.001Z", "2021-01-02T03:04:05.002Z", False),
    ("date-time", "2021-01-02T03:04:05.1234561Z", "2021-01-02T03:04:05.1234562Z", False),
]


@pytest.mark.parametrize(("kind", "one", "other", "are_equal"), SAME_VALUE)
def test_keys_are_compared_by_their_values(kind: str, one: str, other: str, *, are_equal: bool) -> None:
    column = Column("id", 0, kind, is_key=True)
    values = convert_rows(LABEL, [column], [1, 2], [[one], [other]])
    first, second = key_digests(key_texts([column], values))
    assert (first == second) == are_equal


# --- uniqueness

DUPLICATES: dict[str, tuple[list[str], tuple[int, int] | None]] = {
    # name: (keys of the rows, numbers of the first two equal ones: the second of them comes first in the file)
    "nothing": ([], None),
    "one row": (["a"], None),
    "unique": (["a", "b", "c"], None),
    "equal": (["a", "a"], (1, 2)),
    "apart": (["a", "b", "c", "a"], (1, 4)),
    "three times: the first two": (["x", "a", "a", "a"], (2, 3)),
    "two pairs, one after the other": (["b", "b", "a", "a"], (1, 2)),
    "two pairs, one in the other": (["a", "b", "b", "a"], (2, 3)),
    "two pairs, crossed": (["a", "b", "a", "b"], (1, 3)),
}


def fill(keys: list[str], contents: list[str] | None = None, *, count: int = 250) -> RowIndex:
    """Index rows, some at a time."""
    made = RowIndex(LABEL)
    found, rows = digests(keys), row_hashes(contents) if contents else None
    for at in range(0, len(keys), count):
        made.add(at + 1, found[at : at + count], rows[at : at + count] if rows else None)
    return made


@pytest.mark.parametrize("count", [1, 2, 250])
@pytest.mark.parametrize("buffered", [1, 2, 3, 1 << 15])
@pytest.mark.parametrize(("keys", "duplicate"), DUPLICATES.values(), ids=DUPLICATES)
def test_the_first_two_equal_keys(
    monkeypatch: pytest.MonkeyPatch, keys: list[str], duplicate: tuple[int, int] | None, buffered: int, count: int
) -> None:
    monkeypatch.setattr(index_module, "BUFFERED_ROWS", buffered)
    for contents in (None, [f"{n}" for n in range(len(keys))]):
        with fill(keys, contents, count=count) as index:
            assert index.first_duplicate() == duplicate
            assert index.first_duplicate() == duplicate  # reading changes nothing
            assert index.rows == len(keys)


@PROPERTY_SETTINGS
@given(keys=st.lists(st.text(max_size=2)), count=st.integers(1, 5))
def test_uniqueness_is_that_of_a_set(keys: list[str], count: int) -> None:
    expected = next(
        ((keys.index(key) + 1, number) for number, key in enumerate(keys, 1) if key in keys[: number - 1]), None
    )
    with fill(keys, count=count) as index:
        assert index.first_duplicate() == expected


def test_a_duplicate_anywhere_in_many_rows() -> None:
    keys = [str(number) for number in range(100_000)]
    for place in (0, 1, 50_000, 99_998):
        with fill([*keys, keys[place]], count=1000) as index:
            assert index.first_duplicate() == (place + 1, 100_001)
    with fill(keys, count=1000) as index:
        assert index.first_duplicate() is None


def test_rows_can_be_added_after_a_first_look() -> None:
    with RowIndex(LABEL) as index:
        index.add(1, digests(["a", "b"]))
        assert index.first_duplicate() is None
        index.add(3, digests(["c", "a"]))
        assert index.first_duplicate() == (1, 4)


def test_a_partition_holds_rows_with_equal_keys_in_order() -> None:
    keys = [str(number % 700) for number in range(3000)]
    with fill(keys, count=7) as index:
        places: dict[bytes, int] = {}
        numbers: list[int] = []
        for place, entries in enumerate(index.entries()):
            found = [(key, int.from_bytes(row, "big")) for key, row, _ in entries]
            assert [number for _, number in found] == sorted(number for _, number in found)
            numbers += [number for _, number in found]
            assert all(places.setdefault(key, place) == place for key, _ in found)
    assert sorted(numbers) == list(range(1, 3001))


def test_most_rows_are_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "BUFFERED_ROWS", 100)
    with fill([str(number) for number in range(5000)], count=10) as index:
        assert sum(map(len, index.buffers)) < 100
        assert index.size >= 4900 * DIGEST_SIZE


def test_the_file_is_closed_at_the_end() -> None:
    with RowIndex(LABEL) as index:
        index.add(1, digests(["a"]))
    assert index.file.closed


class FullDisk:
    """A file that can't be written."""

    def write(self, _: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_an_expected_failure() -> None:
    with RowIndex(LABEL) as index:
        index.add(1, digests(["a"]))
        file: Any = index.file
        index.file = FullDisk()  # type: ignore[assignment]
        with pytest.raises(TapError, match=rf"^{LABEL}: .*\(no space left on device\)") as raised:
            index.first_duplicate()
        index.file = file
    assert "\n" not in str(raised.value)


def test_no_folder_for_temporary_files_is_an_expected_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with pytest.raises(TapError, match=rf"^{LABEL}: .*\(read-only file system\).*TMPDIR"):
        RowIndex(LABEL)


# --- sets of rows


@PROPERTY_SETTINGS
@given(numbers=st.sets(st.integers(1, 300)), others=st.sets(st.integers(1, 300)), start=st.integers(1, 300))
def test_a_set_of_rows_is_a_set(numbers: set[int], others: set[int], start: int) -> None:
    rows, more = RowSet(300), RowSet(300)
    for number in numbers:
        rows.add(number)
        rows.add(number)
    for number in others:
        more.add(number)
    assert len(rows) == len(numbers)
    assert max(numbers, default=-1) < rows.end <= max(numbers, default=-1) + 9
    assert bool(rows.end) == bool(numbers)
    for stop in range(start, min(start + 40, 301)):
        assert rows.among(range(start, stop)) == sorted(numbers & set(range(start, stop)))
    rows.intersect(more)
    assert rows.among(range(1, 301)) == sorted(numbers & others)
    assert more.among(range(1, 301)) == sorted(others)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16])
def test_a_set_of_rows_holds_its_largest_number(size: int) -> None:
    rows = RowSet(size)
    assert (len(rows), rows.among(range(1, size + 1))) == (0, [])
    if size:
        rows.add(size)
        assert rows.among(range(1, size + 1)) == [size]


# --- differences

Rows = dict[str, str]
DIFFERENCES: dict[str, tuple[Rows, Rows, list[int], list[int], tuple[int, int, int]]] = {
    # name: (old rows by key, new rows by key, new rows emitted, old rows gone, (added, changed, unchanged))
    "nothing": ({}, {}, [], [], (0, 0, 0)),
    "equal": ({"a": "1", "b": "2"}, {"a": "1", "b": "2"}, [], [], (0, 0, 2)),
    "equal in another order": ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, [], [], (0, 0, 2)),
    "added": ({"a": "1"}, {"a": "1", "b": "2"}, [2], [], (1, 0, 1)),
    "changed": ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, [2], [], (0, 1, 1)),
    "deleted": ({"a": "1", "b": "2"}, {"b": "2"}, [], [1], (0, 0, 1)),
    "all at once": (
        {"a": "1", "b": "2", "c": "3"},
        {"c": "4", "d": "5", "b": "2"},
        [1, 2],
        [1],
        (1, 1, 1),
    ),
    "from nothing": ({}, {"a": "1", "b": "2"}, [1, 2], [], (2, 0, 0)),
    "to nothing": ({"a": "1", "b": "2"}, {}, [], [1, 2], (0, 0, 0)),
    "the content moves to another key": ({"a": "1"}, {"b": "1"}, [1], [1], (1, 0, 0)),
    "the key in another case is another key": ({"a": "1"}, {"A": "1"}, [1], [1], (1, 0, 0)),
}


@pytest.mark.parametrize(("old", "new", "emitted", "gone", "counts"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_the_difference_of_two_files(
    old: Rows, new: Rows, emitted: list[int], gone: list[int], counts: tuple[int, int, int]
) -> None:
    with fill([*new], [*new.values()]) as new_index, fill([*old], [*old.values()]) as old_index:
        difference = compare(new_index, old_index)
    assert difference
    assert difference.emitted.among(range(1, len(new) + 1)) == emitted
    assert difference.gone.among(range(1, len(old) + 1)) == gone
    assert (difference.added, difference.changed, difference.unchanged) == counts


ROWS = st.dictionaries(st.text(max_size=2), st.text("ab", max_size=1), max_size=30)


@PROPERTY_SETTINGS
@given(old=ROWS, new=ROWS)
def test_the_old_table_and_the_difference_make_the_new_table(old: Rows, new: Rows) -> None:
    with fill([*new], [*new.values()], count=4) as new_index, fill([*old], [*old.values()], count=3) as old_index:
        difference = compare(new_index, old_index)
    assert difference
    table = dict(old)
    for number in difference.gone.among(range(1, len(old) + 1)):
        del table[[*old][number - 1]]
    for number in difference.emitted.among(range(1, len(new) + 1)):
        key = [*new][number - 1]
        assert table.get(key) != new[key]  # nothing is sent that is there
        table[key] = new[key]
    assert table == new
    assert difference.added + difference.changed == len(difference.emitted)
    assert difference.added + difference.changed + difference.unchanged == len(new)


@PROPERTY_SETTINGS
@given(old=ROWS, new=ROWS)
def test_without_contents_only_keys_are_compared(old: Rows, new: Rows) -> None:
    with fill([*new]) as new_index, fill([*old]) as old_index:
        difference = compare(new_index, old_index)
    assert difference
    assert len(difference.gone) == len(old.keys() - new.keys())
    assert difference.added == len(new.keys() - old.keys())
    assert difference.changed == 0


@pytest.mark.parametrize(
    ("columns", "are_unique"),
    [
        ([["a", "b", "c"]], True),
        ([["a", "b", "a"]], False),
        ([["", "b", "c"]], True),
        ([["a", "a"], ["1", "2"]], True),
        ([["a", "a"], ["1", "1"]], False),
        ([["ab", "a"], ["c", "bc"]], True),
        ([[]], True),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_hashes_of_keys(columns: list[list[str]], count: int, *, are_unique: bool) -> None:
    with KeyHashes(LABEL) as hashes:
        for start in range(0, len(columns[0]), count):
            hashes.add([column[start : start + count] for column in columns])
        assert hashes.are_unique() is are_unique


@pytest.mark.parametrize("place", [0, 1, 99_999])
def test_hashes_of_keys_on_disk(place: int) -> None:
    keys = [f"user {number}" for number in range(100_000)]
    with KeyHashes(LABEL) as hashes:
        hashes.add([keys])
        assert hashes.are_unique()
        assert hashes.size == 8 * len(keys)
        hashes.add([[keys[place]]])
        assert not hashes.are_unique()


@pytest.mark.parametrize(
    ("keys", "problem"), [("a b c d", None), ("a b b a", "id is the same in rows 2 and 3"), ("a b c a", "rows 1 and 4")]
)
def test_equal_hashes_of_different_keys_change_nothing(
    monkeypatch: pytest.MonkeyPatch, keys: str, problem: str | None
) -> None:
    monkeypatch.setattr(index_module, "hash", lambda _: 7, raising=False)
    file = CsvFile.open(io.BytesIO("\n".join(["id", *keys.split()]).encode()), LABEL)
    columns = (Column("id", 0, "string", is_key=True),)
    layout = Layout(columns, (), ("id",), {"type": "object", "properties": {"id": {"type": "string"}}})
    found = find_key_problem(file, layout, logging.getLogger("test"))
    assert found is None if problem is None else problem in str(found)
