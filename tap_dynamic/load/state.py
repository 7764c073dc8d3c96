"""What the state remembers of a row stream.

Orchestrators merge states deeply: objects key by key, lists as a whole. So every field is always written, what
ends is written as null or as a list, and what changes are compared with names the bookmark that it belongs to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from tap_dynamic.errors import TapError
from tap_dynamic.load.selection import Bookmark, bookmark_after, is_newest, is_obsolete, short_id
from tap_dynamic.redaction import first_line
from tap_dynamic.table.layout import KnownTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Self

    from tap_dynamic.api.exports import Export
    from tap_dynamic.table.layout import Layout

ADVICE = "Repair it, or run a full refresh."


class Holding(msgspec.Struct, frozen=True, array_like=True):
    """An export of which the table may hold rows.

    Args:
        export_id: Its id.
        fingerprint: What its rows look like; None if its load did not compare rows.
    """

    export_id: str
    fingerprint: str | None = None


class RowState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a row stream.

    Args:
        environment_id: The environment whose exports were loaded.
        replication_key: The name of the replication key.
        replication_key_value: The completion of the newest export that was loaded.
        export_ids: The exports that were loaded of that very instant.
        requested_export_id: The export that was requested and is still to be read.
        key_properties: The key of the table; empty before the first load.
        columns: The names of its columns that are not documented ones.
        text_columns: Documented columns that were loaded as text.
        row_count: The number of rows of the export that was loaded last.
        table_version: The version of the last full load, where its messages had one.
        last_version: The largest version of any load.
        holdings: The exports of which the table may hold rows: one where it is clean, more after an interrupted load.
        unfinished: Those of them whose load did not end.
        holdings_bookmark: The bookmark that the holdings belong to: its time and its exports.
        known_exports: With `snapshots: all`, `short_id` of the exports that were listed in the last run.
    """

    environment_id: str | None = None
    replication_key: str | None = None
    replication_key_value: str | None = None
    export_ids: list[str] | None = []
    requested_export_id: str | None = None
    key_properties: list[str] = []
    columns: list[str] = []
    text_columns: list[str] = []
    row_count: int | None = None
    table_version: int | None = None
    last_version: int | None = None
    holdings: list[Holding] = []
    unfinished: list[str] = []
    holdings_bookmark: list[str] = []
    known_exports: list[str] | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any], place: str = "the state of a stream") -> Self:
        """Read the stream's part of the state.

        Args:
            values: The part; what is unknown is the SDK's, or of an earlier version, and ignored.
            place: What it is, for messages.

        Raises:
            TapError: If it is corrupt.
        """
        try:
            state = msgspec.convert(values, cls)
            _ = state.bookmark
        except msgspec.ValidationError as error:
            # The text has the path and the types, not the value.
            where = str(error).partition(" - at `$")[2].strip("`.")
            msg = f"The state is corrupt: {place}{f', {where},' if where else ''} is not as it must be. {ADVICE}"
            raise TapError(msg) from None
        except ValueError:
            msg = f"The state is corrupt: {place}, replication_key_value, is not a date-time. {ADVICE}"
            raise TapError(msg) from None
        return state

    def values(self) -> dict[str, Any]:
        """Return the fields as the state holds them."""
        return dict(msgspec.to_builtins(self))

    @property
    def bookmark(self) -> Bookmark | None:
        """What was loaded."""
        if self.replication_key_value is None:
            return None
        return Bookmark.of(self.replication_key_value, self.export_ids or ())

    @property
    def table(self) -> KnownTable:
        """The table as it was loaded last."""
        return KnownTable(tuple(self.key_properties) or None, tuple(self.columns), frozenset(self.text_columns))

    @property
    def held(self) -> list[Holding]:
        """The exports of which the table may hold rows, as far as the state belongs together."""
        if self.holdings_bookmark == bookmark_values(self):
            return list(self.holdings)
        return [Holding(export_id) for export_id in sorted(self.export_ids or ())] if self.bookmark else []

    @property
    def has_base(self) -> bool:
        """Whether the table holds all rows of some export."""
        return any(h.export_id not in self._unfinished for h in self.held)

    @property
    def _unfinished(self) -> list[str]:
        return self.unfinished if self.holdings_bookmark == bookmark_values(self) else []

    def check_environment(self, environment_id: str) -> None:
        """Refuse the state of another environment.

        Raises:
            TapError: If the state names another one.
        """
        if self.environment_id not in {None, environment_id}:
            msg = (
                f"The state belongs to environment {first_line(self.environment_id)}, not to environment_id"
                f" {environment_id}. Use a state of its own for each environment (Meltano: --state-id-suffix), or start"
                " afresh: --full-refresh."
            )
            raise TapError(msg)

    # --- what happens to it

    def requested(self, export_id: str) -> Self:
        """Remember the export that was requested."""
        return replace(self, requested_export_id=export_id)

    def without_request(self, exports: Iterable[Export]) -> Self:
        """Drop the requested export where it is one of these and not newer than the bookmark."""
        is_dropped = any(e.id == self.requested_export_id and is_obsolete(e, self.bookmark) for e in exports)
        return replace(self, requested_export_id=None) if is_dropped else self

    def with_table(self, layout: Layout) -> Self:
        """Remember the table that a SCHEMA message makes."""
        return replace(
            self,
            key_properties=list(layout.key),
            columns=list(dict.fromkeys((*self.columns, *layout.remembered))),
            text_columns=sorted(layout.text_columns),
        )

    def begun(self, export: Export, *, held: Iterable[Holding], fingerprint: str | None) -> Self:
        """Remember that the table may hold rows of an export from now on.

        Args:
            export: The export.
            held: The exports of which the table may hold rows already.
            fingerprint: What the rows look like; None where they are not compared.
        """
        looks = {h.export_id: h.fingerprint for h in self.held}
        holdings = {h.export_id: h for h in held}
        # Until the load ends, the table may have rows of both looks: they are not comparable.
        is_alike = looks.get(export.id, fingerprint) == fingerprint
        holdings[export.id] = Holding(export.id, fingerprint if is_alike else None)
        unfinished = [i for i in self._unfinished if i in holdings]
        if export.id not in looks or export.id in unfinished:
            unfinished = [*(i for i in unfinished if i != export.id), export.id]
        return replace(
            self,
            holdings=list(holdings.values()),
            unfinished=unfinished,
            holdings_bookmark=bookmark_values(self),
        )

    def committed(  # noqa: PLR0913 (what a load leaves behind)
        self,
        export: Export,
        *,
        replication_key: str,
        holdings: Iterable[Holding],
        rows: int,
        version: int | None,
        moves_bookmark: bool,
    ) -> Self:
        """Remember that the last row of an export is written.

        Args:
            export: The export.
            replication_key: The name of the replication key.
            holdings: The exports of which the table may hold rows now.
            rows: The number of rows of the file.
            version: The version of the table.
            moves_bookmark: Whether the export counts as loaded.
        """
        state = replace(self, requested_export_id=None) if self.requested_export_id == export.id else self
        if moves_bookmark and is_newest(export, self.bookmark):
            after = bookmark_after(export, self.bookmark)
            state = replace(
                state,
                replication_key=replication_key,
                replication_key_value=after.exported_at,
                export_ids=sorted(after.export_ids),
            )
            if rows:
                state = replace(state, row_count=rows, table_version=version)
        if version is not None:
            state = replace(state, last_version=max(version, self.last_version or 0))
        left = list(holdings)
        unfinished = [h.export_id for h in left if h.export_id in self._unfinished and h.export_id != export.id]
        return replace(state, holdings=left, unfinished=unfinished, holdings_bookmark=bookmark_values(state))

    def knowing(self, export_ids: Iterable[str] | None) -> Self:
        """Remember the exports that are listed."""
        known = None if export_ids is None else sorted(map(short_id, export_ids))
        return replace(self, known_exports=known)

    def of_environment(self, environment_id: str) -> Self:
        """Name the environment."""
        return replace(self, environment_id=environment_id)


def bookmark_values(state: RowState) -> list[str]:
    """Return what identifies the bookmark of a state."""
    return [state.replication_key_value or "", *sorted(state.export_ids or ())]
