"""Fitting a layout to a file: header, sample, catalog and state in, a layout out. All pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tap_dynamic.errors import FileUnusable
from tap_dynamic.file.sample import Sample
from tap_dynamic.table.columns import (
    DATA_PATTERN,
    FALLBACK_KEY,
    SDC_COLUMNS,
    are_names,
    choose_key,
    column_names,
    find_candidate,
    fold,
    folded_names,
    listed,
    quoted,
    respelled,
)
from tap_dynamic.table.convert import reads_as
from tap_dynamic.table.layout import Column, KnownTable, Layout, Note, StreamCatalog
from tap_dynamic.table.types import JSON_KINDS, TEXT, canonical_schema, nested_schema, type_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from tap_dynamic.table.layout import Properties


PREFIXED = re.compile(r"(user|verified_credential)_[A-Za-z]\w*")
"""Names of columns as Dynamic makes them: the set varies, the prefixes do not."""


def check_is_export(sample: Sample, known: Collection[str], documented: Properties, label: str) -> None:
    """Raise `FileUnusable` if the first row is data, or the file a message: no rows, and no known name or prefix."""
    header = column_names(sample.header)
    if not are_names(header, documented, known) and any(map(DATA_PATTERN.fullmatch, header)):
        msg = f"{label}: the first row is not a header, but data. Make a new export."
        raise FileUnusable(msg)
    is_known = folded_names([*known, *documented]) & folded_names(header) or any(map(PREFIXED.fullmatch, header))
    if sample.is_whole and not sample.rows and not is_known:
        msg = f"{label}: the file has no rows and no known column: it is text, not CSV. Make a new export."
        raise FileUnusable(msg)


def infer_layout(sample: Sample, documented: Properties, key: Sequence[str]) -> Layout:
    """Derive the layout that discovery reports from the head of a file."""
    catalog = StreamCatalog({name: documented[name] for name in SDC_COLUMNS})
    return fit_layout(sample, catalog, KnownTable(), documented, key)


def documented_layout(documented: Properties, candidates: Iterable[Sequence[str]]) -> Layout:
    """Return the layout of a file that has the documented columns."""
    header = [name for name in documented if name not in SDC_COLUMNS]
    return infer_layout(Sample(header, []), documented, choose_key(header, candidates))


def _documented(name: str, documented: Properties) -> tuple[dict[str, Any], str]:
    """Return the documented schema of a column, and its type."""
    schema = documented.get(respelled([name], documented)[0], TEXT)
    return schema, type_of(schema) or "string"


def insists_on_type(name: str, catalog: StreamCatalog, documented: Properties) -> bool:
    """Whether the type of a column is not ours to guess: it is not documented, or the user has set another."""
    _, kind = _documented(name, documented)
    return kind == "string" or (name in catalog.properties and type_of(catalog.properties[name]) != kind)


def fit_layout(  # noqa: PLR0913 (what it depends on, nothing hidden)
    sample: Sample,
    catalog: StreamCatalog,
    table: KnownTable,
    documented: Properties,
    key: Sequence[str],
    *,
    unreadable: Collection[str] = (),
) -> Layout:
    """Fit schema and columns to a file.

    Some cell of each of the `unreadable` columns, beyond the sample, does not read as the documented type.
    """
    known = _known_names(table, documented)
    catalog = catalog.respelled(known)
    names = file_names(sample, catalog, table, documented)
    places = {name: index for index, name in enumerate(names)}
    cells: dict[str, Sequence[str]] = dict(zip(names, zip(*sample.rows)))
    old_text = {fold(name) for name in table.text_columns}
    emitted = _emitted(names, catalog, key)
    schemas: dict[str, dict[str, Any]] = {}
    text, turned = set(), []
    for name in emitted:
        column, was_text = cells.get(name, ()), fold(name) in old_text
        # An empty cell of a key is text.
        is_text = was_text or name in unreadable or (name in key[1:] and "" in column)
        schema = _fit_type(name, column, catalog, documented, is_text=is_text)
        schemas[name] = canonical_schema(schema, nullable=name not in key)
        _, kind = _documented(name, documented)
        if kind != "string" and type_of(schemas[name]) == "string":
            text.add(name)
            if not was_text and (name in unreadable or not reads_as(kind, column)):
                turned.append(name)
    sdc = [n for n in SDC_COLUMNS if n in {*key, "_sdc_exported_at"} or catalog.selects(n)]
    is_header = are_names(sample.header, documented, catalog.properties)
    return Layout(
        tuple(_column(name, schema, places.get(name), key) for name, schema in schemas.items()),
        tuple(sdc),
        tuple(key),
        {"type": "object", "properties": {**schemas, **{name: documented[name] for name in sdc}}},
        table.text_columns | text,
        (*known, *catalog.properties, *names),
        tuple(name for name in emitted if name not in documented and is_header),
        tuple(_notes(turned, sample, places, emitted, catalog, documented, is_header=is_header)),
    )


def _fit_type(
    name: str, cells: Sequence[str], catalog: StreamCatalog, documented: Properties, *, is_text: bool
) -> dict[str, Any]:
    """Choose the user's type; else the documented one, where the cells read as it and always did; else text."""
    schema = catalog.properties.get(name)
    if insists_on_type(name, catalog, documented):
        return schema or TEXT
    default, kind = _documented(name, documented)
    return TEXT if is_text or not reads_as(kind, cells) else schema or default


