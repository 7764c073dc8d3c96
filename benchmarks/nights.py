"""A later night into target-duckdb: all rows beside only those that changed."""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environments
from benchmarks.data import users
from benchmarks.measure import Candidate, bash, compare, measure
from benchmarks.results import Bar, Chart, Goal, Options, Result, compare_table
from sandbox.server import Sandbox

if TYPE_CHECKING:
    from benchmarks.measure import Summary

ALL, ALL_ALONE = "all rows into target-duckdb", "all rows, the tap alone"
CHANGES, CHANGES_ALONE = "changes only into target-duckdb", "changes only, the tap alone"


def run(options: Options) -> Result:
    """Compare a night with and without `changes_only`."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        candidates = make_candidates(Path(folder), sandbox, options)
        summaries = compare(candidates, ALL, options.rows, options.pairs)
    table = compare_table("a later night", "all rows", summaries)
    ratio = next(s.time_ratio for s in summaries if s.name == CHANGES)
    goal = Goal("changes / all rows into target-duckdb, time", ratio, most=0.2)
    return Result("nights", table, chart(summaries, options), [goal])


def make_candidates(folder: Path, sandbox: Sandbox, options: Options) -> dict[str, Candidate]:
    """Load the first night, add the export of the second one, and make the candidates."""
    tap, target = f"{environments.tap()} -m tap_dynamic", environments.target_duckdb()
    loaded, database, settings, states, state = (
        folder / name for name in ("loaded", "night.duckdb", "target", "states", "state")
    )
    settings.write_text(json.dumps({"filepath": str(database), "default_target_schema": "dynamic"}))
    every, changes = folder / "all.json", folder / "changes.json"
    every.write_text(json.dumps(sandbox.config))
    changes.write_text(json.dumps({**sandbox.config, "changes_only": True}))

    sandbox.add("users", users(options.rows, linked=True))
    into_target = f"| {target} --config {settings}"
    measure(*bash(f"{tap} --config {changes} {into_target}"), out=states)
    state.write_text(states.read_text().splitlines()[-1])
    shutil.copy(database, loaded)
    sandbox.add("users", users(options.rows, changed=options.changed, linked=True))

    restore = partial(shutil.copy, loaded, database)
    commands = {
        ALL: f"{tap} --config {every} --state {state} {into_target}",
        ALL_ALONE: f"{tap} --config {every} --state {state}",
        CHANGES: f"{tap} --config {changes} --state {state} {into_target}",
        CHANGES_ALONE: f"{tap} --config {changes} --state {state}",
    }
    return {name: Candidate(bash(command), prepare=restore) for name, command in commands.items()}


def chart(summaries: list[Summary], options: Options) -> Chart:
    """Draw the duration of the nights."""
    by_name = {summary.name: summary for summary in summaries}
    return Chart(
        "nights",
        f"A night with {options.changed:g} % changed rows is {1 / by_name[CHANGES].time_ratio:.1f} times as fast with"
        " changes_only",
        f"{options.rows:,} rows into a table that holds the night before, two cores; less is better",
        [
            night_bar("all rows", by_name[ALL], by_name[ALL_ALONE], is_tap=False),
            night_bar("changes only", by_name[CHANGES], by_name[CHANGES_ALONE], is_tap=True),
        ],
    )


def night_bar(label: str, into_target: Summary, alone: Summary, *, is_tap: bool) -> Bar:
    """Make the bar of a night."""
    detail = f"{into_target.cpu:.0f} CPU s, peak {into_target.mib:.0f} MiB; the tap alone: {alone.seconds:.1f} s"
    return Bar(label, into_target.seconds, f"{into_target.seconds:.1f} s", detail, is_tap)
