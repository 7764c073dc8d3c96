"""What the state remembers of a row stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tap_dynamic.exports import Bookmark, bookmark_after, is_newest, is_obsolete
from tap_dynamic.layout import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_dynamic.exports import Export
    from tap_dynamic.layout import Layout


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

    def remember_table(self, layout: Layout) -> None:
        """Remember the table that a SCHEMA message makes."""
        self.values["key_properties"] = list(layout.key)
        if layout.text_columns:
            self.values["text_columns"] = sorted(layout.text_columns)

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
