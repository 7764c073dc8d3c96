"""The summary of a run for one stream, and lines that are logged once."""

from __future__ import annotations

import logging

import pytest

from tap_dynamic.load.changes import Rows
from tap_dynamic.load.index import Counts
from tap_dynamic.load.plan import LoadPlan
from tap_dynamic.load.rows import Tally
from tap_dynamic.load.summary import Summary
from tap_dynamic.table.layout import Layout, Note
from tests.builders import csv_file, export

LAYOUT = Layout((), ("_sdc_export_id", "_sdc_exported_at"), ("_sdc_export_id",), {})


def plan(counts: Counts | None = None, *, is_full: bool = False) -> LoadPlan:
    """The plan of a load."""
    return LoadPlan(export("c"), LAYOUT, Rows(csv_file("id", "1"), ()), is_full=is_full, counts=counts)


CHANGES = plan(Counts(1, 2, 3, 1000))
LOADS: dict[str, tuple[LoadPlan, Tally, str]] = {
    # name: (plan, rows emitted and read, the line)
    "changes": (CHANGES, Tally(6, 3), "6 rows (1 added, 2 changed, 3 deleted, 1,000 unchanged), 2 columns"),
    "nothing changed": (plan(Counts()), Tally(), "0 rows (0 added, 0 changed, 0 deleted, 0 unchanged), 2 columns"),
    "all rows": (plan(is_full=True), Tally(5, 5), "5 rows (5 not compared), 2 columns"),
    "all rows, and some are gone": (
        plan(Counts(deleted=3), is_full=True),
        Tally(8, 5),
        "8 rows (3 deleted, 5 not compared), 2 columns",
    ),
}


@pytest.mark.parametrize(("planned", "tally", "line"), LOADS.values(), ids=LOADS)
def test_the_summary_of_a_run(caplog: pytest.LogCaptureFixture, planned: LoadPlan, tally: Tally, line: str) -> None:
    caplog.set_level(logging.INFO)
    summary = Summary("users", logging.getLogger("test"))
    summary.log_summary(with_changes=True)
    assert not caplog.messages
    summary.add(planned, tally)
    for _ in range(2):
        summary.log_once("c", [Note("seen", is_warning=True)])
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("WARNING", "Export c: seen.")]
    summary.log_summary(with_changes=True)
    assert caplog.messages[-1].startswith(f"users: 1 export read, {line}, ")
    assert caplog.messages[-1].endswith(" s; seen.")
    summary.log_summary(with_changes=False)
    assert "(" not in caplog.messages[-1]
