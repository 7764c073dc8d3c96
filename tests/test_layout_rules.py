"""Rules of names.py, keys.py and layout.py: names, types, selection and key of a file's columns."""

from __future__ import annotations

from typing import Any

import pytest

from tap_dynamic.file.sample import Sample
from tap_dynamic.table.columns import FALLBACK_KEY, SDC_COLUMNS, column_names, duplicate_key_problem, key_problem
from tap_dynamic.table.convert import type_of
from tap_dynamic.table.fit import fit_layout, infer_layout
from tap_dynamic.table.layout import Catalog, Layout, Table, choose_key, with_deletions

Schema = dict[str, Any]
BOM = "\ufeff"
DAY = "2026-01-02T03:04:05Z"
TEXT: Schema = {"type": ["string", "null"]}
INTEGER: Schema = {"type": ["integer", "null"]}
BOOLEAN: Schema = {"type": ["boolean", "null"]}
DATETIME: Schema = {"type": ["string", "null"], "format": "date-time"}
SDC: dict[str, Schema] = {
    "_sdc_export_id": {"type": "string"},
    "_sdc_exported_at": {"type": "string", "format": "date-time"},
    "_sdc_row_number": {"type": "integer"},
}
DOCUMENTED: dict[str, Schema] = {
    "id": TEXT,
    "email": TEXT,
    "newUser": BOOLEAN,
    "createdAt": DATETIME,
    "metadata": {"type": ["object", "null"]},
    "lists": {"type": ["array", "null"], "items": {"type": ["string", "null"]}},
    **SDC,
}
CATALOG: dict[str, Schema] = {"id": TEXT, "email": TEXT, "newUser": BOOLEAN, "createdAt": DATETIME, **SDC}
ID = ("id",)


def sample(header: str, *rows: str, sep: str = ",") -> Sample:
    """A file's head: cells are separated by `sep`."""
    return Sample(header.split(sep), [row.split(sep) for row in rows], ",")


def fit(
    head: Sample,
    properties: dict[str, Schema] = CATALOG,
    *,
    without: tuple[str, ...] = (),
    table: Table = Table(),  # noqa: B008 (frozen)
    key: tuple[str, ...] = ID,
) -> Layout:
    """Fit a layout, with some columns of the catalog deselected."""
    return fit_layout(head, Catalog(properties, frozenset(without), key), table, DOCUMENTED, key)


def kinds(layout: Layout) -> dict[str, str]:
    """The type of each column of the file."""
    return {column.name: column.kind for column in layout.columns}


def is_nullable(schema: Schema) -> bool:
    """Whether null fits a schema."""
    return "null" in schema["type"]


def warnings(layout: Layout) -> list[str]:
    """The notes that are warnings."""
    return [note.text for note in layout.notes if note.is_warning]


# --- names

