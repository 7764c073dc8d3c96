"""What the tap makes of a catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib import Catalog, CatalogEntry, Schema
from singer_sdk.singerlib.catalog import Metadata, SelectionMask

from tap_dynamic.api.exports import MODELS
from tap_dynamic.schemas import SCHEMAS
from tap_dynamic.table.columns import FALLBACK_KEY, fold
from tap_dynamic.table.layout import StreamCatalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def complete_exports(entry: CatalogEntry) -> None:
    """Give `exports` its schema and key, whatever shape the catalog has; `downloadUrl` must be selected explicitly."""
    entry.schema = Schema.from_dict(SCHEMAS.get_schema("exports"))
    entry.key_properties = ["id"]
    if () not in entry.metadata:
        entry.metadata.root.selected = True  # as the SDK reads a catalog that does not say
    # Meltano's `metadata` can set these for all streams.
    root = entry.metadata.root
    entry.replication_key = entry.replication_method = root.replication_key = root.forced_replication_method = None
    entry.metadata["properties", "id"].inclusion = Metadata.InclusionType.AUTOMATIC
    column = entry.metadata["properties", "downloadUrl"]
    if column.selected is not True:
        column.selected, column.inclusion = False, Metadata.InclusionType.AVAILABLE


def selection_problem(catalog: Catalog) -> str | None:
    """Say that a catalog leaves out what a user most likely wants: rows."""
    selected = {entry.tap_stream_id for entry in catalog.streams if entry.metadata.resolve_selection().get((), True)}
    if selected & set(MODELS):
        return None
    if "exports" in selected:
        return "Neither users nor visits is selected: only the list of exports is loaded. Check the selection (select)."
    return "No stream is selected: nothing is loaded. Check the selection (select)."


def parse_catalog(
    entry: CatalogEntry | None, properties: dict[str, Any], mask: SelectionMask, candidates: Iterable[Sequence[str]]
) -> StreamCatalog:
    """Read what the catalog says of a stream; `entry` is that of the user's catalog, if there is one."""
    columns = {path[1] for path in mask if len(path) == 2} | {*properties}  # noqa: PLR2004
    deselected = frozenset(name for name in columns if not mask["properties", name])
    return StreamCatalog(properties, deselected, user_key(entry, candidates) if entry else None)


def user_key(entry: CatalogEntry, candidates: Iterable[Sequence[str]]) -> tuple[str, ...] | None:
    """Return the key that the user sets in a catalog; None where it has just what discovery wrote, or none."""
    both = (entry.key_properties, entry.metadata.root.table_key_properties)
    found, key = (tuple({fold(name): name for name in names or ()}.values()) for names in both)
    # Discovery writes its key into both places; a user changes one, or both.
    own = {tuple(map(fold, candidate)) for candidate in (*candidates, FALLBACK_KEY, ())}
    changed = [names for names in (key, found) if tuple(map(fold, names)) not in own]
    return next(iter(changed), key if key and key != found else None)
