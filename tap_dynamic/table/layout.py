"""Fitting schema, key and columns to a file: header, sample, catalog and state in, a layout out. All pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tap_dynamic.table.convert import reads_as
from tap_dynamic.table.keys import FALLBACK_KEY, key_problem
from tap_dynamic.table.names import DELETED_AT, SDC_COLUMNS, are_names, column_names, listed
from tap_dynamic.table.types import TEXT, canonical_schema, nested_schema, type_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tap_dynamic.file.sample import Sample

    Properties = Mapping[str, dict[str, Any]]

DELETED_AT_SCHEMA: dict[str, Any] = {
    "type": ["string", "null"],
    "format": "date-time",
    "description": "When the export was completed that no longer has the row.",
}


@dataclass(frozen=True)
class Column:
    """A column of a file and of the stream.

    Args:
        name: Its name in the stream.
        index: Its place in the file; None where the file lacks it.
        kind: The type that its cells are converted to, a key of `CONVERTERS`.
        is_key: Whether it is part of the key.
        nested: The schema of an object or array, where the catalog gives its parts types that the kind does not verify.
    """

    name: str
    index: int | None
    kind: str
    is_key: bool = False
    nested: dict[str, Any] | None = None


@dataclass(frozen=True)
class Note:
    """A line for the log."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Catalog:
    """What the catalog says of a stream.

    Args:
        properties: The schema of each column.
        deselected: Names of the columns that are not selected.
        key: The key.
        is_key_pinned: Whether the user set the key by `table-key-properties`.
    """

    properties: Properties
    deselected: frozenset[str] = frozenset()
    key: tuple[str, ...] = ("id",)
    is_key_pinned: bool = False

    def selects(self, name: str) -> bool:
        """Whether the catalog has a column and does not deselect it."""
        return name in self.properties and name not in self.deselected

    def respelled(self, key: Iterable[str]) -> Catalog:
        """Write names as the table's key does, which catalog and file may write in another case."""
        spelling = {name.casefold(): name for name in key}
        properties = {
            spelling.get(name.casefold(), name): schema
            for name, schema in self.properties.items()
            if name != DELETED_AT
        }
        deselected = frozenset(spelling.get(name.casefold(), name) for name in self.deselected)
        return replace(self, properties=properties, deselected=deselected)


@dataclass(frozen=True)
class Table:
    """What the state remembers of the table.

    Args:
        key: Its key; None before the first load.
        text_columns: Documented columns that were loaded as text.
        rejected_key: The key that the first file contradicted, so that the table has the fallback key.
    """

    key: tuple[str, ...] | None = None
    text_columns: frozenset[str] = frozenset()
    rejected_key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """How the rows of a file become records.

    Args:
        columns: The columns that are emitted.
        sdc_columns: Those of `SDC_COLUMNS` that are emitted.
        key: The key of the stream.
        schema: The JSON schema of the stream.
        text_columns: Documented columns that are loaded as text.
        known: The names that columns were matched with, whatever their case.
        notes: What is worth a line in the log.
        rejected_key: The key that the file contradicts, where this is its first load.
    """

    columns: tuple[Column, ...]
    sdc_columns: tuple[str, ...]
    key: tuple[str, ...]
    schema: dict[str, Any]
    text_columns: frozenset[str] = frozenset()
    known: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[Note, ...] = field(default=(), compare=False)
    rejected_key: tuple[str, ...] = field(default=(), compare=False)

    @property
    def names(self) -> list[str]:
        """The names of a record's values, in order."""
        return [*(column.name for column in self.columns), *self.sdc_columns]

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the file whose values must distinguish the rows; empty where row numbers do."""
        return () if "_sdc_row_number" in self.key else tuple(c for c in self.columns if c.is_key)


def unknown_file_problem(sample: Sample, known: Collection[str], documented: Properties) -> str | None:
    """Say why a file is taken for a message: it has no rows, and not one column that is known."""
    if sample.rows or not sample.is_whole:
        return None
    folded = {name.casefold() for name in (*known, *documented)}
    is_known = any(name.strip().casefold() in folded for name in sample.header)
    return None if is_known else "the file has no rows and no known column: it is text, not CSV"


def infer_layout(sample: Sample, documented: Properties) -> Layout:
    """Derive the layout that discovery reports from the head of a file."""
    names = column_names(sample.header)
    inferred = Catalog({name: fit_type(name, None, cells, documented) for name, cells in _cells(names, sample)})
    key = tuple(name for name in names if name.casefold() == "id")[:1] or ("id",)
    if key_problem(key, names, sample.rows):
        key = FALLBACK_KEY
    properties = {**inferred.properties, **{name: documented[name] for name in SDC_COLUMNS}}
    return fit_layout(sample, Catalog(properties, key=key), Table(), documented, key)


def fit_type(
    name: str,
    catalog: dict[str, Any] | None,
    cells: Sequence[str],
    documented: Properties,
    *,
    was_text: bool = False,
) -> dict[str, Any]:
    """Choose the schema of a column.

    Args:
        name: Its name.
        catalog: Its schema in the catalog, if it has one.
        cells: Its cells in the sample.
        documented: The documented columns.
        was_text: Whether it was loaded as text before.

    Returns:
        The user's type; else the documented one, where the cells read as it and always did; else text.
    """
    kind = documented_type(name, documented)
    chosen = kind if catalog is None else type_of(catalog)
    # A catalog can say `array` without the documented items.
    if kind is None or (chosen != kind and not (chosen == "array" and kind.startswith("array of "))):
        return catalog or TEXT
    if was_text or not reads_as(chosen or kind, cells):
        return TEXT
    return catalog or _documented(name, documented)


def documented_type(name: str, documented: Properties) -> str | None:
    """Return the documented type of a column, or None where it is text or undocumented."""
    kind = type_of(_documented(name, documented))
    return None if kind == "string" else kind


def _documented(name: str, documented: Properties) -> dict[str, Any]:
    if name in documented:
        return documented[name]
    return next((schema for other, schema in documented.items() if other.casefold() == name.casefold()), TEXT)


def choose_key(catalog: Catalog, table: Table) -> tuple[str, ...]:
    """Choose the key: the user's, unless the first file contradicted it; else the table's; else the catalog's."""
    is_users = catalog.is_key_pinned and catalog.key != table.rejected_key
    return table.key if table.key and not is_users else catalog.key