NAMES: dict[str, tuple[list[str], list[str], list[str]]] = {
    # name: (header, names of the catalog, names of the columns)
    "as they are": (["id", "First Name", "a.b", "\u00e9", "a\nb"], [], ["id", "First Name", "a.b", "\u00e9", "a\nb"]),
    "byte-order mark": ([f"{BOM}id", "email"], [], ["id", "email"]),
    "outer blanks": ([" id ", "\temail\r\n", "\u00a0x"], [], ["id", "email", "x"]),
    "byte-order mark and blanks": ([f"{BOM} id"], [], ["id"]),
    "empty": (["id", "", "x", ""], [], ["id", "column_2", "x", "column_4"]),
    "blank": ([" ", "\t"], [], ["column_1", "column_2"]),
    "empty, and the same name": (["", "column_1"], [], ["column_1_2", "column_1"]),
    "repeated": (["a", "a", "a"], [], ["a", "a_2", "a_3"]),
    "repeated in another case": (["a", "A", "a"], [], ["a", "A_2", "a_3"]),
    "repeated but for blanks": (["a", " a"], [], ["a", "a_2"]),
    "the suffix is taken": (["a", "a_2", "a"], [], ["a", "a_2", "a_3"]),
    "the suffix is taken by another case": (["A_2", "a", "a"], [], ["A_2", "a", "a_3"]),
    "repeated, not in ASCII": (["stra\u00dfe", "STRASSE"], [], ["stra\u00dfe", "STRASSE_2"]),
    "reserved": (["_sdc_row_number", "_SDC_export_id"], [], ["_sdc_row_number_2", "_SDC_export_id_2"]),
    "reserved, and in the catalog": (["_sdc_export_id"], list(SDC_COLUMNS), ["_sdc_export_id_2"]),
    "reserved for deleted rows": (["_sdc_deleted_at"], [], ["_sdc_deleted_at_2"]),
    "the catalog's case": (["ID", "eMail"], ["id", "Email"], ["id", "Email"]),
    "the catalog's case, with a byte-order mark": ([f"{BOM}ID"], ["id"], ["id"]),
    "the catalog's case, once": (["ID", "iD"], ["id"], ["id", "iD_2"]),
    "the catalog's name before its other cases": (["ID", "id"], ["id"], ["ID_2", "id"]),
    "the catalog's suffix": (["a", "A"], ["a", "A_2"], ["a", "A_2"]),
    "the catalog's suffix in its case": (["a", "a"], ["a", "A_2"], ["a", "A_2"]),
    "not in the catalog": (["id", "New"], ["id"], ["id", "New"]),
}


@pytest.mark.parametrize(("header", "known", "names"), NAMES.values(), ids=NAMES)
def test_names_of_columns(header: list[str], known: list[str], names: list[str]) -> None:
    assert column_names(header, known) == names


@pytest.mark.parametrize(("header", "known", "names"), NAMES.values(), ids=NAMES)
def test_names_are_unique_in_any_case_and_stable(header: list[str], known: list[str], names: list[str]) -> None:
    assert len({name.casefold() for name in [*names, *SDC_COLUMNS]}) == len(names) + len(SDC_COLUMNS)
    found = column_names(header, known)
    assert column_names(header, found) == found  # the next load, with the catalog that discovery wrote


# --- types

