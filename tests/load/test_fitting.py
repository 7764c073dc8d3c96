"""Rules of load/fitting.py: what the rows of a file prove of its key and types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tap_dynamic.errors import TapError
from tap_dynamic.load.fitting import Proof, verify_rows
from tap_dynamic.table.layout import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

ID, NAME = Column("id", 0, "string", is_key=True, is_required=True), Column("name", 1, "string", is_key=True)
FLAG, COUNT, ABSENT = Column("flag", 1, "boolean"), Column("count", 2, "integer"), Column("absent", None, "boolean")
NUMBERED = Column("id", 0, "integer", is_key=True, is_required=True)

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
    "other types, in different rows": (
        [["1", "yes", "5"], ["2", "true", "x"]],
        [],
        [FLAG, COUNT],
        Proof(None, frozenset({"flag", "count"})),
    ),
    "types are verified behind a key that is none": (
        [["1", "true"], ["1", "true"], ["", "true"], ["2", "yes"]],
        [ID],
        [FLAG],
        Proof("id is empty in row 3", frozenset({"flag"})),
    ),
    "keys are equal by their values": (
        [["1"], ["01"]],
        [NUMBERED],
        [NUMBERED],
        Proof("id is the same in rows 1 and 2"),
    ),
    "an empty cell of a key is text": (
        [["a", "true"], ["a", ""]],
        [ID, Column("flag", 1, "boolean", is_key=True)],
        [Column("flag", 1, "boolean", is_key=True)],
        Proof(None, frozenset({"flag"})),
    ),
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
