"""Histories: many nights as plain data, how they are drawn from a seed, and how one that fails is made short."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from tests.nights.world import MODELS

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
            `batch`; of the catalog `full_table`, `without` (columns that are not selected) and `upper` (its spelling).
        tap_dies_at: Kill the tap at this byte of its output.
        target_dies_at: Kill the target at this message: what it wrote stays, the state of the night is lost.
        merge: How the target's state is merged: `last` into that of before, as Meltano does; `each` of the night.
        refresh: Run without a state.
        drop: Drop the tables first.
    """

    events: tuple[Event, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    tap_dies_at: int | None = None
    target_dies_at: int | None = None
    merge: str = ""
    refresh: bool = False
    drop: bool = False


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


# --- drawing


class Dice:
    """Draws a history from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 (reproducible)
        self.exports: list[tuple[str, int]] = []
        self.pending: list[int] = []

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def history(self) -> History:
        lasting: dict[str, Any] = {}
        if self.chance(0.65):
            lasting["changes_only"] = True
        if self.chance(0.35):
            lasting["emit_activate_version_messages"] = True
        for name, probability in (("lower", 0.1), ("alias", 0.1), ("filter", 0.1)):
            if "map" not in lasting and self.chance(probability):
                lasting["map"] = name
        if self.chance(0.1):
            lasting["batch"] = True
        if self.chance(0.1):
            lasting["without"] = ["user_lastVisit"]
        first = tuple(self.people(6)) + tuple(self.visits(3))
        nights = [self.night(lasting, first if not number else ()) for number in range(self.random.randint(3, 8))]
        is_own_key = self.chance(0.1)
        key = ("user_id", "user_email", "verified_credential_id") if is_own_key else ()
        return History(tuple(nights), hard_delete=self.chance(0.5), key=key)

    def night(self, lasting: dict[str, Any], first: tuple[Event, ...]) -> Night:
        events = [*first, *self.pending_events()]
        for model in MODELS:
            for _ in range(self.random.choice([0, 1, 1, 1, 2] if model == "users" else [0, 0, 1])):
                events += self.people(3) if model == "users" else self.visits(2)
                events.append(self.export(model))
        if self.exports and self.chance(0.12):
            events.append(("vanish" if self.chance(0.8) else "lose", self.any_export()))
        settings = self.settings(lasting)
        events += self.faults(settings)
        night = Night(tuple(events), settings, merge=self.random.choice(["", "", "last", "each"]))
        if self.chance(0.15):
            return replace(night, tap_dies_at=self.random.randrange(25_000))
        if self.chance(0.2):
            return replace(night, target_dies_at=self.random.randrange(30))
        return replace(night, refresh=self.chance(0.07), drop=self.chance(0.02))

    def people(self, count: int) -> Iterator[Event]:
        draw = self.random
        for _ in range(draw.randrange(count + 1)):
            user = f"u{draw.randrange(6)}"
            number = -1 if self.chance(0.02) else draw.randrange(8)
            verb = draw.choice(["join", "link", "link", "link", "unlink", "leave"])
            if verb == "join":
                yield verb, user, number
            elif verb == "link":
                yield verb, user, f"{user}-{draw.randrange(3)}", number
            elif verb == "unlink":
                yield verb, user, f"{user}-{draw.randrange(3)}"
            else:
                yield verb, user
                if self.chance(0.5):
                    yield "link", user.upper(), f"{user}-{draw.randrange(3)}", number
        if self.chance(0.08):
            yield "crowd", draw.choice([0, 14, 20])
        if self.chance(0.1):
            yield "header", "users", draw.choice(["plain", "upper", "short"])

    def visits(self, count: int) -> Iterator[Event]:
        for _ in range(self.random.randrange(count + 1)):
            name = f"v{self.random.randrange(6)}"
            yield ("visit", name, self.random.randrange(8)) if self.chance(0.7) else ("purge", name)

    def export(self, model: str) -> Event:
        name = len(self.exports)
        self.exports.append((model, name))
        how: dict[str, Any] = {}
        if self.chance(0.15):
            how["status"] = "pending"
            self.pending.append(name)
        elif self.chance(0.06):
            how["status"] = "failed"
        if self.chance(0.25):
            how["when"] = self.random.choice(["instant", "second", "late"])
        for word, probability in (("filter", 0.1), ("part", 0.06), ("empty", 0.08), ("repeated", 0.03), ("twice", 0.08)):
            if self.chance(probability):
                how[word] = True
        return ("export", model, name, how) if how else ("export", model, name)

    def pending_events(self) -> Iterator[Event]:
        requested = [f"requested-{number}" for number in range(6)]
        for name in [*self.pending, *requested]:
            if self.chance(0.25):
                verb = self.random.choice(["complete", "complete", "complete", "fail", "vanish", "age"])
                if verb == "complete":
                    yield verb, name, self.random.choice(["now", "early", "late", "instant"])
                else:
                    yield verb, name

    def settings(self, lasting: dict[str, Any]) -> dict[str, Any]:
        draw, settings = self.random, dict(lasting)
        for name in ("changes_only", "emit_activate_version_messages"):
            if self.chance(0.08):
                settings[name] = not settings.get(name)
        if self.chance(0.06):
            settings["map"] = draw.choice([None, *MAPS])
        if self.chance(0.05):
            settings["without"] = draw.choice([[], ["user_email"]])
        if self.chance(0.05):
            settings["batch"] = not settings.get("batch")
        if self.chance(0.04):
            settings["upper"] = True
        if self.chance(0.15):
            settings["max_deleted_percent"] = draw.choice([10, 100])
        mode = draw.choice(["latest"] * 5 + ["all"] * 3 + ["request"] * 2 + ["named", "full_table"])
        if mode == "all":
            settings["snapshots"] = "all"
        elif mode == "request":
            settings["request_exports"] = True
        elif mode == "full_table":
            settings["full_table"] = True
        elif mode == "named" and self.exports:
            settings |= {"export_ids": [self.any_export() for _ in range(draw.randint(1, 2))], "changes_only": False}
            if self.chance(0.3):
                settings["snapshots"] = "all"
        if self.exports and self.chance(0.05):
            settings["start_date"] = self.any_export()
        return {name: value for name, value in settings.items() if value}

    def faults(self, settings: dict[str, Any]) -> Iterator[Event]:
        if self.exports and self.chance(0.1):
            what = self.any_export() if self.chance(0.85) else "list"
            yield "outage", what, self.random.choice([503, 500, 401])
        if self.chance(0.1):
            yield "hiccup", self.random.choice(["list", "get", "file"]), self.random.choice([503, 429])
        if settings.get("request_exports") and self.chance(0.4):
            yield "answer_requests", self.random.choice(["hang", "hang", "fail", "refused"])

    def any_export(self) -> int:
        """An export, more likely one of the last."""
        return self.random.choice([*self.exports, *self.exports[-3:], *self.exports[-3:]])[1]


def draw_history(seed: int) -> History:
    """Draw a history from a seed."""
    return Dice(seed).history()


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
    for name in ("tap_dies_at", "target_dies_at", "merge", "refresh", "drop"):
        if getattr(night, name) not in {None, "", False}:
            yield replace(night, **{name: getattr(Night(), name)})