TYPES: dict[str, tuple[Sample, dict[str, Schema], Table, dict[str, str], list[str]]] = {
    # name: (head, catalog, table, types, columns that the warning names)
    "as documented": (
        sample("id,newUser,createdAt", f"1,true,{DAY}", "2,,"),
        CATALOG,
        Table(),
        {"newUser": "boolean", "createdAt": "date-time", "id": "string"},
        [],
    ),
    "the head contradicts a documented type": (
        sample("id,newUser,createdAt", "1,yes,Fri Jan 02 2026"),
        CATALOG,
        Table(),
        {"newUser": "string", "createdAt": "string"},
        ["createdAt", "newUser"],
    ),
    "one cell contradicts": (
        sample("id,newUser", "1,true", "2,maybe"),
        CATALOG,
        Table(),
        {"newUser": "string"},
        ["newUser"],
    ),
    "empty cells contradict nothing": (sample("id,newUser", "1,"), CATALOG, Table(), {"newUser": "boolean"}, []),
    "a file without rows": (sample("id,newUser"), CATALOG, Table(), {"newUser": "boolean"}, []),
    "text is sticky": (
        sample("id,newUser", "1,true"),
        CATALOG,
        Table(ID, frozenset({"newUser"})),
        {"newUser": "string"},
        [],
    ),
    "text is sticky in any case": (
        sample("id,NewUser", "1,true"),
        CATALOG,
        Table(ID, frozenset({"NEWUSER"})),
        {"newUser": "string"},
        [],
    ),
    "text is sticky, the head contradicts again": (
        sample("id,newUser", "1,yes"),
        CATALOG,
        Table(ID, frozenset({"newUser"})),
        {"newUser": "string"},
        [],
    ),
    "only that column is sticky": (
        sample("id,newUser,createdAt", f"1,true,{DAY}"),
        CATALOG,
        Table(ID, frozenset({"newUser"})),
        {"newUser": "string", "createdAt": "date-time"},
        [],
    ),
    "on a later load too": (sample("id,newUser", "1,yes"), CATALOG, Table(ID), {"newUser": "string"}, ["newUser"]),
    "the catalog says text": (
        sample("id,newUser", "1,true"),
        {**CATALOG, "newUser": TEXT},
        Table(),
        {"newUser": "string"},
        [],
    ),
    "a user's type of an undocumented column": (
        sample("id,points", "1,7"),
        {**CATALOG, "points": INTEGER},
        Table(),
        {"points": "integer"},
        [],
    ),
    "a user's type in another spelling": (
        sample("id,points", "1,7"),
        {**CATALOG, "points": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        Table(),
        {"points": "integer"},
        [],
    ),
    "a user's type stays where the head contradicts": (
        sample("id,points", "1,many"),
        {**CATALOG, "points": INTEGER},
        Table(),
        {"points": "integer"},
        [],
    ),
    "a user's type of a documented column": (
        sample("id,newUser", "1,7"),
        {**CATALOG, "newUser": INTEGER},
        Table(),
        {"newUser": "integer"},
        [],
    ),
    "a user's type is not sticky text": (
        sample("id,newUser", "1,7"),
        {**CATALOG, "newUser": INTEGER},
        Table(ID, frozenset({"newUser"})),
        {"newUser": "integer"},
        [],
    ),
    "an unsupported type is text": (
        sample("id,points", "1,7"),
        {**CATALOG, "points": {"type": ["integer", "string"]}},
        Table(),
        {"points": "string"},
        [],
    ),
    "an unsupported type of a documented column is text": (
        sample("id,newUser", "1,true"),
        {**CATALOG, "newUser": {"type": ["boolean", "string"]}},
        Table(),
        {"newUser": "string"},
        [],
    ),
    "a new column is text": (sample("id,points", "1,7"), CATALOG, Table(), {"points": "string"}, []),
    "a new documented column has its type": (
        sample("id,metadata", "1,{}"),
        CATALOG,
        Table(),
        {"metadata": "object"},
        [],
    ),
    "a new documented column that is contradicted": (
        sample("id,metadata", "1,x"),
        CATALOG,
        Table(),
        {"metadata": "string"},
        ["metadata"],
    ),
    "a documented array": (
        sample("id|lists", '1|["a", null]', "2|", sep="|"),
        CATALOG,
        Table(),
        {"lists": "array of strings"},
        [],
    ),
    "a documented array with other items": (
        sample("id|lists", '1|["a"]', "2|[7]", sep="|"),
        CATALOG,
        Table(),
        {"lists": "string"},
        ["lists"],
    ),
    "the user's array with any items": (
        sample("id|lists", "1|[7]", sep="|"),
        {**CATALOG, "lists": {"type": "array"}},
        Table(ID),
        {"lists": "array"},
        [],
    ),
    "an array of an older catalog was text": (
        sample("id|lists", "1|[7]", sep="|"),
        {**CATALOG, "lists": {"type": "array"}},
        Table(ID, frozenset({"lists"})),
        {"lists": "string"},
        [],
    ),
    "an array of an older catalog is contradicted": (
        sample("id|lists", "1|x", sep="|"),
        {**CATALOG, "lists": {"type": "array"}},
        Table(ID),
        {"lists": "string"},
        ["lists"],
    ),
    "the user's array with other items": (
        sample("id|lists", '1|["a"]', sep="|"),
        {**CATALOG, "lists": {"type": "array", "items": {"type": "integer"}}},
        Table(),
        {"lists": "array"},
        [],
    ),
    "a documented column in another case": (sample("ID,NEWUSER", "1,true"), SDC, Table(), {"NEWUSER": "boolean"}, []),
    "a column that the file lacks keeps its type": (
        sample("id", "1"),
        {**CATALOG, "points": INTEGER},
        Table(),
        {"points": "integer", "newUser": "boolean"},
        [],
    ),
}


@pytest.mark.parametrize(("head", "properties", "table", "types", "turned"), TYPES.values(), ids=TYPES)
def test_types_of_columns(
    head: Sample, properties: dict[str, Schema], table: Table, types: dict[str, str], turned: list[str]
) -> None:
    key = ID if "id" in properties else FALLBACK_KEY
    layout = fit(head, properties, table=table, key=key)
    assert {name: kind for name, kind in kinds(layout).items() if name in types} == types
    for name, kind in types.items():
        assert type_of(layout.schema["properties"][name]) == kind
    as_text = [text for text in warnings(layout) if "loaded as text" in text]
    assert len(as_text) == bool(turned)
    assert all(text.endswith(", ".join(sorted(turned))) for text in as_text)
    assert layout.text_columns >= table.text_columns | set(turned)


def test_text_never_turns_back() -> None:
    first = fit(sample("id,newUser", "1,yes"))
    assert first.text_columns == {"newUser"}
    second = fit(sample("id,newUser", "1,true"), table=Table(ID, first.text_columns))
    assert kinds(second)["newUser"] == "string"
    assert second.text_columns == {"newUser"}
    assert not warnings(second)
    without = fit(sample("id", "1"), table=Table(ID, second.text_columns))
    assert without.text_columns == {"newUser"}


NULLABLE: list[tuple[Schema, tuple[str, ...], bool]] = [
    # (schema of the catalog, key, whether the SCHEMA allows null): cells can be empty everywhere but in the key
    ({"type": "integer"}, ID, True),
    ({"type": ["integer"]}, ID, True),
    ({"type": ["integer", "null"]}, ID, True),
    ({"oneOf": [{"type": "integer"}]}, FALLBACK_KEY, True),
    ({"type": "integer"}, ("points",), False),
    ({"type": ["integer", "null"]}, ("points",), False),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, ("points", "id"), False),
    ({"type": "integer"}, ("_sdc_export_id", "id"), True),
]


