"""The state that Meltano keeps, and merges, over full refreshes, failures and dropped tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox.data import to_csv

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.meltano_project import Postgres, Project

HEADER = ["user_id", "user_email", "user_firstVisit"]
FIRST_VISIT = "2026-01-02T03:04:05Z"
Table = dict[str, str]
"""The e-mail address of each user."""


class Warehouse:
    """A project that loads into PostgreSQL night by night."""

    def __init__(self, project: Project, sandbox: Sandbox, postgres: Postgres) -> None:
        self.project, self.sandbox, self.postgres = project, sandbox, postgres
        self.variables = {**sandbox.variables, "TAP_DYNAMIC_CHANGES_ONLY": "true"}
        self.variables.update({f"TARGET_POSTGRES_{k.upper()}": str(v) for k, v in postgres.config.items()})

    def export(self, users: Table, *, first_visit: str = FIRST_VISIT, tail: bytes = b"") -> None:
        rows = [[user, email, first_visit] for user, email in users.items()]
        self.sandbox.add("users", to_csv([HEADER, *rows]) + tail)

    def run(self, *options: str, **variables: str) -> str:
        return self.project("run", *options, "tap-dynamic", "target-postgres", **{**self.variables, **variables})

    def fail(self, *options: str, **variables: str) -> str:
        arguments = ("run", *options, "tap-dynamic", "target-postgres")
        return self.project.fail(*arguments, **{**self.variables, **variables})

    @property
    def users(self) -> Table:
        """The users that are not marked as deleted."""
        columns = "column_name = '_sdc_deleted_at'"
        has_marks = self.postgres.query(f"select count(*) from information_schema.columns where {columns}") != [["0"]]
        alive = " where _sdc_deleted_at is null" if has_marks else ""
        return dict(self.postgres.query(f"select user_id, user_email from dynamic.users{alive} order by 1"))


@pytest.fixture
def warehouse(project: Project, sandbox: Sandbox, postgres: Postgres) -> Warehouse:
    return Warehouse(project, sandbox, postgres)


def test_full_refreshes(warehouse: Warehouse) -> None:
    merge, overwrite = (("--full-refresh", f"--state-strategy={name}") for name in ("merge", "overwrite"))
    nights: list[tuple[Table, tuple[str, ...], dict[str, str], str]] = [
        ({"1": "a", "3": "c"}, (), {}, "all rows are emitted"),
        # All rows: what they were compared with before is out of date.
        ({"1": "A", "3": "c", "4": "d"}, merge, {"TAP_DYNAMIC_CHANGES_ONLY": "false"}, "3 rows"),
        ({"1": "A", "3": "C", "4": "d"}, (), {}, "all rows are emitted: the last load was without changes_only"),
        ({"1": "A", "4": "D"}, (), {}, "0 added, 1 changed, 1 deleted"),
        ({"1": "A", "4": "D", "5": "e"}, overwrite, {}, "all rows are emitted: there is no earlier load"),
        ({"4": "DD", "5": "e"}, (), {}, "0 added, 1 changed, 1 deleted"),
    ]
    for users, options, variables, said in nights:
        warehouse.export(users)
        log = warehouse.run(*options, **variables)
        assert said in log
        assert warehouse.users == users


def test_a_dropped_table(warehouse: Warehouse) -> None:
    """A column that was text in it is a date-time in the new one, each night after, and after another full refresh."""
    warehouse.export({"1": "a", "2": "b"}, first_visit="yesterday")
    assert "loaded as text" in warehouse.run()
    kind = "select data_type from information_schema.columns where column_name = 'user_firstVisit'"
    assert warehouse.postgres.query(kind) == [["text"]]
    for users in ({"1": "a", "3": "c"}, {"3": "c", "4": "d"}):
        warehouse.postgres.query("drop table dynamic.users")
        warehouse.export(users)
        warehouse.run("--full-refresh")
        assert warehouse.users == users
        assert warehouse.postgres.query(kind) == [["timestamp without time zone"]]
        following = {**users, "3": "C"}
        warehouse.export(following)
        assert "0 added, 1 changed, 0 deleted" in warehouse.run()
        assert warehouse.users == following


def test_a_failed_full_refresh(warehouse: Warehouse) -> None:
    warehouse.export({"1": "a", "2": "b"})
    warehouse.run()
    # Nothing of it was written.
    warehouse.fail("--full-refresh", TAP_DYNAMIC_API_TOKEN="dyn_wrong")
    warehouse.export({"1": "A", "3": "c"})
    assert "1 added, 1 changed, 1 deleted" in warehouse.run()
    assert warehouse.users == {"1": "A", "3": "c"}
    # Some rows of it may have been.
    warehouse.export({"1": "A", "4": "d"}, tail=b"5\r\n")
    assert "row 3: 1 field" in warehouse.fail("--full-refresh")
    warehouse.export({"1": "A", "3": "C"})
    log = warehouse.run()
    assert warehouse.users == {"1": "A", "3": "C"} or "older deletions can't be seen" in log
    warehouse.export({"1": "A"})
    warehouse.run()
    assert "3" not in warehouse.users
