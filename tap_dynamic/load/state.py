"""What the state remembers of a row stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_dynamic.api.exports import Bookmark, bookmark_after, is_newest, is_obsolete
from tap_dynamic.table.layout import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_dynamic.api.exports import Export
    from tap_dynamic.table.layout import Layout


MAX_BEGUN = 5
"""Interrupted loads that are remembered: each costs a download until one is complete."""


class StreamState:
    """The writable state of a row stream, parsed.

    Args:
        values: The stream's part of the state.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    @property
    def bookmark(self) -> Bookmark | None:
        """What was loaded."""
        return Bookmark.parse(self.values)

    @property
    def table(self) -> Table:
        """The table as it was loaded last."""
        key = self.values.get("key_properties")
        return Table(tuple(key) if key else None, frozenset(self.values.get("text_columns", ())))

    @property
    def requested_id(self) -> str | None:
        """The export that was requested and is still to be read."""
        return self.values.get("requested_export_id")

    @requested_id.setter
    def requested_id(self, export_id: str) -> None:
        self.values["requested_export_id"] = export_id

    def forget_request(self, exports: Iterable[Export]) -> None:
        """Drop the requested export where it is one of these and not newer than the bookmark."""
        if any(e.id == self.requested_id and is_obsolete(e, self.bookmark) for e in exports):
            del self.values["requested_export_id"]

    def remember_table(self, layout: Layout) -> bool:
        """Remember the table that a SCHEMA message makes; return whether that is new."""
        before = self.table
        if before.key != layout.key:
            self.values["key_properties"] = list(layout.key)
        if layout.text_columns:
            self.values["text_columns"] = sorted(layout.text_columns)
        return self.table != before

    # --- what changes are compared with

    @property
    def base_id(self) -> str | None:
        """The export whose rows the table holds, if it was loaded with `changes_only`."""
        return self.values.get("base_export_id")

    @property
    def loaded_ids(self) -> list[str]:
        """The exports of the bookmark: their rows are in the table too."""
        return sorted(self.bookmark.export_ids) if self.bookmark else []

    @property
    def begun(self) -> dict[str, str]:
        """Exports whose load began since, so that some of their rows may be in the table: ids and fingerprints."""
        return dict(self.values.get("begun_exports", {}))

    def begin_changes(self, export: Export, fingerprint: str) -> None:
        """Remember that some rows of an export may be in the table, and what they look like."""
        begun = {**self.begun, export.id: fingerprint}
        self.values["begun_exports"] = dict(list(begun.items())[-MAX_BEGUN:])

    def commit_changes(self, export: Export, fingerprint: str) -> None:
        """Remember the export whose rows the table holds, and what they look like."""
        self.values.pop("begun_exports", None)
        self.values.update(base_export_id=export.id, fingerprint=fingerprint)

    def abandon_changes(self, export: Export) -> None:
        """Forget that the load of an export began: none of its rows were emitted."""
        begun = {name: shape for name, shape in self.begun.items() if name != export.id}
        self.values["begun_exports"] = begun
        if not begun:
            del self.values["begun_exports"]

    @property
    def fingerprint(self) -> str | None:
        """What the rows of the table look like."""
        return self.values.get("fingerprint")

    @property
    def table_version(self) -> int | None:
        """The version of the last full load."""
        return self.values.get("table_version")

    @table_version.setter
    def table_version(self, version: int | None) -> None:
        self.values.pop("table_version", None)
        if version is not None:
            self.values["table_version"] = version

    def forget_base(self) -> bool:
        """Forget what changes are compared with; return whether anything was remembered."""
        names = ("base_export_id", "begun_exports", "fingerprint")
        forgotten = [self.values.pop(name, None) for name in names]
        return any(forgotten)

    def commit(self, export: Export, *, replication_key: str, moves_bookmark: bool) -> None:
        """Remember that the last row of an export is written."""
        bookmark = self.bookmark
        if self.requested_id == export.id:
            del self.values["requested_export_id"]
        if moves_bookmark and is_newest(export, bookmark):
            after = bookmark_after(export, bookmark)
            self.values.update(
                replication_key=replication_key,
                replication_key_value=after.exported_at,
                export_ids=sorted(after.export_ids),
            )