@pytest.mark.parametrize(("schema", "key", "expected"), NULLABLE)
def test_a_column_whose_cells_can_be_empty_is_nullable(schema: Schema, key: tuple[str, ...], *, expected: bool) -> None:
    layout = fit(sample("id,points", "1,7"), {**CATALOG, "points": schema}, key=key)
    assert is_nullable(layout.schema["properties"]["points"]) == expected


# --- selection and drift

COLUMNS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], dict[str, int | None], str | None]] = {
    # name: (header, deselected, key, places of the columns that are emitted, a part of the note)
    "everything": ("id,email,newUser,createdAt", (), ID, {"id": 0, "email": 1, "newUser": 2, "createdAt": 3}, None),
    "another order": ("createdAt,id,newUser,email", (), ID, {"id": 1, "email": 3, "newUser": 2, "createdAt": 0}, None),
    "a new column flows through": (
        "id,email,newUser,createdAt,x",
        (),
        ID,
        {"id": 0, "email": 1, "newUser": 2, "createdAt": 3, "x": 4},
        "new columns: x",
    ),
    "a column is gone: null": (
        "id,newUser,createdAt",
        (),
        ID,
        {"id": 0, "newUser": 1, "createdAt": 2, "email": None},
        "lacks: email",
    ),
    "a deselected column is left out": (
        "id,email,newUser,createdAt",
        ("email",),
        ID,
        {"id": 0, "newUser": 2, "createdAt": 3},
        None,
    ),
    "new columns are left out where some are deselected": (
        "id,y,email,x,newUser,createdAt",
        ("email",),
        ID,
        {"id": 0, "newUser": 4, "createdAt": 5},
        "left out, because the catalog selects columns: x, y",
    ),
    "a deselected column of the key is emitted": (
        "id,email",
        ("id", "newUser", "createdAt"),
        ID,
        {"id": 0, "email": 1},
        None,
    ),
    "the file's case is another": (
        "ID,Email,NEWUSER,createdat",
        (),
        ID,
        {"id": 0, "email": 1, "newUser": 2, "createdAt": 3},
        None,
    ),
    "a deselected column in the file's case": ("ID,EMAIL", ("email", "newUser", "createdAt"), ID, {"id": 0}, None),
    "only the fallback key": ("id,email", ("id", "email", "newUser", "createdAt"), FALLBACK_KEY, {}, None),
    "repeated columns": (
        "id,id,email,newUser,createdAt",
        (),
        ID,
        {"id": 0, "id_2": 1, "email": 2, "newUser": 3, "createdAt": 4},
        "new columns: id_2",
    ),
}