def _known_names(table: KnownTable, documented: Properties) -> tuple[str, ...]:
    # Before the first load none is known.
    return (*table.key, *table.columns, *documented) if table.key else ()


def file_names(sample: Sample, catalog: StreamCatalog, table: KnownTable, documented: Properties) -> list[str]:
    """Name the columns of a file as table and catalog do."""
    known = _known_names(table, documented)
    return column_names(sample.header, [*known, *catalog.respelled(known).properties])


def afresh_note(names: Collection[str], table: KnownTable, candidates: Iterable[Sequence[str]]) -> Iterator[Note]:
    """Say how to get a key, where the table has none and the file has one."""
    if table.key == FALLBACK_KEY and (key := find_candidate(names, candidates)):
        text = (
            f"the key of the table is {', '.join(FALLBACK_KEY)}, so each export adds all of its rows;"
            f" to have the key {', '.join(key)}, load into a new table (--full-refresh)"
        )
        yield Note(text, is_warning=True)


def _emitted(names: Sequence[str], catalog: StreamCatalog, key: Sequence[str]) -> list[str]:
    """Select the columns that are emitted: the selected ones, new ones where none is deselected, and the key."""
    picked = [name for name in catalog.properties if catalog.selects(name)]
    new = () if catalog.deselected else [name for name in names if name not in catalog.properties]
    return [name for name in dict.fromkeys([*picked, *new, *key]) if name not in SDC_COLUMNS]


def _column(name: str, schema: dict[str, Any], index: int | None, key: Sequence[str]) -> Column:
    kind = type_of(schema) or "string"
    nested = schema if kind in JSON_KINDS and nested_schema(schema) else None
    own = [part for part in key if part not in SDC_COLUMNS]
    is_required = name in own and (name == own[0] or kind != "string")
    return Column(name, index, kind, is_key=name in own, is_required=is_required, nested=nested)


def _notes(  # noqa: PLR0913, PLR0917 (what they are about)
    turned: list[str],
    sample: Sample,
    names: Collection[str],
    emitted: Sequence[str],
    catalog: StreamCatalog,
    documented: Properties,
    *,
    is_header: bool,
) -> Iterator[Note]:
    """Yield the lines about columns; names only where they surely are names, because a cell must not be logged."""
    known = catalog.properties
    new = [name for name in names if name not in known]
    missing = [name for name in emitted if name not in names]
    new_text = listed(new) if is_header else f"{len(new)}, in a file that may have no header"
    if not is_header:
        text = "the first row may be data instead of a header, because it has no two known columns"
        yield Note(text, is_warning=True)
    if turned:
        text = f"columns loaded as text, because they do not read as their documented types: {listed(turned)}"
        yield Note(text, is_warning=True)
    if new and catalog.deselected:
        yield Note(f"new columns are left out, because the catalog selects columns: {new_text}", is_warning=True)
    elif new:
        yield Note(f"new columns: {new_text}")
    if sample.delimiter != ",":
        name = {";": "a semicolon", "\t": "a tab"}.get(sample.delimiter, quoted(sample.delimiter))
        yield Note(f"the delimiter is {name}, not a comma")
    if missing:
        are_known = are_names(known, documented)
        yield Note(f"columns that the file lacks: {listed(missing) if are_known else f'{len(missing):,}'}")
