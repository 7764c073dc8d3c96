"""How the rows of a file become records: columns, key, schema. Values only; `fit` makes them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tap_dynamic.table.columns import DELETED_AT, respelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Properties = Mapping[str, dict[str, Any]]

DELETED_AT_SCHEMA: dict[str, Any] = {
    "type": ["string", "null"],
    "format": "date-time",
    "description": "When the export was completed that no longer has the row.",
}


@dataclass(frozen=True)
class Column:
    """A column of a file and of the stream."""

    name: str
    index: int | None
    """Its place in the file; None where the file lacks it."""
    kind: str
    """The type that its cells are converted to, a key of `CONVERTERS`."""
    is_key: bool = False
    """Text of a key that is empty stays text, because a key is never null."""
    is_required: bool = False
    """Whether an empty cell is an error."""
    nested: dict[str, Any] | None = None
    """The schema of an object or array, where the catalog gives its parts types that the kind does not verify."""


@dataclass(frozen=True)
class Note:
    """A line for the log."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class StreamCatalog:
    """What the catalog says of a stream: its columns, and the key that the user sets; None for the candidates."""

    properties: Properties
    deselected: frozenset[str] = frozenset()
    key: tuple[str, ...] | None = None

    def selects(self, name: str) -> bool:
        """Whether the catalog has a column and does not deselect it."""
        return name in self.properties and name not in self.deselected

    def respelled(self, known: Iterable[str]) -> StreamCatalog:
        """Write names as the table has them."""
        spelling = dict(zip(self.properties, respelled(self.properties, known)))
        properties = {spelling[name]: schema for name, schema in self.properties.items() if name != DELETED_AT}
        return replace(self, properties=properties, deselected=frozenset(respelled(self.deselected, known)))


@dataclass(frozen=True)
class KnownTable:
    """What the state remembers of the table."""

    key: tuple[str, ...] | None = None
    """None before the first load."""
    columns: tuple[str, ...] = ()
    """Those that are not documented."""
    text_columns: frozenset[str] = frozenset()
    """Documented columns that were loaded as text."""


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file: for each of the names of a layout, as many values as there are row numbers."""

    label: str
    numbers: Sequence[int]
    values: Sequence[Sequence[Any]]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numbers)


@dataclass(frozen=True)
class Layout:
    """How the rows of a file become records: the columns that are emitted, key and JSON schema of the stream."""

    columns: tuple[Column, ...]
    sdc_columns: tuple[str, ...]
    key: tuple[str, ...]
    schema: dict[str, Any]
    text_columns: frozenset[str] = frozenset()
    """Documented columns that are loaded as text."""
    known: tuple[str, ...] = field(default=(), compare=False)
    """The names that columns were matched with, whatever their case."""
    remembered: tuple[str, ...] = field(default=(), compare=False)
    """Undocumented names, which later nights spell alike; none where the header may be none."""
    notes: tuple[Note, ...] = field(default=(), compare=False)

    @property
    def names(self) -> list[str]:
        """The names of a record's values, in order."""
        return [*(column.name for column in self.columns), *self.sdc_columns]

    @property
    def key_in_file(self) -> tuple[Column, ...]:
        """The columns of the key that come from the file, in the order of the key."""
        return tuple(sorted((c for c in self.columns if c.is_key), key=lambda c: self.key.index(c.name)))

    @property
    def is_distinct(self) -> bool:
        """Whether the key says more than which export a row is of."""
        return "_sdc_row_number" in self.key or bool(self.key_in_file)

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the file whose values must distinguish the rows; empty where row numbers do."""
        return () if "_sdc_row_number" in self.key else self.key_in_file


def with_deletions(layout: Layout) -> Layout:
    """Add the column that marks deleted rows, which have no row number; where it is part of the key, there are none."""
    properties = {**layout.schema["properties"], DELETED_AT: DELETED_AT_SCHEMA}
    if (number := properties.get("_sdc_row_number")) and "_sdc_row_number" not in layout.key:
        properties["_sdc_row_number"] = {**number, "type": ["integer", "null"]}
    schema = {**layout.schema, "properties": properties}
    return replace(layout, sdc_columns=(*layout.sdc_columns, DELETED_AT), schema=schema)