@pytest.mark.parametrize(("header", "without", "key", "places", "note"), COLUMNS.values(), ids=COLUMNS)
def test_which_columns_are_emitted(
    header: str, without: tuple[str, ...], key: tuple[str, ...], places: dict[str, int | None], note: str | None
) -> None:
    layout = fit(sample(header), without=without, key=key)
    assert {column.name: column.index for column in layout.columns} == places
    notes = [n.text for n in layout.notes]
    assert len(notes) == (note is not None)
    assert all(note in text for text in notes if note)
    # Every record fits its SCHEMA: the same columns, and each column of the key.
    assert list(layout.schema["properties"]) == layout.names
    assert set(key) <= set(layout.names)
    assert [column.name for column in layout.columns if column.is_key] == [n for n in key if n not in SDC_COLUMNS]


def test_left_out_columns_are_one_warning_and_new_ones_are_none() -> None:
    head = sample("id,x,y", "1,2,3")
    assert len(warnings(fit(head, without=("email",)))) == 1
    assert not warnings(fit(head))


@pytest.mark.parametrize(("count", "more"), [(50, ""), (51, " and 1 more"), (53, " and 3 more")])
def test_fifty_columns_are_named(count: int, more: str) -> None:
    names = [f"x{number:02d}" for number in range(count)]
    (note,) = (n.text for n in fit(sample(",".join(["id", "email", "newUser", "createdAt", *names]))).notes)
    assert f"new columns: {', '.join(names[:50])}{more}" in note
    assert "x50" not in note


SDC_SELECTION: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = [
    # The columns that are deselected, the key, and the columns that are emitted.
    ((), ID, SDC_COLUMNS),
    (("_sdc_row_number",), ID, ("_sdc_export_id", "_sdc_exported_at")),
    (("_sdc_exported_at",), ID, SDC_COLUMNS),  # the replication key
    (SDC_COLUMNS, ID, ("_sdc_exported_at",)),
    (SDC_COLUMNS, FALLBACK_KEY, SDC_COLUMNS),
    (SDC_COLUMNS, ("_sdc_export_id", "id"), ("_sdc_export_id", "_sdc_exported_at")),
]


@pytest.mark.parametrize(("without", "key", "emitted"), SDC_SELECTION)
def test_which_sdc_columns_are_emitted(
    without: tuple[str, ...], key: tuple[str, ...], emitted: tuple[str, ...]
) -> None:
    layout = fit(sample("id", "1"), without=without, key=key)
    assert layout.sdc_columns == emitted
    assert [name for name in layout.schema["properties"] if name.startswith("_sdc_")] == list(emitted)


def test_cells_in_the_place_of_a_header_are_in_no_note() -> None:
    layout = fit(sample("Jane,secret word", "x,y"), without=("email",))
    assert layout.notes
    assert not any("secret" in note.text or "Jane" in note.text for note in layout.notes)


# --- keys

