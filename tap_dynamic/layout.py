"""Fitting schema, key and columns to a file: header, sample, catalog and state in, a layout out. All pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tap_dynamic.convert import TEXT, canonical_schema, matches_type, nested_schema, type_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tap_dynamic.csvfile import Sample

    Properties = Mapping[str, dict[str, Any]]

SDC_COLUMNS = ("_sdc_export_id", "_sdc_exported_at", "_sdc_row_number")
DELETED_AT = "_sdc_deleted_at"
DELETED_AT_SCHEMA: dict[str, Any] = {
    "type": ["string", "null"],
    "format": "date-time",
    "description": "When the export was completed that no longer has the row.",
}
FALLBACK_KEY = ("_sdc_export_id", "_sdc_row_number")


@dataclass(frozen=True)
class Column:
    """A column of a file and of the stream.

    Args:
        name: Its name in the stream.
        index: Its place in the file; None where the file lacks it.
        kind: The type that its cells are converted to, a key of `CONVERTERS`.
        is_key: Whether it is part of the key.
        nested: The schema of an object or array, where the catalog gives types to its parts.
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


@dataclass(frozen=True)
class Table:
    """What the state remembers of the table.

    Args:
        key: Its key; None before the first load.
        text_columns: Documented columns that were loaded as text.
    """

    key: tuple[str, ...] | None = None
    text_columns: frozenset[str] = frozenset()


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
    """

    columns: tuple[Column, ...]
    sdc_columns: tuple[str, ...]
    key: tuple[str, ...]
    schema: dict[str, Any]
    text_columns: frozenset[str] = frozenset()
    known: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[Note, ...] = field(default=(), compare=False)

    @property
    def names(self) -> list[str]:
        """The names of a record's values, in order."""
        return [*(column.name for column in self.columns), *self.sdc_columns]

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the file whose values must distinguish the rows; empty where row numbers do."""
        return () if "_sdc_row_number" in self.key else tuple(c for c in self.columns if c.is_key)


def column_names(header: Sequence[str], known: Collection[str] = ()) -> list[str]:
    """Name the columns as the header does.

    Args:
        header: The cells of the first row.
        known: Names of the catalog: a column that differs from one only in case is that column.

    Returns:
        A name for each, without byte-order mark and outer blanks. One that is empty, or repeats another
        (in any case, because SQL tables ignore it), gets a suffix.
    """
    bases = [cell.replace("\ufeff", "").strip() for cell in header]
    spelling, known = {name.casefold(): name for name in known}, set(known)
    reserved = {name.casefold() for name in (*SDC_COLUMNS, DELETED_AT)}
    names: dict[int, str] = {}
    taken = set(reserved)
    # A name goes to the column that has it in the catalog's spelling, else to the first that has it.
    order = sorted(range(len(bases)), key=lambda i: (not bases[i], bases[i] not in known))
    for position in order:
        base = bases[position]
        if base and base.casefold() not in taken:
            taken.add(base.casefold())
            names[position] = base if base in known else spelling.get(base.casefold(), base)
    counts: dict[str, int] = {}
    for position, base in enumerate(bases):
        if position in names:
            continue
        name = base or f"column_{position + 1}"
        stem, count = name, counts.get(name.casefold(), 1)
        while name.casefold() in taken:
            count += 1
            name = f"{stem}_{count}"
        counts[stem.casefold()] = count
        taken.add(name.casefold())
        names[position] = spelling.get(name.casefold(), name)
    return [names[position] for position in range(len(bases))]


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
    if kind is None or (catalog is not None and type_of(catalog) != kind):
        return catalog or TEXT
    if was_text or not matches_type(kind, cells):
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
    """Choose the key: the user's, else the table's, else the catalog's."""
    return table.key if table.key and not catalog.is_key_pinned else catalog.key


def key_problem(key: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """Say why some columns can't be the key of a file, as far as its sample shows; None if they can."""
    columns = [name for name in key if name not in SDC_COLUMNS]
    indices = {name: index for index, name in enumerate(names)}
    for name in columns:
        if name not in indices:
            return f"the file has no column {quoted(name)}"
    known: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows, 1):
        value = tuple(row[indices[name]] for name in columns)
        if "" in value:
            return f"{', '.join(key)} is empty in row {number}"
        if "_sdc_row_number" not in key and known.setdefault(value, number) != number:
            return duplicate_problem(key, known[value], number)
    return None


def quoted(name: str) -> str:
    """Write the name of a column for messages: one line, not too long."""
    return repr("".join(c if c.isprintable() else "?" for c in name)[:60])