def with_deletions(layout: Layout) -> Layout:
    """Add the column that marks deleted rows, which have no row number; where it is part of the key, there are none."""
    properties = {**layout.schema["properties"], DELETED_AT: DELETED_AT_SCHEMA}
    if (number := properties.get("_sdc_row_number")) and "_sdc_row_number" not in layout.key:
        properties["_sdc_row_number"] = {**number, "type": ["integer", "null"]}
    schema = {**layout.schema, "properties": properties}
    return replace(layout, sdc_columns=(*layout.sdc_columns, DELETED_AT), schema=schema)


def fit_layout(sample: Sample, catalog: Catalog, table: Table, documented: Properties, key: Sequence[str]) -> Layout:
    """Fit schema and columns to a file.

    Args:
        sample: The head of the file.
        catalog: What the catalog says of the stream.
        table: What the state remembers of the table.
        documented: The documented columns.
        key: The key.
    """
    catalog = catalog.respelled(table.key or ())
    known = catalog.properties
    names = column_names(sample.header, [*known, *(table.key or ())])
    places = {name: index for index, name in enumerate(names)}
    cells = dict(_cells(names, sample))
    old_text = {name.casefold() for name in table.text_columns}
    emitted = _emitted(names, catalog, key)
    schemas = {}
    for name in emitted:
        was_text = name.casefold() in old_text
        schema = fit_type(name, known.get(name), cells.get(name, ()), documented, was_text=was_text)
        schemas[name] = canonical_schema(schema, nullable=name not in key)
    text = {n for n, schema in schemas.items() if documented_type(n, documented) and type_of(schema) == "string"}
    turned = [n for n in text if n.casefold() not in old_text and not _reads_as_documented(n, cells, documented)]
    sdc = [n for n in SDC_COLUMNS if n in {*key, "_sdc_exported_at"} or catalog.selects(n)]
    return Layout(
        tuple(_column(name, schema, places.get(name), key) for name, schema in schemas.items()),
        tuple(sdc),
        tuple(key),
        {"type": "object", "properties": {**schemas, **{name: documented[name] for name in sdc}}},
        table.text_columns | text,
        (*known, *names),
        tuple(_notes(turned, sample, places, emitted, catalog, documented)),
    )


def _emitted(names: Sequence[str], catalog: Catalog, key: Sequence[str]) -> list[str]:
    """Select the columns that are emitted: the selected ones, new ones where none is deselected, and the key."""
    picked = [name for name in catalog.properties if catalog.selects(name)]
    new = () if catalog.deselected else [name for name in names if name not in catalog.properties]
    return [name for name in dict.fromkeys([*picked, *new, *key]) if name not in SDC_COLUMNS]


def _column(name: str, schema: dict[str, Any], index: int | None, key: Sequence[str]) -> Column:
    kind = type_of(schema) or "string"
    nested = schema if kind in {"object", "array"} and nested_schema(schema) else None
    return Column(name, index, kind, is_key=name in key, nested=nested)


def _reads_as_documented(name: str, cells: Mapping[str, Sequence[str]], documented: Properties) -> bool:
    return reads_as(documented_type(name, documented) or "string", cells.get(name, ()))


def _notes(  # noqa: PLR0913, PLR0917 (what they are about)
    turned: list[str],
    sample: Sample,
    names: Collection[str],
    emitted: Sequence[str],
    catalog: Catalog,
    documented: Properties,
) -> Iterable[Note]:
    """Yield the lines about columns; names only where they surely are names, because a cell must not be logged."""
    known = catalog.properties
    new = [name for name in names if name not in known]
    missing = [name for name in emitted if name not in names]
    new_text = (
        listed(new) if are_names(sample.header, known, documented) else f"{len(new)}, in a file that may have no header"
    )
    if turned:
        text = f"columns loaded as text, because they do not read as their documented types: {listed(turned)}"
        yield Note(text, is_warning=True)
    if new and catalog.deselected:
        yield Note(f"new columns are left out, because the catalog selects columns: {new_text}", is_warning=True)
    elif new:
        yield Note(f"new columns: {new_text}")
    if missing:
        are_known = are_names(known, (), documented)
        yield Note(f"columns that the file lacks: {listed(missing) if are_known else f'{len(missing):,}'}")


def _cells(names: Sequence[str], sample: Sample) -> Iterable[tuple[str, Sequence[str]]]:
    columns = list(zip(*sample.rows)) if sample.rows else [()] * len(names)
    return zip(names, columns)