KEY_PROBLEMS: dict[str, tuple[tuple[str, ...], str, list[str], str | None]] = {
    # name: (key, header, rows, a part of the problem)
    "unique": (ID, "id,x", ["1,a", "2,a"], None),
    "no rows": (ID, "id", [], None),
    "missing": (ID, "email", ["a"], "has no column 'id'"),
    "empty": (ID, "id,x", ["1,a", ",b"], "empty in row 2"),
    "repeated": (ID, "id,x", ["1,a", "2,b", "1,c"], "rows 1 and 3"),
    "repeated twice: the first two": (ID, "id,x", ["2,a", "1,b", "1,c", "2,d"], "rows 2 and 3"),
    "another text is another key": (ID, "id,x", ["1,a", "01,b", "A,c", "a,d"], None),
    "two columns": (("a", "b"), "a,b", ["1,2", "2,1", "1,1"], None),
    "two columns, repeated": (("a", "b"), "a,b", ["1,2", "2,1", "1,2"], "a, b is the same in rows 1 and 3"),
    "two columns, not joined": (("a", "b"), "a,b", ["12,3", "1,23"], None),
    "two columns, one empty": (("a", "b"), "a,b", ["1,2", "1,"], "empty in row 2"),
    "two columns, one missing": (("id", "b"), "id,c", ["1,2"], "has no column 'b'"),
    "row numbers are unique": (FALLBACK_KEY, "x", ["a", "a", "b"], None),
    "a column and the row number": (("id", "_sdc_row_number"), "id,x", ["1,a", "1,b"], None),
    "a column and the row number, empty": (("id", "_sdc_row_number"), "id,x", ["1,a", ",b"], "empty in row 2"),
    "the export's id tells no rows apart": (("_sdc_export_id",), "x", ["a", "b"], "rows 1 and 2"),
    "the export's id and a column": (("_sdc_export_id", "id"), "id,x", ["1,a", "1,b"], "rows 1 and 2"),
}


@pytest.mark.parametrize(("key", "header", "rows", "problem"), KEY_PROBLEMS.values(), ids=KEY_PROBLEMS)
def test_why_columns_are_no_key(key: tuple[str, ...], header: str, rows: list[str], problem: str | None) -> None:
    head = sample(header, *rows)
    text = key_problem(key, head.header, head.rows)
    if problem is None:
        assert text is None
    else:
        assert text is not None
        assert problem in text


def test_a_key_problem_holds_no_cell() -> None:
    for rows in (["secret", "secret"], ["secret", ""]):
        text = key_problem(ID, ["id"], [[row] for row in rows])
        assert text is not None
        assert "secret" not in text
    assert "rows 7 and 12" in duplicate_key_problem(ID, 7, 12)


KEYS: dict[str, tuple[Catalog, Table, tuple[str, ...]]] = {
    "the catalog's on the first load": (Catalog({}, key=ID), Table(), ID),
    "the table's afterwards": (Catalog({}, key=ID), Table(FALLBACK_KEY), FALLBACK_KEY),
    "the user's on the first load": (Catalog({}, key=("a",), is_key_pinned=True), Table(), ("a",)),
    "the user's, whatever the table has": (Catalog({}, key=("a",), is_key_pinned=True), Table(ID), ("a",)),
}


@pytest.mark.parametrize(("catalog", "table", "key"), KEYS.values(), ids=KEYS)
def test_which_key_is_used(catalog: Catalog, table: Table, key: tuple[str, ...]) -> None:
    assert choose_key(catalog, table) == key


def test_the_key_of_a_layout() -> None:
    layout = fit(sample("x,ID", "a,1"))
    assert layout.key == ID
    assert [(c.name, c.index) for c in layout.key_columns] == [("id", 1)]
    assert fit(sample("x,ID", "a,1"), key=FALLBACK_KEY).key_columns == ()
    assert fit(sample("x,ID", "a,1"), key=("id", "_sdc_row_number")).key_columns == ()


CASES: dict[str, tuple[str, dict[str, Schema], tuple[str, ...]]] = {
    # The table's key keeps its name, however catalog and file write it: (header, catalog, deselected)
    "catalog and file differ": ("Id,x", {"ID": TEXT, **SDC}, ()),
    "the file differs": ("ID,x", {"id": TEXT, **SDC}, ()),
    "the catalog differs": ("id,x", {"ID": TEXT, **SDC}, ()),
    "deselected in the catalog's case": ("Id,x", {"ID": TEXT, "x": TEXT, **SDC}, ("ID", "x")),
    "not in the catalog": ("ID,x", dict(SDC), ()),
}


@pytest.mark.parametrize(("header", "properties", "without"), CASES.values(), ids=CASES)
def test_the_key_of_the_table_keeps_its_case(
    header: str, properties: dict[str, Schema], without: tuple[str, ...]
) -> None:
    layout = fit(sample(header, "1,2"), properties, without=without, table=Table(ID))
    assert [(c.name, c.index) for c in layout.columns if c.is_key] == [("id", 0)]
    assert [name for name in layout.names if name.casefold() == "id"] == ["id"]
    assert "id" in layout.schema["properties"]


