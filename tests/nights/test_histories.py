"""Whatever happens in many nights, the tables of a strict target hold what the exports hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.nights.dice import draw_history
from tests.nights.histories import History, Night, shrink
from tests.nights.player import Player
from tests.nights.search import rule_of, shortest, show

if TYPE_CHECKING:
    from tests.processes import Forks

HISTORIES = int(os.environ.get("NIGHTS_HISTORIES", "60"))
CHANGES = {"changes_only": True}
VERSIONS = {"emit_activate_version_messages": True}
BOTH = (("link", "u1", "a", 1), ("link", "u2", "b", 1))
TWO = Night((*BOTH, ("export", "users", 0)), CHANGES)
CROWD = (("crowd", 20), ("export", "users", 0))
CROWDS = (("crowd", 20), ("export", "users", 1))

REGRESSIONS = {
    "a filtered export with changes": [TWO, Night((("export", "users", 1, {"filter": True, "empty": True}),), CHANGES)],
    "a filtered export with versions": [
        Night((*CROWD,), VERSIONS),
        Night((("export", "users", 1, {"filter": True}),), VERSIONS),
    ],
    "a part without a filter": [
        Night(CROWD, CHANGES),
        Night((("export", "users", 1, {"part": True}),), CHANGES),
        Night((("leave", "crowd-1"), ("export", "users", 2)), CHANGES),
    ],
    "a part with versions": [Night(CROWD, VERSIONS), Night((("export", "users", 1, {"part": True}),), VERSIONS)],
    "no row passes a map's filter": [
        Night(TWO.events, VERSIONS),
        Night((("export", "users", 1),), {**VERSIONS, "map": "filter all"}),
    ],
    "a killed target keeps rows of an export that is never loaded again": [
        TWO,
        Night((("link", "u3", "c", 1), ("export", "users", 1)), CHANGES, target_dies_at=9),
        Night((("leave", "u3"), ("export", "users", 2)), CHANGES),
    ],
    "an earlier export can't be had": [
        TWO,
        Night((("leave", "u1"), ("export", "users", 1), ("outage", 0, 503)), CHANGES),
        Night((), CHANGES),
    ],
    "a part with a version of its own, and what follows it in the same second": [
        Night((("link", "u1", "c", 3), ("export", "users", 0, {"status": "pending"}))),
        Night((("crowd", 14), ("link", "U1", "d", 6), ("export", "users", 5)), VERSIONS),
        Night((("complete", 0, "now", True),)),
        Night((("export", "users", 9),), {**VERSIONS, "snapshots": "all"}),
    ],
    "a full refresh without changes, merged": [
        TWO,
        Night((("leave", "u1"), ("export", "users", 1)), {}, merge="last", refresh=True),
        Night((("join", "u2", 3), ("leave", "u2"), ("export", "users", 2)), CHANGES),
    ],
    "every state merged": [
        TWO,
        Night((("join", "u1", 2), ("export", "users", 1)), CHANGES, merge="each"),
        Night((("join", "u1", 3), ("export", "users", 2)), CHANGES, merge="each"),
    ],
    "text of a dropped table": [
        Night((("join", "u1", -1), ("export", "users", 0))),
        Night((("join", "u1", 0), ("export", "users", 1)), merge="last", refresh=True, drop=True),
        Night((("export", "users", 2),)),
    ],
    "a user who registers anew under a key in lower case": [
        Night(TWO.events, {**CHANGES, "map": "lower"}),
        Night((("link", "U1", "a", 2), ("export", "users", 1)), {**CHANGES, "map": "lower"}),
    ],
    "changes are switched on with an empty file": [
        Night(TWO.events),
        Night((("export", "users", 1, {"empty": True}),), CHANGES),
        Night((("leave", "u1"), ("export", "users", 2)), CHANGES),
    ],
    "an older export is named in between": [
        TWO,
        Night((("leave", "u1"), ("export", "users", 1)), CHANGES),
        Night((), {"export_ids": [0]}),
        Night((("export", "users", 2),), CHANGES),
    ],
    "a load is interrupted while changes are off": [
        TWO,
        Night((("link", "u3", "c", 1), ("export", "users", 1)), target_dies_at=9),
        Night((("leave", "u3"), ("export", "users", 2)), CHANGES),
    ],
    "a remembered request completes before the bookmark": [
        Night((*BOTH, ("answer_requests", "hang")), {"request_exports": True}),
        Night((("join", "u1", 4), ("export", "users", 1))),
        Night((("complete", "requested-0", "early"),), {"request_exports": True}),
    ],
    "a remembered request completes before the bookmark, during the run": [
        Night((*BOTH, ("answer_requests", "hang")), {"request_exports": True}),
        Night((("join", "u1", 4), ("export", "users", 1))),
        Night((("complete", "requested-0", "early", True),), {"request_exports": True}),
    ],
    "the newest export vanishes in FULL_TABLE mode": [
        TWO,
        Night((("join", "u1", 4), ("export", "users", 1))),
        Night((("vanish", 1),), {"full_table": True}),
    ],
    "the first file decides on the key": [
        Night((*BOTH, ("export", "users", 0, {"repeated": True}), ("export", "users", 1)), {"snapshots": "all"})
    ],
    "a header in upper case": [TWO, Night((("header", "users", "upper"), ("export", "users", 1)), CHANGES)],
    "the first load is interrupted, and then comes an empty file": [
        Night((("crowd", 20), ("export", "users", 0)), CHANGES, tap_dies_at=9600),
        Night((("export", "users", 1, {"empty": True}),)),
        Night((("export", "users", 2),), CHANGES),
    ],
    "the first load with rows is interrupted, and an export between was never loaded": [
        Night((("export", "users", 0, {"empty": True}),), CHANGES),
        Night((*CROWDS, ("link", "u1", "a", 1), ("export", "users", 2)), CHANGES, tap_dies_at=12_800),
        Night((), CHANGES),
    ],
    "the load of the newest is interrupted, and then all are read": [
        TWO,
        Night((("export", "users", 1), ("crowd", 20), ("export", "users", 2)), CHANGES, tap_dies_at=12_800),
        Night((), {**CHANGES, "snapshots": "all"}),
    ],
    "a part is named, and then comes an empty file": [
        TWO,
        Night((("export", "users", 1, {"filter": True}),), {"export_ids": [1]}),
        Night((("export", "users", 2, {"empty": True}), ("export", "users", 3)), {**CHANGES, "snapshots": "all"}),
    ],
    "an empty file between is not compared": [
        TWO,
        Night((("export", "users", 1, {"empty": True}), ("export", "users", 2)), CHANGES),
    ],
    "a catalog in upper case, and back": [
        Night(TWO.events),
        Night((), {"upper": True}, refresh=True),
        Night((("export", "users", 1),)),
    ],
    "an export is listed twice": [Night((*BOTH, ("export", "users", 0, {"twice": True})), {"snapshots": "all"})],
    "two exports of one second": [
        Night((*BOTH, ("export", "users", 0)), VERSIONS),
        Night((("leave", "u1"), ("export", "users", 1, {"when": "second"})), VERSIONS),
    ],
}
"""Histories that once ended with a wrong table."""


@pytest.fixture(scope="module")
def player(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Player:
    return Player(forks, tmp_path_factory.mktemp("nights"))


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_drawn_histories(player: Player, seed: int) -> None:
    history = draw_history(seed)
    if error := player.failure(history):
        history = shortest(player, history, rule_of(error), attempts=100)
        pytest.fail(f"{player.failure(history)}\n{show(history)}")


@pytest.mark.parametrize("nights", REGRESSIONS.values(), ids=REGRESSIONS)
@pytest.mark.parametrize("hard_delete", [True, False], ids=["hard delete", "soft delete"])
def test_regressions(player: Player, nights: list[Night], *, hard_delete: bool) -> None:
    player.play(History(tuple(nights), hard_delete=hard_delete))


def test_histories_are_literals_and_reproducible() -> None:
    history = draw_history(7)
    assert draw_history(7) == history == eval(repr(history))  # noqa: S307 (of our own)


def test_what_does_not_matter_is_left_out() -> None:
    history = draw_history(7)

    def is_failing(shorter: History) -> bool:
        return any(event[0] == "export" for night in shorter.nights for event in night.events)

    shortened = shrink(history, is_failing, attempts=1000)
    assert len(shortened.nights) == len(shortened.nights[0].events) == 1
    assert not shortened.nights[0].settings
