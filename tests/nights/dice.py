"""Histories drawn at random from a seed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.nights.cells import MODELS
from tests.nights.histories import MAPS, History, Night

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.nights.world import Event


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
        return replace(night, refresh=self.chance(0.07), drop=self.chance(0.02), is_older=self.chance(0.06))

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
        for word, probability in (
            ("filter", 0.1),
            ("part", 0.06),
            ("empty", 0.08),
            ("repeated", 0.03),
            ("twice", 0.08),
        ):
            if self.chance(probability):
                how[word] = True
        return ("export", model, name, how) if how else ("export", model, name)

    def pending_events(self) -> Iterator[Event]:
        requested = [f"requested-{number}" for number in range(6)]
        for name in [*self.pending, *requested]:
            if self.chance(0.25):
                verb = self.random.choice(["complete", "complete", "complete", "fail", "vanish", "age"])
                if verb == "complete":
                    yield verb, name, self.random.choice(["now", "early", "late", "instant"]), self.chance(0.3)
                else:
                    yield verb, name

    def settings(self, lasting: dict[str, Any]) -> dict[str, Any]:
        """Settings of a night: mostly the lasting ones, sometimes one of them toggled."""
        draw, settings = self.random, dict(lasting)
        for name in ("changes_only", "emit_activate_version_messages", "batch"):
            if self.chance(0.07):
                settings[name] = not settings.get(name)
        for name, values in (
            ("map", [None, *MAPS]),
            ("without", [[], ["user_email"]]),
            ("max_deleted_percent", [10, 100]),
        ):
            if self.chance(0.06):
                settings[name] = draw.choice(values)
        settings |= {"upper": self.chance(0.04), "discover": self.chance(0.15)} | self.mode()
        if self.exports and self.chance(0.05):
            settings["start_date"] = self.any_export()
        return {name: value for name, value in settings.items() if value}

    def mode(self) -> dict[str, Any]:
        """Which exports are read."""
        mode = self.random.choice(["latest"] * 5 + ["all"] * 3 + ["request_exports"] * 2 + ["named", "full_table"])
        if mode == "named" and self.exports:
            ids = [self.any_export() for _ in range(self.random.randint(1, 2))]
            return {"export_ids": ids, "changes_only": False, **({"snapshots": "all"} if self.chance(0.3) else {})}
        modes: dict[str, dict[str, Any]] = {
            "all": {"snapshots": "all"},
            "request_exports": {"request_exports": True},
            "full_table": {"full_table": True},
        }
        return modes.get(mode, {})

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
