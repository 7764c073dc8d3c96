"""What counts as a change of users, whose rows are verified credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.data import HEADERS, to_csv, user_rows
from tests.conftest import select

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.server import Sandbox
    from tests.conftest import Tap

Cells = dict[str, str]
Key = tuple[str, str]

ROWS: list[Cells] = [dict(zip(HEADERS["users"], row, strict=True)) for row in user_rows(20)]
LOGIN = ("user_lastVisit", "user_updatedAt", "verified_credential_lastSelectedAt")
"""The columns that docs/changes.md advises to deselect."""


def key_of(row: Cells) -> Key:
    return row["user_id"], row["verified_credential_id"]


def snapshot(rows: Iterable[Cells]) -> bytes:
    return to_csv([HEADERS["users"], *(list(row.values()) for row in rows)])


def changed(
    sandbox: Sandbox, tap: Tap, night: list[Cells], *, without: tuple[str, ...] = ()
) -> tuple[set[Key], set[Key]]:
    """Load `ROWS` and then another night; return the keys of rows that are sent, and those of deleted ones."""
    sandbox.add("users", snapshot(ROWS))
    catalog = select(tap.discover(), "users", without=without)
    first = tap(changes_only=True, _catalog=catalog)
    assert len(first.records("users")) == len(ROWS), first.log
    sandbox.add("users", snapshot(night))
    second = tap(changes_only=True, _catalog=catalog, _state=first.state)
    assert second.code == 0, second.log
    records = second.records("users")
    deleted = [record for record in records if record["_sdc_deleted_at"]]
    return {key_of(record) for record in records if record not in deleted}, set(map(key_of, deleted))


def after_logins() -> list[Cells]:
    """Every second user logs in."""
    users = list(dict.fromkeys(row["user_id"] for row in ROWS))[::2]
    time = dict.fromkeys(LOGIN, "2026-10-01T00:00:00.000Z")
    return [row | time if row["user_id"] in users else row for row in ROWS]


def test_a_login_changes_all_rows_of_a_user(sandbox: Sandbox, tap: Tap) -> None:
    night = after_logins()
    expected = {key_of(row) for row, before in zip(night, ROWS, strict=True) if row != before}
    assert changed(sandbox, tap, night) == (expected, set())


def test_a_login_alone_is_not_a_change_without_the_columns_that_it_sets(sandbox: Sandbox, tap: Tap) -> None:
    assert changed(sandbox, tap, after_logins(), without=LOGIN) == (set(), set())


def test_unlinking_a_wallet_deletes_its_row(sandbox: Sandbox, tap: Tap) -> None:
    unlinked = next(row for row in ROWS if row["verified_credential_format"] == "blockchain")
    night = [row for row in ROWS if row is not unlinked]
    assert unlinked["user_id"] in {row["user_id"] for row in night}
    assert changed(sandbox, tap, night) == (set(), {key_of(unlinked)})


def test_a_first_credential_replaces_the_row_without_one(sandbox: Sandbox, tap: Tap) -> None:
    without = next(row for row in ROWS if not row["verified_credential_id"])
    first = {**without, "verified_credential_id": "11111111-2222-4333-8444-555555555555"}
    night = [first if row is without else row for row in ROWS]
    assert changed(sandbox, tap, night) == ({key_of(first)}, {key_of(without)})