def are_names(names: Iterable[str], known: Collection[str], documented: Properties) -> bool:
    """Whether a header is surely one: a file without it has cells in its place, which must not be logged."""
    folded = {name.casefold() for name in (*known, *documented)}
    matches = [name.casefold() in folded for name in names]
    return sum(matches) > 1 or 2 * sum(matches) >= len(matches) or any(name.casefold() == "id" for name in names)


def duplicate_problem(key: Sequence[str], first: int, second: int) -> str:
    """Say that two rows have the same key."""
    return f"{', '.join(key)} is the same in rows {first} and {second}"


def with_deletions(layout: Layout) -> Layout:
    """Add the column that marks deleted rows, which have no row number."""
    properties = {**layout.schema["properties"], DELETED_AT: DELETED_AT_SCHEMA}
    if number := properties.get("_sdc_row_number"):
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
    # Catalog and file may write the columns of the table's key in another case.
    spelling = {name.casefold(): name for name in table.key or ()}
    known = {
        spelling.get(name.casefold(), name): schema for name, schema in catalog.properties.items() if name != DELETED_AT
    }
    deselected = {spelling.get(name.casefold(), name) for name in catalog.deselected}
    names = column_names(sample.header, [*known, *(table.key or ())])
    cells = dict(_cells(names, sample))
    old_text = {name.casefold() for name in table.text_columns}

    def fit(name: str) -> dict[str, Any]:
        was_text = name.casefold() in old_text
        return fit_type(name, known.get(name), cells.get(name, ()), documented, was_text=was_text)

    places = {name: index for index, name in enumerate(names)}
    new = [name for name in names if name not in known]
    picked = [name for name in known if name not in deselected and name not in SDC_COLUMNS]
    emitted = dict.fromkeys([*picked, *(() if deselected else new), *(n for n in key if n not in SDC_COLUMNS)])
    fitted = {name: fit(name) for name in emitted}
    text = {n for n in fitted if documented_type(n, documented) and type_of(fitted[n]) == "string"}
    sdc = [n for n in SDC_COLUMNS if n in {*key, "_sdc_exported_at"} or (n in known and n not in deselected)]
    schemas = {
        name: canonical_schema(schema, nullable=name not in key or _is_nullable(schema))
        for name, schema in fitted.items()
    }
    columns = tuple(
        Column(
            name,
            places.get(name),
            type_of(schema) or "string",
            is_key=name in key,
            nested=schema if nested_schema(schema) else None,
        )
        for name, schema in schemas.items()
    )
    turned = [
        name
        for name in text
        if name.casefold() not in old_text
        and not matches_type(documented_type(name, documented) or "string", cells.get(name, ()))
    ]
    missing = [name for name in emitted if name not in places]
    return Layout(
        columns,
        tuple(sdc),
        tuple(key),
        {"type": "object", "properties": {**schemas, **{name: documented[name] for name in sdc}}},
        table.text_columns | text,
        (*known, *names),
        tuple(
            _notes(
                turned,
                new if are_names(names, known, documented) else len(new),
                missing if are_names(known, (), documented) else len(missing),
                are_new_left_out=bool(deselected),
            )
        ),
    )


def _notes(
    turned: list[str], new: list[str] | int, missing: list[str] | int, *, are_new_left_out: bool
) -> Iterable[Note]:
    def listed(names: list[str] | int) -> str:
        if isinstance(names, int):
            return f"{names}, in a file that may have no header"
        shown = ", ".join(quoted(name).strip("'\"") for name in sorted(names)[:50])
        return shown + (f" and {len(names) - 50} more" if len(names) > 50 else "")  # noqa: PLR2004 (as shown)

    if turned:
        text = f"columns loaded as text, because they do not read as their documented types: {listed(turned)}"
        yield Note(text, is_warning=True)
    if new and are_new_left_out:
        text = f"new columns are left out, because the catalog selects columns: {listed(new)}"
        yield Note(text, is_warning=True)
    elif new:
        yield Note(f"new columns: {listed(new)}")
    if missing:
        yield Note(f"columns that the file lacks: {listed(missing)}")


def _is_nullable(schema: dict[str, Any]) -> bool:
    types = schema.get("type", "null")
    return "type" not in schema or (isinstance(types, list) and "null" in types)


def _cells(names: Sequence[str], sample: Sample) -> Iterable[tuple[str, Sequence[str]]]:
    columns = list(zip(*sample.rows)) if sample.rows else [()] * len(names)
    return zip(names, columns)
