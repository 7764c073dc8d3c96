"""Rules of polling.py: how long exports are waited for, and in which order they end."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from tap_dynamic.api.exports import Export
from tap_dynamic.api.polling import LOG_INTERVAL, wait_for
from tap_dynamic.errors import TapError
from tests.builders import at, export

LOGGER = logging.getLogger("test_polling")
Poll = str | TapError
GONE = TapError("There is no such export (404).")


class Clock:
    """Time passes only while the tap sleeps, or a request takes its time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        assert len(self.sleeps) < 10_000, "waits for ever"
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    monkeypatch.setattr(time, "sleep", made.sleep)
    return made


class Api:
    """Answers each poll of an export with the next status; the last one stays.

    A status can name the day of completion (`completed 3`).
    """

    def __init__(self, polls: dict[str, list[Poll]], clock: Clock, seconds: float = 0) -> None:
        self.polls = {name: list(answers) for name, answers in polls.items()}
        self.clock, self.seconds = clock, seconds
        self.asked: list[str] = []

    def get(self, export_id: str) -> Export:
        self.asked.append(export_id)
        self.clock.now += self.seconds
        answers = self.polls[export_id]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, TapError):
            raise answer
        status, _, day = answer.partition(" ")
        model = {"u": "users", "v": "visits", "o": "orders"}[export_id[0]]
        return export(export_id, at(int(day or 1)) if status == "completed" else None, model=model, status=status)


def run(api: Api, ids: list[str], **options: Any) -> list[str]:
    """Wait, and name each result: id and status, or the error."""
    settings: dict[str, Any] = {"models": {"users", "visits"}, "timeout": 60.0, "interval": 5.0, **options}
    results = wait_for(ids, api.get, logger=LOGGER, **settings)
    return [str(r) if isinstance(r, TapError) else f"{r.id} {r.status}" for r in results]


CASES: dict[str, tuple[dict[str, list[Poll]], dict[str, Any], list[str], list[float]]] = {
    # name: (statuses of each poll, options, results, sleeps)
    "nothing": ({}, {}, [], []),
    "pending, then completed": ({"u1": ["pending", "pending", "completed"]}, {}, ["u1 completed"], [5, 5]),
    "an unknown status is never polled for ever": ({"u1": ["expired"]}, {}, ["u1 expired"], []),
    "pending to the end": ({"u1": ["pending"]}, {"timeout": 12.0}, ["u1 pending"], [5, 5, 2]),
    "the last sleep ends with the time": ({"u1": ["pending"]}, {"timeout": 5.0}, ["u1 pending"], [5]),
    "shorter than the interval": ({"u1": ["pending"]}, {"timeout": 0.5}, ["u1 pending"], [0.5]),
    "completed at the last poll": ({"u1": ["pending", "completed"]}, {"timeout": 5.0}, ["u1 completed"], [5]),
    "without waiting": ({"u1": ["pending", "completed"]}, {"timeout": 0}, ["u1 pending"], []),
    "a stream that is not selected is not waited for": (
        {"v1": ["pending"]},
        {"models": {"users"}},
        ["v1 pending"],
        [],
    ),
    "an unknown model is not waited for": ({"o1": ["pending"]}, {}, ["o1 pending"], []),
    "vanished while pending": ({"u1": ["pending", GONE]}, {}, [str(GONE)], [5]),
    "one vanished, others are waited for": (
        {"u1": [GONE], "u2": ["pending", "completed"]},
        {},
        [str(GONE), "u2 completed"],
        [5],
    ),
    "oldest completion first, not the order of the ids": (
        {"u1": ["completed 3"], "u2": ["completed 1"], "u3": ["completed 2"]},
        {},
        ["u2 completed", "u3 completed", "u1 completed"],
        [],
    ),
    "the oldest completion ends last: nothing of its model before": (
        {"u1": ["completed 2"], "u2": ["pending", "completed 1"]},
        {},
        ["u2 completed", "u1 completed"],
        [5],
    ),
    "another model does not wait": (
        {"u1": ["pending", "pending", "completed 1"], "v1": ["completed 2"], "u2": ["completed 3"]},
        {},
        ["v1 completed", "u1 completed", "u2 completed"],
        [5, 5],
    ),
    "at the end of the time, the others are read": (
        {"u1": ["pending"], "u2": ["completed 2"], "v1": ["failed"]},
        {"timeout": 5.0},
        ["v1 failed", "u1 pending", "u2 completed"],
        [5],
    ),
}


@pytest.mark.parametrize(("polls", "options", "results", "sleeps"), CASES.values(), ids=CASES)
def test_how_exports_end(
    clock: Clock, polls: dict[str, list[Poll]], options: dict[str, Any], results: list[str], sleeps: list[float]
) -> None:
    assert run(Api(polls, clock), list(polls), **options) == results
    assert clock.sleeps == sleeps


def test_an_export_that_ended_is_not_polled_again(clock: Clock) -> None:
    api = Api({"u1": ["completed"], "u2": ["pending", "pending", "completed"], "v1": [GONE]}, clock)
    run(api, ["u1", "u2", "v1"])
    assert (api.asked.count("u1"), api.asked.count("u2"), api.asked.count("v1")) == (1, 3, 1)


def test_slow_answers_count_as_waiting(clock: Clock) -> None:
    api = Api({"u1": ["pending"]}, clock, seconds=20)
    assert run(api, ["u1"], timeout=60.0) == ["u1 pending"]
    assert clock.now - 1000 <= 60 + 20
    assert clock.sleeps == [5, 5]


def test_other_models_are_read_while_one_is_pending(clock: Clock) -> None:
    api = Api({"u1": ["pending"], "v1": ["completed"]}, clock)
    first = next(wait_for(["u1", "v1"], api.get, models={"users", "visits"}, timeout=60, interval=5, logger=LOGGER))
    assert isinstance(first, Export)
    assert (first.id, clock.sleeps) == ("v1", [])


LINES: list[tuple[float, int]] = [(5, 1), (LOG_INTERVAL - 1, 1), (LOG_INTERVAL + 1, 2), (LOG_INTERVAL * 10 + 1, 11)]


@pytest.mark.parametrize(("timeout", "count"), LINES)
def test_what_is_waited_for_is_logged_now_and_then(
    clock: Clock, caplog: pytest.LogCaptureFixture, timeout: float, count: int
) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    run(Api({"u1": ["pending"], "v1": ["pending"]}, clock), ["u1", "v1"], timeout=timeout, interval=1.0)
    assert len(caplog.records) == count
    assert all("u1 (users), v1 (visits)" in record.message for record in caplog.records)