# --- discovery

DISCOVERED: dict[str, tuple[Sample, dict[str, str], tuple[str, ...]]] = {
    "as documented": (
        sample("id,newUser,createdAt,metadata", f"1,true,{DAY},{{}}", "2,,,"),
        {"id": "string", "newUser": "boolean", "createdAt": "date-time", "metadata": "object"},
        ID,
    ),
    "contradicted": (sample("id,newUser", "1,yes"), {"id": "string", "newUser": "string"}, ID),
    "undocumented columns are text": (sample("id,points", "1,007"), {"id": "string", "points": "string"}, ID),
    "no rows": (sample("id,newUser"), {"id": "string", "newUser": "boolean"}, ID),
    "id in another case": (sample("ID,x", "1,a"), {"ID": "string", "x": "string"}, ("ID",)),
    "no id": (sample("email", "a"), {"email": "string"}, FALLBACK_KEY),
    "an empty id": (sample("id,x", ",a"), {"id": "string", "x": "string"}, FALLBACK_KEY),
    "id repeated": (sample("id,x", "1,a", "1,b"), {"id": "string", "x": "string"}, FALLBACK_KEY),
    "two columns id": (sample("id,id", "1,1", "2,1"), {"id": "string", "id_2": "string"}, ID),
}


@pytest.mark.parametrize(("head", "types", "key"), DISCOVERED.values(), ids=DISCOVERED)
def test_what_discovery_finds(head: Sample, types: dict[str, str], key: tuple[str, ...]) -> None:
    layout = infer_layout(head, DOCUMENTED)
    assert kinds(layout) == types
    assert layout.key == key
    assert layout.sdc_columns == SDC_COLUMNS
    assert [name for name in types if not is_nullable(layout.schema["properties"][name])] == [
        n for n in types if n in key
    ]


@pytest.mark.parametrize(("head", "types", "key"), DISCOVERED.values(), ids=DISCOVERED)
def test_a_load_fits_what_discovery_found(head: Sample, types: dict[str, str], key: tuple[str, ...]) -> None:
    found = infer_layout(head, DOCUMENTED)
    layout = fit_layout(head, Catalog(found.schema["properties"], key=key), Table(), DOCUMENTED, key)
    assert (kinds(layout), layout.key, layout.schema) == (types, found.key, found.schema)
    assert [note for note in layout.notes if "loaded as text" not in note.text] == []


# --- deleted rows

WITH_DELETIONS: dict[str, tuple[dict[str, Schema], tuple[str, ...]]] = {
    # The catalog, and the columns that are deselected.
    "as discovered": (CATALOG, ()),
    "without the row number": (CATALOG, ("_sdc_row_number",)),
    "the catalog has the column": ({**CATALOG, "_sdc_deleted_at": DATETIME}, ()),
}


@pytest.mark.parametrize(("properties", "without"), WITH_DELETIONS.values(), ids=WITH_DELETIONS)
def test_deleted_rows_have_a_date_and_no_row_number(properties: dict[str, Schema], without: tuple[str, ...]) -> None:
    before = fit(sample("id", "1"), properties, without=without)
    layout = with_deletions(before)
    schemas = layout.schema["properties"]
    assert layout.names.count("_sdc_deleted_at") == 1
    assert list(schemas) == layout.names
    assert (type_of(schemas["_sdc_deleted_at"]), is_nullable(schemas["_sdc_deleted_at"])) == ("date-time", True)
    assert is_nullable(schemas.get("_sdc_row_number", INTEGER))
    by_number = with_deletions(
        fit(sample("id", "1"), properties, key=FALLBACK_KEY)
    )  # can't be compared: none is deleted
    assert not is_nullable(by_number.schema["properties"]["_sdc_row_number"])
    assert not is_nullable(before.schema["properties"].get("_sdc_row_number", {"type": "integer"}))
