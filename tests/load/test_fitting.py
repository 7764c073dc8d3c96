"""Rules of load/fitting.py: what the rows of a file prove of its key and types, and its layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tap_dynamic.errors import FileUnusable, TapError
from tap_dynamic.file.sample import HEAD_SIZE
from tap_dynamic.load.fitting import Proof, fit_file, verify_rows
from tap_dynamic.load.state import RowState
from tap_dynamic.table.columns import FALLBACK_KEY
from tap_dynamic.table.layout import Column, KnownTable, Layout, StreamCatalog
from tests.builders import SDC, csv_file, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ID, NAME = Column("id", 0, "string", is_key=True, is_required=True), Column("name", 1, "string", is_key=True)
FLAG, COUNT, ABSENT = Column("flag", 1, "boolean"), Column("count", 2, "integer"), Column("absent", None, "boolean")
NUMBERED = Column("id", 0, "integer", is_key=True, is_required=True)
KEY_FLAG = Column("flag", 1, "boolean", is_key=True)
UNREAD = frozenset({"flag"})
BOTH_UNREAD = Proof(None, frozenset({"flag", "count"}))

PROOFS: dict[str, tuple[list[list[str]], list[Column], list[Column], Proof]] = {
    # name: (rows, key columns, typed columns, proof)
    "no rows": ([], [ID], [FLAG], Proof()),
    "unique": ([["1", "a"], ["2", "a"]], [ID], [], Proof()),
    "alike": ([["1", "a"], ["2", "a"], ["1", "b"]], [ID], [], Proof("id is the same in rows 1 and 3")),
    "unique by both": ([["1", "a"], ["1", "b"]], [ID, NAME], [], Proof()),
    "alike in both": ([["1", ""], ["2", ""], ["2", ""]], [ID, NAME], [], Proof("id, name is the same in rows 2 and 3")),
    "the second may be empty": ([["1", ""], ["1", "a"]], [ID, NAME], [], Proof()),
    "the first may not": ([["1", "a"], ["", "b"], ["", "c"]], [ID, NAME], [], Proof("id is empty in row 2")),
    "empty before alike": ([["1", "a"], ["", "b"], ["1", "c"]], [ID], [], Proof("id is empty in row 2")),
    "types": ([["1", "true", "5"], ["2", "", ""]], [], [FLAG, COUNT, ABSENT], Proof()),
    "another type": ([["1", "true", "5"], ["2", "yes", "6"]], [], [FLAG, COUNT], Proof(None, frozenset({"flag"}))),
    "other types, in different rows": ([["1", "yes", "5"], ["2", "true", "x"]], [], [FLAG, COUNT], BOTH_UNREAD),
    "types are verified behind a key that is none": (
        [["1", "true"], ["1", "true"], ["", "true"], ["2", "yes"]],
        [ID],
        [FLAG],
        Proof("id is empty in row 3", UNREAD),
    ),
    "equal by their values": ([["1"], ["01"]], [NUMBERED], [NUMBERED], Proof("id is the same in rows 1 and 2")),
    "an empty cell of a key is text": ([["a", "true"], ["a", ""]], [ID, KEY_FLAG], [KEY_FLAG], Proof(None, UNREAD)),
    "nothing to verify": ([["1", "a"], ["1", "a"]], [], [NAME], Proof()),
}


@pytest.mark.parametrize("count", [1, 250])
@pytest.mark.parametrize(("rows", "key", "typed", "proof"), PROOFS.values(), ids=PROOFS)
def test_what_rows_prove(
    rows: list[list[str]], key: list[Column], typed: list[Column], proof: Proof, count: int
) -> None:
    chunks = ((range(at + 1, at + count + 1), rows[at : at + count]) for at in range(0, len(rows), count))
    assert verify_rows("x", chunks, key, typed) == proof


def test_rows_are_read_as_far_as_they_matter() -> None:
    read: list[int] = []

    def chunks() -> Iterator[tuple[range, list[list[str]]]]:
        for number in range(1, 5):
            read.append(number)
            yield range(number, number + 1), [["", "yes"]]

    assert verify_rows("x", chunks(), [ID], [FLAG]) == Proof("id is empty in row 1", frozenset({"flag"}))
    assert read == [1]
    assert verify_rows("x", chunks(), [], []) == Proof()
    assert read == [1]


def test_a_key_of_a_type_that_the_user_has_set_is_an_error() -> None:
    with pytest.raises(TapError, match=r"^x, row 2: the cell of column 'id' does not read as integer"):
        verify_rows("x", [(range(1, 3), [["1"], ["SECRET"]])], [NUMBERED])


# --- the layout of a file

TEXT: dict[str, Any] = {"type": ["string", "null"]}
BOOLEAN: dict[str, Any] = {"type": ["boolean", "null"]}
DOCUMENTED = {"user_id": TEXT, "credential": TEXT, "id": TEXT, "enabled": BOOLEAN, "flag": BOOLEAN, **SDC}
CATALOG = StreamCatalog(DOCUMENTED)
CANDIDATES = (("user_id", "credential"), ("id",), ("user_id",))


def fit(lines: Sequence[str], catalog: StreamCatalog = CATALOG, table: KnownTable = KnownTable()) -> Layout:  # noqa: B008 (frozen)
    """Fit a file."""
    state = RowState(
        key_properties=list(table.key or ()),
        columns=list(table.columns),
        text_columns=sorted(table.text_columns),
        row_count=1 if table.key else None,
    )
    given = load(documented=DOCUMENTED, candidates=CANDIDATES, catalog=catalog, state=state)
    return fit_file(csv_file(*lines), given)


def warnings(layout: Layout) -> list[str]:
    """The notes that are warnings."""
    return [note.text for note in layout.notes if note.is_warning]


MANY = [f"{number}," for number in range(HEAD_SIZE // 4)]
"""More than a sample has."""
Key = tuple[str, ...]
HEADER, PAIR = "user_id,credential", ("user_id", "credential")
SAME = "user_id, credential is the same in rows"
FLAGS = ["id,flag", *(f"{line}true" for line in MANY)]
KEYS: dict[str, tuple[list[str], Key | None, Key, str | None]] = {
    # name: (file, key that the user sets, key, the end of the warning)
    "the first candidate": ([f"{HEADER},id", "1,a,x"], None, PAIR, None),
    "the second": (["id,credential,x", "1,a,"], None, ("id",), None),
    "the third": (["x,user_id", ",1"], None, ("user_id",), None),
    "in another case": (["USER_ID,Credential", "1,a"], None, PAIR, None),
    "a user without credential": ([HEADER, "1,", "2,"], None, PAIR, None),
    "two credentials": ([HEADER, "1,a", "1,b", "1,"], None, PAIR, None),
    "none of them": (["x,y", "1,2"], None, FALLBACK_KEY, "the file has none of the columns that could be one"),
    "a file without rows": ([HEADER], None, PAIR, None),
    "two rows alike": (
        [HEADER, "1,a", "2,a", "1,a"],
        None,
        FALLBACK_KEY,
        "user_id, credential is the same in rows 1 and 3",
    ),
    "without credential": ([HEADER, "1,", "1,"], None, FALLBACK_KEY, f"{SAME} 1 and 2"),
    "the first column is empty": ([HEADER, "1,a", ",b"], None, FALLBACK_KEY, "user_id is empty in row 2"),
    "no other candidate is tried": (["id,user_id", "1,a", "1,b"], None, FALLBACK_KEY, "id is the same in rows 1 and 2"),
    "far behind the sample": (
        ["id,x", *MANY, "7,"],
        None,
        FALLBACK_KEY,
        f"id is the same in rows 8 and {len(MANY) + 1}",
    ),
    "the user's": (["id,x", "1,a", "1,b"], ("x",), ("x",), None),
    "the user's in another case": (["ID,X", "1,a"], ("x",), ("X",), None),
    "the user's is not unique": (["id,x", "1,a", "2,a"], ("x",), FALLBACK_KEY, "x is the same in rows 1 and 2"),
    "the user's is not in the file": (["id,x", "1,a"], ("email",), FALLBACK_KEY, "the file has no column 'email'"),
    "the user's has another type far behind: keys are compared as text": (
        [*FLAGS, "x,soon", "0,true"],
        ("id", "flag"),
        FALLBACK_KEY,
        f"id, flag is the same in rows 1 and {len(MANY) + 2}",
    ),
    "the user's has another type far behind, and is unique as text": (
        [*FLAGS, "0,1", "x,soon"],
        ("id", "flag"),
        ("id", "flag"),
        None,
    ),
    "the user's is the row number": (["id", "1", "1"], FALLBACK_KEY, FALLBACK_KEY, None),
}


@pytest.mark.parametrize(("lines", "of_user", "key", "warning"), KEYS.values(), ids=KEYS)
def test_the_key_of_a_first_load(lines: list[str], of_user: Key | None, key: Key, warning: str | None) -> None:
    layout = fit(lines, StreamCatalog(DOCUMENTED, key=of_user))
    assert layout.key == key
    found = [text for text in warnings(layout) if "the key is" in text]
    assert found == ([f"the key is {', '.join(FALLBACK_KEY)}, because {warning}"] if warning else [])


TABLE_KEYS: dict[str, tuple[list[str], Key, Key | None, Key, str | None]] = {
    # name: (file, key of the table, key that the user sets, key, the end of the warning)
    "it stays": ([f"{HEADER},id", "1,a,x"], ("id",), None, ("id",), None),
    "the file spells it otherwise": (["ID", "1"], ("id",), None, ("id",), None),
    "the user's replaces it": (["id,credential", "1,a"], ("id",), ("credential",), ("credential",), None),
    "the row number stays": (
        ["id", "1"],
        FALLBACK_KEY,
        None,
        FALLBACK_KEY,
        "the key id, load into a new table (--full-refresh)",
    ),
    "the row number stays, whatever the user sets": (
        ["credential,flag", "1,"],
        FALLBACK_KEY,
        ("credential",),
        FALLBACK_KEY,
        None,
    ),
}


@pytest.mark.parametrize(("lines", "of_table", "of_user", "key", "warning"), TABLE_KEYS.values(), ids=TABLE_KEYS)
def test_the_key_of_a_later_load(
    lines: list[str], of_table: Key, of_user: Key | None, key: Key, warning: str | None
) -> None:
    layout = fit(lines, StreamCatalog(DOCUMENTED, key=of_user), KnownTable(of_table, of_table))
    assert layout.key == key
    assert [text.endswith(warning or "") for text in warnings(layout)] == [True] * bool(warning)


@pytest.mark.parametrize("of_user", [None, ("email",)])
def test_a_later_file_without_the_key_is_an_error(of_user: tuple[str, ...] | None) -> None:
    catalog = StreamCatalog(DOCUMENTED, frozenset(), of_user)
    with pytest.raises(TapError, match=r"email can't be the key: the file has no column 'email'\. Set the stream's"):
        fit(["id,x", "1,a"], catalog, KnownTable(("email",), ("email",)))


LATER, WAS_TEXT = KnownTable(("id",)), KnownTable(("id",), (), frozenset({"enabled"}))
INSISTING = StreamCatalog({**DOCUMENTED, "enabled": {"type": ["integer", "null"]}})
LATE = ["id,enabled", *MANY, "x,yes"]
TYPES: dict[str, tuple[list[str], StreamCatalog, KnownTable, str, bool]] = {
    # name: (file, catalog, table, type of `enabled`, whether a warning names it)
    "as documented": (["id,enabled", "1,true", "2,"], CATALOG, KnownTable(), "boolean", False),
    "the head contradicts": (["id,enabled", "1,yes"], CATALOG, KnownTable(), "string", True),
    "a row far behind the sample contradicts": (LATE, CATALOG, KnownTable(), "string", True),
    "text before": (["id,enabled", "1,true"], CATALOG, WAS_TEXT, "string", False),
    "a later load: the head decides": (["id,enabled", "1,yes"], CATALOG, LATER, "string", True),
    "a later load: rows behind it are an error then": (LATE, CATALOG, LATER, "boolean", False),
    "the user insists on another type": (LATE, INSISTING, KnownTable(), "integer", False),
}


@pytest.mark.parametrize(("lines", "catalog", "table", "kind", "is_named"), TYPES.values(), ids=TYPES)
def test_types_are_verified_over_the_whole_first_file(
    lines: list[str], catalog: StreamCatalog, table: KnownTable, kind: str, *, is_named: bool
) -> None:
    layout = fit(lines, catalog, table)
    assert {column.name: column.kind for column in layout.columns}["enabled"] == kind
    assert any("loaded as text" in text and "enabled" in text for text in warnings(layout)) is is_named
    assert ("enabled" in layout.text_columns) == (kind == "string")


def test_key_and_types_may_fail_at_once() -> None:
    layout = fit(["id,enabled,flag", *(f"{line}," for line in MANY), "7,yes,true"])
    assert layout.key == FALLBACK_KEY
    assert layout.text_columns == {"enabled"}
    assert len(warnings(layout)) == 2


def test_text_that_is_no_csv_is_unusable() -> None:
    with pytest.raises(FileUnusable, match=r"it is text, not CSV\. Make a new export"):
        fit(["Sorry, we could not find that, or it is gone"])
