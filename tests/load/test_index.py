"""Rules of load/index.py: equal keys within a file, and what differs between files, however many rows they have."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_dynamic.errors import TapError
from tap_dynamic.load import index as index_module
from tap_dynamic.load.index import KEY_SIZE, Counts, RowIndex, key_digests, row_hashes
from tap_dynamic.table.convert import convert_rows, key_texts
from tap_dynamic.table.layout import Column

if TYPE_CHECKING:
    from collections.abc import Callable

LABEL = "Stream users, export x"
NEEDS_LINUX = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
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
    assert len(first) == len(second) == KEY_SIZE


def test_a_digest_for_each_row_in_order() -> None:
    texts = ["a", "b", "", "a", "\u00e9"]
    assert key_digests([texts]) == [key_digests([[text]])[0] for text in texts]
    assert len(set(key_digests([texts]))) == len(set(texts))
    assert key_digests([[]]) == key_digests([[], []]) == []
    assert row_hashes([]) == []


@given(st.lists(st.text("ab,\n", max_size=3)))
def test_contents_are_equal_where_their_hashes_are(texts: list[str]) -> None:
    found = row_hashes(texts)
    assert [found.index(value) for value in found] == [texts.index(text) for text in texts]
    assert all(-(1 << 63) <= value < 1 << 63 for value in found)  # an integer of SQLite


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

DUPLICATES: dict[str, tuple[str, tuple[int, int] | None]] = {
    # name: (keys of the rows, numbers of the first two equal ones: the second of them comes first in the file)
    "nothing": ("", None),
    "one row": ("a", None),
    "unique": ("abc", None),
    "equal": ("aa", (1, 2)),
    "apart": ("abca", (1, 4)),
    "three times: the first two": ("xaaa", (2, 3)),
    "two pairs, one after the other": ("bbaa", (1, 2)),
    "two pairs, one in the other": ("abba", (2, 3)),
    "two pairs, crossed": ("abab", (1, 3)),
    "a pair in a triple": ("abbaa", (2, 3)),
}


def add(index: RowIndex, file: int, rows: dict[str, str] | str, count: int = 250) -> None:
    """Add rows, some at a time: contents by key, or keys alone."""
    keys, contents = key_digests([[*rows]]), row_hashes(rows.values()) if isinstance(rows, dict) else None
    for at in range(0, len(keys), count):
        end = at + count
        index.add(file, range(at + 1, at + 1 + len(keys[at:end])), keys[at:end], contents and contents[at:end])


@pytest.mark.parametrize("count", [2, 250])
@pytest.mark.parametrize(("keys", "duplicate"), DUPLICATES.values(), ids=DUPLICATES)
def test_the_first_two_equal_keys(keys: str, duplicate: tuple[int, int] | None, count: int) -> None:
    with RowIndex(LABEL) as index:
        add(index, 0, keys, count)
        add(index, 1, "aabb")  # another file's rows do not count
        assert index.find_duplicate(0) == duplicate
        assert index.find_duplicate(0) == duplicate  # reading changes nothing
        assert index.find_duplicate(1) == (1, 2)
        assert index.find_duplicate(2) is None


def test_a_duplicate_in_many_rows() -> None:
    keys = key_digests([list(map(str, range(50_000)))])
    with RowIndex(LABEL) as index:
        index.add(0, range(1, 50_001), keys, None)
        index.require_unique(0, ("id", "name"))
        index.add(0, [50_001], [keys[7]], None)  # rows can be added after a look
        with pytest.raises(TapError, match=rf"^{LABEL}: id, name can't be the key: .* in rows 8 and 50001\. Set "):
            index.require_unique(0, ("id", "name"))


# --- differences

Files = list[dict[str, str]]
CHANGED = Counts(changed=1)
DIFFERENCES: dict[str, tuple[Files, list[list[int]], Counts]] = {
    # name: (contents by key of each file, the newest last; numbers of the rows that differ; counts)
    "nothing": ([{}, {}], [[], []], Counts()),
    "equal": ([{"a": "1", "b": "2"}, {"a": "1", "b": "2"}], [[], []], Counts(unchanged=2)),
    "another order": ([{"a": "1", "b": "2"}, {"b": "2", "a": "1"}], [[], []], Counts(unchanged=2)),
    "added": ([{"a": "1"}, {"a": "1", "b": "2"}], [[], [2]], Counts(added=1, unchanged=1)),
    "changed": ([{"a": "1", "b": "2"}, {"a": "1", "b": "3"}], [[], [2]], Counts(changed=1, unchanged=1)),
    "deleted": ([{"a": "1", "b": "2"}, {"b": "2"}], [[1], []], Counts(deleted=1, unchanged=1)),
    "all at once": (
        [{"a": "1", "b": "2", "c": "3"}, {"c": "4", "d": "5", "b": "2"}],
        [[1], [1, 2]],
        Counts(added=1, changed=1, deleted=1, unchanged=1),
    ),
    "from nothing": ([{}, {"a": "1", "b": "2"}], [[], [1, 2]], Counts(added=2)),
    "to nothing": ([{"a": "1", "b": "2"}, {}], [[1, 2], []], Counts(deleted=2)),
    "the content moves to another key": ([{"a": "1"}, {"b": "1"}], [[1], [1]], Counts(added=1, deleted=1)),
    "the key in another case is another key": ([{"a": "1"}, {"A": "1"}], [[1], [1]], Counts(added=1, deleted=1)),
    "three equal files": ([{"a": "1"}, {"a": "1"}, {"a": "1"}], [[], [], []], Counts(unchanged=1)),
    "changed and back: its row may be that of between": ([{"a": "1"}, {"a": "2"}, {"a": "1"}], [[], [], [1]], CHANGED),
    "gone and back": ([{"a": "1"}, {}, {"a": "1"}], [[], [], [1]], Counts(changed=1)),
    "only between: its row is gone": ([{}, {"a": "1"}, {}], [[], [1], []], Counts(deleted=1)),
    "gone from both: the newer row": (
        [{"x": "1", "a": "1"}, {"a": "2"}, {"x": "1"}],
        [[], [1], [1]],
        Counts(changed=1, deleted=1),
    ),
    "gone between: the older row": ([{"a": "1"}, {}, {}], [[1], [], []], Counts(deleted=1)),
}


@pytest.mark.parametrize(("files", "differing", "counts"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_what_differs(files: Files, differing: list[list[int]], counts: Counts) -> None:
    with RowIndex(LABEL) as index:
        for place, rows in enumerate(files):
            add(index, place, rows)
        assert index.compare(len(files) - 1) == counts
        assert [list(index.differing_rows(place)) for place in range(len(files))] == differing
        assert list(index.differing_rows(len(files))) == []
    assert counts.before == len({key for rows in files[:-1] for key in rows})


FILES = st.lists(st.dictionaries(st.text("abc", max_size=2), st.text("xy", max_size=1)), min_size=2, max_size=4)


@PROPERTY_SETTINGS
@given(files=FILES, count=st.integers(1, 5))
def test_what_differs_is_what_dictionaries_say(files: Files, count: int) -> None:
    *earlier, newest = files
    held = {key: [rows[key] for rows in earlier if key in rows] for rows in earlier for key in rows}
    unchanged = {key for key in newest if held.get(key) == [newest[key]] * len(earlier)}
    gone: list[list[int]] = [[] for _ in earlier]
    for key in held.keys() - newest.keys():
        place = max(place for place, rows in enumerate(earlier) if key in rows)
        gone[place].append([*earlier[place]].index(key) + 1)
    with RowIndex(LABEL) as index:
        for place, rows in enumerate(files):
            add(index, place, rows, count)
        counts = index.compare(len(earlier))
        emitted = list(index.differing_rows(len(earlier)))
        assert [list(index.differing_rows(place)) for place in range(len(earlier))] == list(map(sorted, gone))
    assert emitted == [number for number, key in enumerate(newest, 1) if key not in unchanged]
    added = len(newest.keys() - held.keys())
    assert counts == Counts(added, len(emitted) - added, len(held.keys() - newest.keys()), len(unchanged))


def test_a_file_that_was_removed_does_not_count() -> None:
    with RowIndex(LABEL) as index:
        add(index, 0, {"a": "1"})
        add(index, 1, {"a": "2", "b": "2"})
        index.remove(1)
        assert index.find_duplicate(1) is None
        add(index, 1, {"a": "1", "c": "3"})
        assert index.compare(1) == Counts(added=1, unchanged=1)
        assert list(index.differing_rows(1)) == [2]


# --- memory and disk


def unnamed_files() -> dict[str, int]:
    """The sizes of the files without a name that this process has open."""
    return {
        link.name: link.stat().st_size
        for link in Path("/proc/self/fd").iterdir()
        if link.is_symlink() and str(link.readlink()).endswith(" (deleted)")
    }


@NEEDS_LINUX
def test_rows_are_in_a_file_without_a_name_not_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "CACHE", 256)
    before = unnamed_files()
    with RowIndex(LABEL) as index:
        for first in range(0, 40_000, 1000):
            numbers = range(first + 1, first + 1001)
            index.add(0, numbers, key_digests([list(map(str, numbers))]), numbers)
        (size,) = set(unnamed_files().items()) - set(before.items())
        database = index._database  # noqa: SLF001 (its size)
        pages, page_size = (database.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "page_size"))
    assert pages * page_size > 1 << 20
    assert size[1] >= pages * page_size - (512 << 10)
    assert unnamed_files() == before


def test_differing_rows_are_read_one_by_one() -> None:
    with RowIndex(LABEL) as index:
        for first in range(0, 20_000, 1000):
            numbers = range(first + 1, first + 1001)
            index.add(1, numbers, key_digests([list(map(str, numbers))]), None)
        assert index.compare(1).added == 20_000
        tracemalloc.start()
        assert sum(1 for _ in index.differing_rows(1)) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20_000


@pytest.mark.parametrize(
    "act", [lambda index: add(index, 1, dict.fromkeys(map(str, range(5000)), "")), lambda index: index.compare(1)]
)
def test_a_full_disk_is_an_expected_failure(act: Callable[[RowIndex], object]) -> None:
    with RowIndex(LABEL) as index:
        add(index, 0, {str(-number): "" for number in range(5000)})
        with index._reporting():  # noqa: SLF001 (the database that a full disk is pretended for)
            (pages,) = index._database.execute("pragma page_count").fetchone()  # noqa: SLF001
            index._database.execute(f"pragma max_page_count = {pages}")  # noqa: SLF001
        with pytest.raises(TapError, match=rf"^{LABEL}: temporary files can't be written \(.*full\)") as raised:
            act(index)
    assert len(raised.value.lines) == 1
    assert "TMPDIR" in str(raised.value)


@NEEDS_LINUX
def test_a_file_size_limit_is_an_expected_failure(tmp_path: Path) -> None:
    code = f"""
from tap_dynamic.errors import TapError
from tap_dynamic.load import index
from tap_dynamic.load.index import RowIndex, key_digests
index.CACHE = 256
try:
    with RowIndex({LABEL!r}) as rows:
        for first in range(1, 1_000_000, 1000):
            numbers = range(first, first + 1000)
            rows.add(0, numbers, key_digests([list(map(str, numbers))]), numbers)
except TapError as error:
    print(error)
"""
    command = ["sh", "-c", 'ulimit -f 1024; exec "$@"', "sh", sys.executable, "-c", code]
    found = subprocess.run(command, env={"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(f"{LABEL}: temporary files can't be written (")
    assert found.stdout.count("\n") == 1


def test_the_database_is_closed_at_the_end() -> None:
    with RowIndex(LABEL) as index:
        add(index, 0, "a")
    with pytest.raises(Exception, match="closed database"):
        index.find_duplicate(0)
