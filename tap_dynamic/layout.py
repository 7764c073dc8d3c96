"""Fitting schema, key and columns to a file: header, sample, catalog and state in, a layout out. All pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tap_dynamic.convert import TEXT, canonical_schema, matches_type, type_of

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
    """

    name: str
    index: int | None
    kind: str
    is_key: bool = False


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
        notes: What is worth a line in the log.
    """

    columns: tuple[Column, ...]
    sdc_columns: tuple[str, ...]
    key: tuple[str, ...]
    schema: dict[str, Any]
    text_columns: frozenset[str] = frozenset()
    notes: tuple[Note, ...] = field(default=(), compare=False)

    @property
    def names(self) -> list[str]:
        """The names of a record's values, in order."""
        return [*(column.name for column in self.columns), *self.sdc_columns]

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the file whose values must tell the rows apart; empty where row numbers do."""
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
    taken = {name.casefold() for name in (*SDC_COLUMNS, DELETED_AT)}
    spelling = {name.casefold(): name for name in known}
    names = []
    for position, cell in enumerate(header, 1):
        base = cell.replace("\ufeff", "").strip() or f"column_{position}"
        name, count = base, 1
        while name.casefold() in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name.casefold())
        names.append(name if name in known else spelling.get(name.casefold(), name))
    return names


def infer_layout(sample: Sample, documented: Properties) -> Layout:
    """Derive the layout that discovery reports from the head of a file."""
    names = column_names(sample.header)
    inferred = Catalog({name: fit_type(name, None, cells, documented) for name, cells in _cells(names, sample)})
    key = tuple(name for name in names if name.casefold() == "id")[:1] or ("id",)
    if key_problem(key, names, sample.rows):
        key = FALLBACK_KEY
    properties = {**inferred.properties, **_sdc(documented)}
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
    for name in columns:
        if name not in names:
            return f"the file has no column {name!r}"
    known: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows, 1):
        value = tuple(row[names.index(name)] for name in columns)
        if "" in value:
            return f"{', '.join(key)} is empty in row {number}"
        if "_sdc_row_number" not in key and known.setdefault(value, number) != number:
            return duplicate_problem(key, known[value], number)
    return None


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
    known = {spelling.get(name.casefold(), name): schema for name, schema in catalog.properties.items()}
    deselected = {spelling.get(name.casefold(), name) for name in catalog.deselected}
    names = column_names(sample.header, [*known, *(table.key or ())])
    cells = dict(_cells(names, sample))
    old_text = {name.casefold() for name in table.text_columns}

    def fit(name: str) -> dict[str, Any]:
        was_text = name.casefold() in old_text
        return fit_type(name, known.get(name), cells.get(name, ()), documented, was_text=was_text)

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
        Column(name, names.index(name) if name in names else None, type_of(schema) or "string", name in key)
        for name, schema in schemas.items()
    )
    turned = [n for n in text if n.casefold() not in old_text and type_of(known.get(n, TEXT)) != "string"]
    missing = [name for name in emitted if name not in names]
    # A file without a header has cells in its place: they are not logged.
    is_header = any(name in known or documented_type(name, documented) for name in names)
    return Layout(
        columns,
        tuple(sdc),
        tuple(key),
        {"type": "object", "properties": {**schemas, **{name: documented[name] for name in sdc}}},
        table.text_columns | text,
        tuple(_notes(turned, new, missing, are_new_left_out=bool(deselected), is_header=is_header)),
    )


def _notes(
    turned: list[str], new: list[str], missing: list[str], *, are_new_left_out: bool, is_header: bool
) -> Iterable[Note]:
    def listed(names: list[str]) -> str:
        return ", ".join(sorted(names)) if is_header else f"{len(names)} without a known name"

    if turned:
        text = f"columns loaded as text, because they do not read as their documented types: {listed(turned)}"
        yield Note(text, is_warning=True)
    if new and are_new_left_out:
        text = f"new columns are left out, because the catalog selects columns: {listed(new)}"
        yield Note(text, is_warning=True)
    elif new:
        yield Note(f"new columns: {listed(new)}")
    if missing:
        yield Note(f"columns that the file lacks: {', '.join(missing)}")


def _is_nullable(schema: dict[str, Any]) -> bool:
    types = schema.get("type", "null")
    return "type" not in schema or (isinstance(types, list) and "null" in types)


def _cells(names: Sequence[str], sample: Sample) -> Iterable[tuple[str, Sequence[str]]]:
    columns = list(zip(*sample.rows)) if sample.rows else [()] * len(names)
    return zip(names, columns)


def _sdc(documented: Properties) -> dict[str, dict[str, Any]]:
    return {name: documented[name] for name in SDC_COLUMNS}
