"""What the state remembers of a row stream.

Orchestrators merge states deeply: objects key by key, lists as a whole. So every field is always written, what
ends is written as null or as a list, and what changes are compared with names the bookmark that it belongs to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from tap_dynamic.datetimes import parse_datetime
from tap_dynamic.errors import TapError
from tap_dynamic.load.selection import Bookmark, is_obsolete
from tap_dynamic.redaction import first_line
from tap_dynamic.table.layout import KnownTable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from tap_dynamic.api.exports import Export
    from tap_dynamic.load.plan import LoadPlan

ADVICE = "Repair it, or run a full refresh."
UNSEEN = "?"
"""The fingerprint of an export between two loads, which may have been loaded in a run whose state was lost."""


class Holding(msgspec.Struct, frozen=True, array_like=True):
    """An export whose rows the table may hold.

    Args:
        export_id: Its id.
        fingerprint: What its rows look like; None if its load did not compare rows.
        is_base: Whether it is the last one with rows that moved the bookmark: the table got all of them.
    """

    export_id: str
    fingerprint: str | None = None
    is_base: bool = False


class RowState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a row stream.

    Args:
        environment_id: The environment whose exports were loaded.
        replication_key: The name of the replication key.
        replication_key_value: The completion of the newest export that was loaded.
        export_ids: The exports with that completion that were loaded.
        requested_export_id: The export that was requested and not yet read.
        key_properties: The key of the table; empty before the first load.
        columns: The names of its columns that are not documented ones.
        text_columns: Documented columns that were loaded as text.
        row_count: The number of rows of the export that was loaded last.
        table_version: The version of the last full load, where its messages had one.
        last_version: The largest version of any load, also of one that failed.
        holdings: The exports whose rows the table may hold: one where it is clean, more after an interrupted load.
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
    holdings_bookmark: list[str] = []
    known_exports: list[str] | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any], place: str = "the state of a stream") -> RowState:
        """Read a stream's part of the state; unknown fields are the SDK's, or of an earlier version, and ignored.

        Raises:
            TapError: If it is corrupt; the message names the place, and holds no value.
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
        value = self.replication_key_value
        return None if value is None else Bookmark(parse_datetime(value), self.base_ids)

    @property
    def base_ids(self) -> frozenset[str]:
        """The exports that were loaded last: those of the bookmark."""
        return frozenset(self.export_ids or ())

    @property
    def table(self) -> KnownTable:
        """The table as it was loaded last."""
        return KnownTable(tuple(self.key_properties) or None, tuple(self.columns), frozenset(self.text_columns))

    @property
    def held(self) -> list[Holding]:
        """The exports whose rows the table may hold, if the state knows them for its bookmark."""
        if not self.knows_holdings:
            return [Holding(i, is_base=True) for i in sorted(self.base_ids)] if self.bookmark else []
        if sum(h.is_base for h in self.holdings) <= 1:
            return self.holdings
        # An earlier version marked each load that ended.
        return [Holding(h.export_id, h.fingerprint, h.export_id in self.base_ids) for h in self.holdings]

    @property
    def knows_holdings(self) -> bool:
        """Whether the holdings, and the number of rows, are those of the bookmark."""
        return self.holdings_bookmark == bookmark_values(self)

    @property
    def has_base(self) -> bool:
        """Whether the table got all rows of an export."""
        return any(holding.is_base for holding in self.held)

    def check_environment(self, environment_id: str) -> None:
        """Raise a `TapError` if the state is that of another environment."""
        if self.environment_id not in {None, environment_id}:
            msg = (
                f"The state belongs to environment {first_line(self.environment_id)}, not to environment_id"
                f" {environment_id}. Use a state of its own for each environment (Meltano: --state-id-suffix), or start"
                " afresh: --full-refresh."
            )
            raise TapError(msg)

    def without_request(self, exports: Iterable[Export], unusable: Collection[str]) -> RowState:
        """Drop the requested export where it is unusable, or one of these and not newer than the bookmark."""
        ended = {*unusable, *(e.id for e in exports if is_obsolete(e, self.bookmark))}
        return replace(self, requested_export_id=None) if self.requested_export_id in ended else self

    def begun(self, plan: LoadPlan) -> RowState:
        """Remember what a load leaves behind if it is interrupted: its SCHEMA message is written."""
        layout = plan.layout
        state = replace(
            self,
            key_properties=list(layout.key),
            columns=list(dict.fromkeys((*self.columns, *layout.remembered))),
            text_columns=sorted(layout.text_columns),
            last_version=max(plan.version or 0, self.last_version or 0) or None,
        )
        return with_holdings(state, plan.holdings) if plan.is_remembered else state

    def committed(self, plan: LoadPlan, rows: int) -> RowState:
        """Remember that the last row of an export is written, given the number of rows of its file."""
        state, export, last = self, plan.export, self.bookmark
        if state.requested_export_id == export.id:
            state = replace(state, requested_export_id=None)
        if plan.moves_bookmark:
            others = last.export_ids if last and last.instant == export.completed_at else ()
            state = replace(
                state,
                replication_key="_sdc_exported_at",
                replication_key_value=export.exported_at,
                export_ids=sorted({*others, export.id}),
            )
            if rows:
                state = replace(state, row_count=rows, table_version=plan.version)
        return with_holdings(state, plan.holdings_after(rows))


def with_holdings(state: RowState, holdings: Iterable[Holding]) -> RowState:
    """Remember the exports whose rows the table may hold."""
    return replace(state, holdings=list(holdings), holdings_bookmark=bookmark_values(state))


def bookmark_values(state: RowState) -> list[str]:
    """Return what identifies the bookmark of a state."""
    return [state.replication_key_value or "", *sorted(state.export_ids or ())]
