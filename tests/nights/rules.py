"""The facts of a night that the specification speaks of, and what the tap can know of earlier nights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.nights.cells import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.nights.cells import Cells
    from tests.nights.target import Key, Message
    from tests.nights.world import Snapshot

Bookmark = tuple[str, tuple[str, ...]]
"""A completion, and the ids of the exports that were loaded of that moment."""


class Violation(AssertionError):  # noqa: N818 (it is the tap's, or the oracle's)
    """A rule of the specification does not hold."""

    def __init__(self, rule: str, details: object = "") -> None:
        super().__init__(f"{rule}: {details}")
        self.rule = rule


def require(is_true: object, rule: str, details: object = "") -> None:
    """Raise a `Violation` unless something is true."""
    if not is_true:
        raise Violation(rule, details)


@dataclass(frozen=True)
class Load:
    """What the tap can know of the load that made a bookmark.

    Args:
        export_id: The last export with rows.
        is_changes: Whether only its changes were sent, or could have been.
        shape: Columns, types, key, maps.
        version: The version of its rows.
        size: The number of rows of the file.
        ids: The exports of its moment that were loaded with it.
    """

    export_id: str
    is_changes: bool
    shape: str
    version: int | None
    size: int
    ids: tuple[str, ...]


@dataclass
class Memory:
    """What the states that the target kept can know of a model."""

    loads: dict[Bookmark, Load] = field(default_factory=dict)
    listed: dict[Bookmark, set[str]] = field(default_factory=dict)
    """The exports that were completed when a bookmark was made: a later one with an earlier time was never loaded."""
    named: set[str] = field(default_factory=set)
    """Exports that were read by name since the last load, or before it while nothing was compared."""
    was_compared: bool = False
    """Whether changes were compared before, so that deletions of nights without `changes_only` are seen later."""
    is_disturbed: bool = False
    """Whether rows of an export arrived since that no bookmark followed."""
    texts: set[str] = field(default_factory=set)
    """Columns that were loaded as text, although others are documented, in lower case."""


@dataclass
class Rules:
    """The settings of a night, as far as a model is concerned.

    Args:
        settings: Those of `histories.Night`.
        model: The model.
        key: The key that the catalog sets.
    """

    settings: dict[str, Any]
    model: str
    key: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        mapping = self.settings.get("map") if self.model == "users" else None
        self.table_name = "people" if mapping == "alias" else self.model
        self.is_lower, self.map = mapping == "lower", mapping
        self.is_changes = bool(self.settings.get("changes_only"))
        self.is_batch = bool(self.settings.get("batch"))
        self.has_versions = bool(self.settings.get("emit_activate_version_messages")) and not self.is_batch
        self.is_full_table, self.is_named = bool(self.settings.get("full_table")), "export_ids" in self.settings
        self.is_request = bool(self.settings.get("request_exports"))
        self.is_all = self.settings.get("snapshots") == "all"
        self.max_deleted = self.settings.get("max_deleted_percent", 50) / 100
        self.without = set(self.settings.get("without", ()))
        self.key = self.key or KEYS[self.model]
        self.picked: set[str] = set()
        """The columns of a catalog that leaves out new ones, in lower case."""

    def is_left_out(self, name: str) -> bool:
        """Whether a column is deselected, or new to a catalog that picks columns."""
        return name in self.without or bool(self.picked and name.casefold() not in self.picked)

    def passes(self, row: Cells) -> bool:
        """Whether the map's filter lets a row through."""
        return self.map not in {"filter", "filter all"} or (self.map == "filter" and row["user_id"] != "u3")

    def key_of(self, row: Cells, names: Iterable[str] = ()) -> Key:
        """The key of a row of a file."""
        cells = {name.casefold(): text for name, text in row.items()}
        if self.is_lower:
            cells["user_id"] = cells["user_id"].lower()
        return tuple(cells[name.casefold()] for name in names or self.key)

    def by_key(self, shot: Snapshot) -> dict[Key, tuple[tuple[str, str], ...]]:
        """The cells of each row that are not empty, by key."""
        return {
            self.key_of(row): tuple(sorted((n, t) for n, t in row.items() if t and n not in self.without))
            for row in shot.rows
            if self.passes(row)
        }

    def is_key_of(self, shot: Snapshot) -> bool:
        """Whether the key identifies each row of a file."""
        return len({self.key_of(row) for row in shot.rows}) == len(shot.rows)


def bookmark_of(state: Message, model: str) -> Bookmark:
    """The bookmark of a model in a state."""
    known = state.get("bookmarks", {}).get(model, {})
    return (known.get("replication_key_value") or "", tuple(known.get("export_ids") or ()))
