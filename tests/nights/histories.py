"""Histories: many nights as plain data, and how one that fails is made short."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.nights.world import Event

MAPS = {
    "alias": {"__alias__": "people"},
    "filter": {"__filter__": "user_id != 'u3'"},
    "filter all": {"__filter__": "user_id == 'nobody'"},
    "lower": {"user_id": "user_id.lower()"},
}
"""What `stream_maps` may do to users."""


class Plain:
    """Shows a dataclass as a literal, without the fields that have their defaults."""

    def __repr__(self) -> str:
        empty = type(self)()
        shown = [(f.name, getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type] # dataclasses only
        words = [f"{name}={value!r}" for name, value in shown if value != getattr(empty, name)]
        return f"{type(self).__name__}({', '.join(words)})"


@dataclass(frozen=True, repr=False)
class Night(Plain):
    """One night: what happens before the run, the run, and what becomes of its state.

    Args:
        events: Calls of `World`.
        settings: Settings of the tap, with names of exports in place of ids and moments, and: `map`, one of `MAPS`;
            `batch`; of the catalog `full_table`, `without` (columns that are not selected), `upper` (its spelling),
            and `discover` (made anew).
        tap_dies_at: Kill the tap at this byte of its output.
        target_dies_at: Kill the target at this message: what it wrote stays, the state of the night is lost.
        merge: How the target's state is merged: `last` into that of before, as Meltano does; `each` of the night.
        refresh: Run without a state.
        drop: Drop the tables first; implies `refresh`.
        is_older: An earlier version of the tap ran, which does not know what the state holds for comparisons.
    """

    events: tuple[Event, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    tap_dies_at: int | None = None
    target_dies_at: int | None = None
    merge: str = ""
    refresh: bool = False
    drop: bool = False
    is_older: bool = False


@dataclass(frozen=True, repr=False)
class History(Plain):
    """Nights, and what all of them share.

    Args:
        nights: One after the other.
        hard_delete: Whether the target removes rows that are marked as deleted.
        key: A key of users that the catalog sets.
    """

    nights: tuple[Night, ...] = ()
    hard_delete: bool = False
    key: tuple[str, ...] = ()


# --- shrinking


def shrink(history: History, is_failing: Callable[[History], bool], *, attempts: int = 400) -> History:
    """Make a failing history shorter as long as it fails.

    Args:
        history: It fails.
        is_failing: Plays a shorter one.
        attempts: The largest number of histories that are played.
    """
    tried, length = 0, len(repr(history)) + 1
    while attempts:
        shorter = next(itertools.islice(simpler(history), tried, None), None)
        if shorter is not None:
            attempts -= 1
            if is_failing(shorter):
                history = shorter
            else:
                tried += 1
        elif len(repr(history)) < length:
            length, tried = len(repr(history)), 0
        else:
            break
    return history


def simpler(history: History) -> Iterator[History]:
    """Yield histories with less of everything, those with the most left out first."""
    nights = history.nights
    for size in (len(nights) // 2, 1):
        for start in range(0, len(nights) if size else 0, size or 1):
            yield replace(history, nights=nights[:start] + nights[start + size :])
    for index, night in enumerate(nights):
        for shorter in simpler_nights(night):
            yield replace(history, nights=(*nights[:index], shorter, *nights[index + 1 :]))
    if history.hard_delete:
        yield replace(history, hard_delete=False)
    if history.key:
        yield replace(history, key=())
    for name in sorted({name for night in nights for name in night.settings}):
        less = tuple(replace(n, settings={k: v for k, v in n.settings.items() if k != name}) for n in nights)
        yield replace(history, nights=less)


def simpler_nights(night: Night) -> Iterator[Night]:
    """Yield nights with fewer events and settings."""
    events = night.events
    for size in sorted({len(events) // 2, len(events) // 4, 1} - {0}, reverse=True):
        for start in range(0, len(events), size):
            yield replace(night, events=events[:start] + events[start + size :])
    for index, event in enumerate(events):
        if isinstance(event[-1], dict):
            for name in event[-1]:
                less = {key: value for key, value in event[-1].items() if key != name}
                yield replace(night, events=(*events[:index], (*event[:-1], less), *events[index + 1 :]))
    for name in night.settings:
        yield replace(night, settings={key: value for key, value in night.settings.items() if key != name})
    for name in ("tap_dies_at", "target_dies_at", "merge", "refresh", "drop", "is_older"):
        if getattr(night, name) not in {None, "", False}:
            yield replace(night, **{name: getattr(Night(), name)})
