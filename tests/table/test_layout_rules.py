"""Rules of columns.py and layout.py: names, types, selection and key of a file's columns."""

from __future__ import annotations

from typing import Any

import pytest

from tap_dynamic.file.sample import Sample
from tap_dynamic.load.fitting import fit_file, infer_key
from tap_dynamic.schemas import KEY_CANDIDATES, SCHEMAS
from tap_dynamic.table.columns import (
    FALLBACK_KEY,
    SDC_COLUMNS,
    are_names,
    choose_key,
    column_names,
    find_candidate,
    fold,
    respelled,
)
from tap_dynamic.table.fit import afresh_note, documented_layout, fit_layout, infer_layout
from tap_dynamic.table.layout import KnownTable, Layout, StreamCatalog, with_deletions
from tap_dynamic.table.types import type_of
from tests.builders import SDC, csv_file, load

Schema = dict[str, Any]
BOM = "\ufeff"
DAY = "2026-01-02T03:04:05Z"
TEXT: Schema = {"type": ["string", "null"]}
INTEGER: Schema = {"type": ["integer", "null"]}
BOOLEAN: Schema = {"type": ["boolean", "null"]}
DATETIME: Schema = {"type": ["string", "null"], "format": "date-time"}
# A made-up stream with a column of every documented type, and short names.
DOCUMENTED: dict[str, Schema] = {
    "id": TEXT,
    "email": TEXT,
    "enabled": BOOLEAN,
    "createdAt": DATETIME,
    "metadata": {"type": ["object", "null"]},
    "tags": {"type": ["array", "null"]},
    **SDC,
}
CATALOG: dict[str, Schema] = {"id": TEXT, "email": TEXT, "enabled": BOOLEAN, "createdAt": DATETIME, **SDC}
ID = ("id",)
PAIR = ("user_id", "verified_credential_id")
USERS, VISITS = KEY_CANDIDATES["users"], KEY_CANDIDATES["visits"]


def sample(header: str, *rows: str, sep: str = ",") -> Sample:
    """A file's head: cells are separated by `sep`."""
    return Sample(header.split(sep), [row.split(sep) for row in rows], ",")


def fit(  # noqa: PLR0913 (as many as the function has)
    head: Sample,
    properties: dict[str, Schema] = CATALOG,
    *,
    without: tuple[str, ...] = (),
    table: KnownTable = KnownTable(),  # noqa: B008 (frozen)
    key: tuple[str, ...] = ID,
    unreadable: tuple[str, ...] = (),
) -> Layout:
    """Fit a layout, with some columns of the catalog deselected."""
    return fit_layout(
        head, StreamCatalog(properties, frozenset(without), key), table, DOCUMENTED, key, unreadable=unreadable
    )


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
    assert len({name.casefold() for name in [*names, *SDC_COLUMNS]}) == len(names) + len(SDC_COLUMNS)
    assert column_names(header, names) == names  # the next load, with the catalog that discovery wrote


# --- types


def case(  # noqa: PLR0913 (what types depend on)
    lines: str,
    types: str,
    turned: str = "",
    *,
    sep: str = ",",
    catalog: dict[str, Schema] = CATALOG,
    user: dict[str, Schema] | None = None,
    text: str | None = None,
    is_later: bool = False,
) -> Case:
    """A file, the types of some of its columns, and those that the warning names.

    `user` is what a user has changed in the catalog, `text` a column that was loaded as text on an earlier night.
    """
    header, *rows = lines.split("\n")
    table = KnownTable(ID if text or is_later else None, text_columns=frozenset({text} if text else ()))
    expected = dict(pair.split(": ") for pair in types.split(", "))
    return sample(header, *rows, sep=sep), {**catalog, **(user or {})}, table, expected, turned


Case = tuple[Sample, dict[str, Schema], KnownTable, dict[str, str], str]
TYPES: dict[str, Case] = {
    "as documented": case(
        f"id,enabled,createdAt\n1,true,{DAY}\n2,,", "enabled: boolean, createdAt: date-time, id: string"
    ),
    "the head contradicts a documented type": case(
        "id,enabled,createdAt\n1,yes,Fri Jan 02 2026", "enabled: string, createdAt: string", "createdAt, enabled"
    ),
    "one cell contradicts": case("id,enabled\n1,true\n2,maybe", "enabled: string", "enabled"),
    "empty cells contradict nothing": case("id,enabled\n1,", "enabled: boolean"),
    "a file without rows": case("id,enabled", "enabled: boolean"),
    "text is sticky": case("id,enabled\n1,true", "enabled: string", text="enabled"),
    "text is sticky in any case": case("id,Enabled\n1,true", "enabled: string", text="ENABLED"),
    "text is sticky, the head contradicts again": case("id,enabled\n1,yes", "enabled: string", text="enabled"),
    "only that column is sticky": case(
        f"id,enabled,createdAt\n1,true,{DAY}", "enabled: string, createdAt: date-time", text="enabled"
    ),
    "on a later load too": case("id,enabled\n1,yes", "enabled: string", "enabled", is_later=True),
    "the catalog says text": case("id,enabled\n1,true", "enabled: string", user={"enabled": TEXT}),
    "a user's type of an undocumented column": case("id,points\n1,7", "points: integer", user={"points": INTEGER}),
    "a user's type in another spelling": case(
        "id,points\n1,7", "points: integer", user={"points": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}
    ),
    "a user's type stays where the head contradicts": case(
        "id,points\n1,many", "points: integer", user={"points": INTEGER}
    ),
    "a user's type of a documented column": case("id,enabled\n1,7", "enabled: integer", user={"enabled": INTEGER}),
    "a user's type is not sticky text": case(
        "id,enabled\n1,7", "enabled: integer", user={"enabled": INTEGER}, text="enabled"
    ),
    "an unsupported type is text": case(
        "id,points\n1,7", "points: string", user={"points": {"type": ["integer", "string"]}}
    ),
    "an unsupported type of a documented column is text": case(
        "id,enabled\n1,true", "enabled: string", user={"enabled": {"type": ["boolean", "string"]}}
    ),
    "a new column is text": case("id,points\n1,7", "points: string"),
    "a new documented column has its type": case("id,metadata\n1,{}", "metadata: object"),
    "a new documented column that is contradicted": case("id,metadata\n1,x", "metadata: string", "metadata"),
    "a documented array": case('id|tags\n1|["a", null]\n2|', "tags: array", sep="|"),
    "a documented array of the catalog was text": case(
        "id|tags\n1|[7]", "tags: string", sep="|", user={"tags": {"type": "array"}}, text="tags"
    ),
    "a documented array of the catalog is contradicted": case(
        "id|tags\n1|x", "tags: string", "tags", sep="|", user={"tags": {"type": "array"}}, is_later=True
    ),
    "the user's array with items": case(
        'id|tags\n1|["a"]', "tags: array", sep="|", user={"tags": {"type": "array", "items": {"type": "integer"}}}
    ),
    "a documented column in another case": case("ID,ENABLED\n1,true", "ENABLED: boolean", catalog=SDC),
    "a column that the file lacks keeps its type": case(
        "id\n1", "points: integer, enabled: boolean", user={"points": INTEGER}
    ),
}


@pytest.mark.parametrize(("head", "properties", "table", "types", "turned"), TYPES.values(), ids=TYPES)
def test_types_of_columns(
    head: Sample, properties: dict[str, Schema], table: KnownTable, types: dict[str, str], turned: str
) -> None:
    key = ID if "id" in properties else FALLBACK_KEY
    layout = fit(head, properties, table=table, key=key)
    assert {name: kind for name, kind in kinds(layout).items() if name in types} == types
    for name, kind in types.items():
        assert type_of(layout.schema["properties"][name]) == kind
    as_text = [text for text in warnings(layout) if "loaded as text" in text]
    assert len(as_text) == bool(turned)
    assert all(text.endswith(f": {turned}") for text in as_text)
    assert layout.text_columns >= table.text_columns | set(filter(None, turned.split(", ")))


def test_cells_beyond_the_sample_make_a_column_text() -> None:
    head = sample("id,enabled,createdAt", f"1,true,{DAY}")
    layout = fit(head, unreadable=("enabled",))
    assert kinds(layout) == {"id": "string", "email": "string", "enabled": "string", "createdAt": "date-time"}
    assert layout.text_columns == {"enabled"}
    assert next(text for text in warnings(layout) if "loaded as text" in text).endswith(": enabled")
    assert not warnings(fit(head, table=KnownTable(ID, text_columns=layout.text_columns)))


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

COLUMNS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], str, str]] = {
    # name: (header, deselected, key, the columns that are emitted with their places, a part of the note)
    "everything": ("id,email,enabled,createdAt", (), ID, "id 0, email 1, enabled 2, createdAt 3", ""),
    "another order": ("createdAt,id,enabled,email", (), ID, "id 1, email 3, enabled 2, createdAt 0", ""),
    "a new column flows through": (
        "id,email,enabled,createdAt,x",
        (),
        ID,
        "id 0, email 1, enabled 2, createdAt 3, x 4",
        "new columns: x",
    ),
    "a column is gone: null": (
        "id,enabled,createdAt",
        (),
        ID,
        "id 0, enabled 1, createdAt 2, email None",
        "lacks: email",
    ),
    "a deselected column is left out": (
        "id,email,enabled,createdAt",
        ("email",),
        ID,
        "id 0, enabled 2, createdAt 3",
        "",
    ),
    "new columns are left out where some are deselected": (
        "id,y,email,x,enabled,createdAt",
        ("email",),
        ID,
        "id 0, enabled 4, createdAt 5",
        "left out, because the catalog selects columns: x, y",
    ),
    "a deselected column of the key is emitted": ("id,email", ("id", "enabled", "createdAt"), ID, "id 0, email 1", ""),
    "the file's case is another": ("ID,Email,ENABLED,createdat", (), ID, "id 0, email 1, enabled 2, createdAt 3", ""),
    "a deselected column in the file's case": ("ID,EMAIL", ("email", "enabled", "createdAt"), ID, "id 0", ""),
    "only the fallback key": ("id,email", ("id", "email", "enabled", "createdAt"), FALLBACK_KEY, "", ""),
    "repeated columns": (
        "id,id,email,enabled,createdAt",
        (),
        ID,
        "id 0, id_2 1, email 2, enabled 3, createdAt 4",
        "new columns: id_2",
    ),
}


@pytest.mark.parametrize(("header", "without", "key", "places", "note"), COLUMNS.values(), ids=COLUMNS)
def test_which_columns_are_emitted(
    header: str, without: tuple[str, ...], key: tuple[str, ...], places: str, note: str
) -> None:
    layout = fit(sample(header), without=without, key=key)
    found = {f"{column.name} {column.index}" for column in layout.columns}
    assert found == set(filter(None, places.split(", ")))
    notes = [n.text for n in layout.notes]
    assert len(notes) == bool(note)
    assert all(note in text for text in notes)
    # Every record fits its SCHEMA: the same columns, and each column of the key.
    assert list(layout.schema["properties"]) == layout.names
    assert set(key) <= set(layout.names)
    assert [column.name for column in layout.columns if column.is_key] == [n for n in key if n not in SDC_COLUMNS]


def test_left_out_columns_are_one_warning_and_new_ones_are_none() -> None:
    head = sample("id,email,x,y", "1,2,3,4")
    assert len(warnings(fit(head, without=("email",)))) == 1
    assert not warnings(fit(head))


@pytest.mark.parametrize(("count", "more"), [(50, ""), (51, " and 1 more"), (53, " and 3 more")])
def test_fifty_columns_are_named(count: int, more: str) -> None:
    names = [f"x{number:02d}" for number in range(count)]
    (note,) = (n.text for n in fit(sample(",".join(["id", "email", "enabled", "createdAt", *names]))).notes)
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
    # name: (the user's key, header, rows, a part of the problem)
    "another text is another key": (ID, "id,x", ["1,a", "01,b", "A,c", "a,d"], None),
    "repeated twice: the first two": (ID, "id,x", ["2,a", "1,b", "1,c", "2,secret"], "rows 2 and 3"),
    "two columns, not joined": (("a", "b"), "a,b", ["12,3", "1,23"], None),
    "two columns, the first empty": (("a", "b"), "a,b", ["1,2", ",secret"], "a is empty in row 2"),
    "two columns, the second empty": (("a", "b"), "a,b", ["1,2", "1,", "2,"], None),
    "two columns, one missing": (("id", "b"), "id,c", ["1,2"], "has no column 'b'"),
    "a column and the row number": (("id", "_sdc_row_number"), "id,x", ["1,a", "1,b"], None),
    "the export's id distinguishes no rows": (("_sdc_export_id",), "x", ["a", "b"], "the same in all rows"),
    "the export's id and a column": (("_sdc_export_id", "id"), "id,x", ["1,a", "1,b"], "rows 1 and 2"),
}


@pytest.mark.parametrize(("key", "header", "rows", "problem"), KEY_PROBLEMS.values(), ids=KEY_PROBLEMS)
def test_why_columns_are_no_key(key: tuple[str, ...], header: str, rows: list[str], problem: str | None) -> None:
    layout = fit_file(csv_file(header, *rows), load(catalog=StreamCatalog({}, key=key), documented=DOCUMENTED))
    assert layout.key == (FALLBACK_KEY if problem else key)
    if problem:
        assert problem in layout.notes[-1].text
        assert "secret" not in layout.notes[-1].text


NFC, NFD = "gr\u00f6\u00dfe", "gro\u0308\u00dfe"
FOLDED: list[tuple[str, str, bool]] = [
    ("id", "ID", True),
    ("user_id", "User_ID", True),
    (NFC, NFD, True),
    (NFC.upper(), NFD, True),
    ("stra\u00dfe", "STRASSE", True),
    ("id", "id_", False),
    ("o", "\u00f6", False),
]


@pytest.mark.parametrize(("left", "right", "same"), FOLDED)
def test_names_that_are_the_same(left: str, right: str, *, same: bool) -> None:
    assert (fold(left) == fold(right)) == same
    assert respelled([left, "x"], [right]) == [right if same else left, "x"]
    assert respelled([left], [right, left.title()])[0] == (right if same else left.title())  # the first spelling counts
    assert column_names([left], [right]) == [right if same else left]
    assert column_names([left, right]) == [left, f"{right}_2" if same else right]


CANDIDATES: dict[str, tuple[list[str], tuple[tuple[str, ...], ...], tuple[str, ...] | None]] = {
    # name: the columns, the candidates, and the key
    "users": (["user_email", *PAIR], USERS, PAIR),
    "users, the other way round": ([*reversed(PAIR)], USERS, PAIR),
    "users in another case": (["USER_ID", "Verified_Credential_Id"], USERS, ("USER_ID", "Verified_Credential_Id")),
    "the first candidate, whatever else there is": (["id", *PAIR], USERS, PAIR),
    "id before user_id": (["user_id", "id"], USERS, ID),
    "a row per user": (["user_id", "user_email"], USERS, ("user_id",)),
    "credentials without users": (["verified_credential_id"], USERS, None),
    "visits": (["address", "id"], VISITS, ID),
    "visits without id": (["address", "chain"], VISITS, None),
    "in another Unicode form": ([NFD], ((NFC,),), (NFD,)),
    "no candidates": (["id"], (), None),
}


@pytest.mark.parametrize(("names", "candidates", "key"), CANDIDATES.values(), ids=CANDIDATES)
def test_the_first_candidate_that_a_file_has(
    names: list[str], candidates: tuple[tuple[str, ...], ...], key: tuple[str, ...] | None
) -> None:
    assert find_candidate(names, candidates) == key
    assert choose_key(names, candidates) == (key or FALLBACK_KEY)


KEYS: dict[str, tuple[list[str], tuple[str, ...] | None, tuple[str, ...] | None, tuple[str, ...]]] = {
    # name: (columns, the user's key, the table's key, the key)
    "a candidate on the first load": ([*PAIR], None, None, PAIR),
    "none of the candidates": (["email"], None, None, FALLBACK_KEY),
    "the table's": ([*PAIR], None, ID, ID),
    "the table's, whatever the file has": (["email"], None, PAIR, PAIR),
    "the user's on the first load": ([*PAIR], ("user_id",), None, ("user_id",)),
    "the user's before the table's": ([*PAIR], ("user_id",), PAIR, ("user_id",)),
    "the user's as the file spells it": (["User_ID"], ("user_id",), None, ("User_ID",)),
    "the user's in another Unicode form": ([NFD], (NFC,), None, (NFD,)),
    "the user's that the file lacks": (["email"], ("user_id",), None, ("user_id",)),
    "the user's with the row number": ([*PAIR], ("_SDC_row_number",), None, ("_sdc_row_number",)),
    "a table with the fallback key keeps it": ([*PAIR], None, FALLBACK_KEY, FALLBACK_KEY),
    "a table with the fallback key keeps it, whatever the user sets": ([*PAIR], PAIR, FALLBACK_KEY, FALLBACK_KEY),
}


@pytest.mark.parametrize(("names", "of_user", "of_table", "key"), KEYS.values(), ids=KEYS)
def test_which_key_is_used(
    names: list[str], of_user: tuple[str, ...] | None, of_table: tuple[str, ...] | None, key: tuple[str, ...]
) -> None:
    assert choose_key(names, USERS, of_user=of_user, of_table=of_table) == key


def test_when_a_line_says_how_to_start_afresh() -> None:
    for key, names in ((FALLBACK_KEY, ["email"]), (PAIR, PAIR), (ID, PAIR), (None, PAIR)):
        assert not list(afresh_note(names, KnownTable(key), USERS))
    (note,) = afresh_note(PAIR, KnownTable(FALLBACK_KEY), USERS)
    assert note.is_warning
    assert "to have the key user_id, verified_credential_id, load into a new table (--full-refresh)" in note.text


HEADERS: dict[str, tuple[str, str, bool]] = {
    # name: (the first row, the names of the catalog, whether the row surely is a header)
    "two documented names": ("x,ID,y,EMAIL,z", "", True),
    "two documented names, and one that looks like data": ("id,email,a@b.io", "", True),
    "two names in another Unicode form": (f"{NFD},id,x,y", NFC, False),
    "with a byte-order mark and blanks": (f"{BOM}id, email,x,y,z", "", True),
    "no known name": ("x,y", "", False),
    # ID is the code of a country too.
    "one name": ("x,id,y", "", False),
    "one name in another case": ("x,ID,y", "", False),
    "one of two names": ("Email,x", "", False),
    "one name twice": ("ID,ID,x,y", "", False),
    "one name in two cases": ("ID,id,x", "", False),
    "one name, most of the row": ("ID,ID,ID,x", "", False),
    "one name that no cell is likely to be": ("x,createdAt,y", "", True),
    "one such name in another case": ("x,createdat,y", "", False),
    "one such name beside what looks like data": ("createdAt,a@b.io", "", False),
    "one such name beside an empty one": ("createdAt,x,", "", False),
    "one such name beside repeated ones": ("createdAt,x,X", "", False),
    "nothing but a known name": ("Email", "", True),
    "nothing but a known name, twice": ("ID,ID", "", True),
    "nothing": ("", "", False),
    "a catalog with one name that no cell is likely to be": (
        "a,b,x",
        ",".join(["createdAt", "a", "b", *SDC_COLUMNS]),
        True,
    ),
    "names of the tap": ("_sdc_export_id,_sdc_exported_at,x", "", False),
    "two names of the catalog": ("own,x,email,y,z", "id,email,own", True),
    "one name of the catalog": ("own,x,y", "id,email,own", False),
    # Discovery takes them from the first row, too.
    "a catalog that may be made of cells": ("a,b,x", "id,a,b", False),
    "a catalog with nothing documented but names of the tap": ("a,b,x", ",".join(["a", "b", *SDC_COLUMNS]), False),
}


@pytest.mark.parametrize(("row", "catalog", "expected"), HEADERS.values(), ids=HEADERS)
def test_a_header_is_recognized_by_two_known_names(row: str, catalog: str, *, expected: bool) -> None:
    assert are_names(row.split(","), DOCUMENTED, catalog.split(",")) == expected


KEY_COLUMNS: list[tuple[str, tuple[str, ...], dict[str, tuple[str, bool, bool]]]] = [
    # (the user's type of the second column, key, columns: their type, whether null fits, whether they must be filled)
    ("string", ("id", "part"), {"id": ("string", False, True), "part": ("string", False, False)}),
    ("string", ("part", "id"), {"id": ("string", False, False), "part": ("string", False, True)}),
    ("string", ("_sdc_export_id", "part"), {"part": ("string", False, True)}),
    # A number can't be the empty text.
    ("integer", ("id", "part"), {"id": ("string", False, True), "part": ("integer", False, True)}),
]


@pytest.mark.parametrize(("kind", "key", "expected"), KEY_COLUMNS)
def test_columns_of_a_key(kind: str, key: tuple[str, ...], expected: dict[str, tuple[str, bool, bool]]) -> None:
    layout = fit(sample("id,part", "1,7"), {**CATALOG, "part": {"type": [kind, "null"]}}, key=key)
    assert {
        c.name: (c.kind, is_nullable(layout.schema["properties"][c.name]), c.is_required)
        for c in layout.columns
        if c.is_key
    } == expected


@pytest.mark.parametrize(("cell", "kind"), [("true", "boolean"), ("", "string")])
def test_an_empty_cell_of_a_key_is_text(cell: str, kind: str) -> None:
    layout = fit(sample("id,enabled", "1,true", f"1,{cell}"), key=("id", "enabled"))
    assert kinds(layout)["enabled"] == kind


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
    layout = fit(sample(header, "1,2"), properties, without=without, table=KnownTable(ID))
    assert [(c.name, c.index) for c in layout.columns if c.is_key] == [("id", 0)]
    assert [name for name in layout.names if name.casefold() == "id"] == ["id"]
    assert "id" in layout.schema["properties"]


# --- discovery

DISCOVERED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # name: (the head of the file, the types of its columns, the key)
    "as documented": (
        f"id,enabled,createdAt,metadata\n1,true,{DAY},{{}}\n2,,,",
        "id: string, enabled: boolean, createdAt: date-time, metadata: object",
        ID,
    ),
    "contradicted": ("id,enabled\n1,yes", "id: string, enabled: string", ID),
    "undocumented columns are text": ("id,points\n1,007", "id: string, points: string", ID),
    "no rows": ("id,enabled", "id: string, enabled: boolean", ID),
    "id in another case": ("ID,x\n1,a", "ID: string, x: string", ("ID",)),
    "no id": ("email\na", "email: string", FALLBACK_KEY),
    "an empty id": ("id,x\n,a", "id: string, x: string", FALLBACK_KEY),
    "id repeated": ("id,x\n1,a\n1,b", "id: string, x: string", FALLBACK_KEY),
    "a user without a credential": (
        "user_id,verified_credential_id,email\n1,a,x\n1,b,x\n2,,y",
        "user_id: string, verified_credential_id: string, email: string",
        PAIR,
    ),
    "a user twice without a credential": (
        "user_id,verified_credential_id\n2,\n2,",
        "user_id: string, verified_credential_id: string",
        FALLBACK_KEY,
    ),
    "two columns id": ("id,id\n1,1\n2,1", "id: string, id_2: string", ID),
}


@pytest.mark.parametrize(("lines", "expected", "key"), DISCOVERED.values(), ids=DISCOVERED)
def test_what_discovery_finds(lines: str, expected: str, key: tuple[str, ...]) -> None:
    head, _, _, types, _ = case(lines, expected)
    layout = infer_layout(head, DOCUMENTED, infer_key(head, (PAIR, ID)))
    assert kinds(layout) == types
    assert layout.key == key
    assert layout.sdc_columns == SDC_COLUMNS
    assert [name for name in types if not is_nullable(layout.schema["properties"][name])] == [
        n for n in types if n in key
    ]
    # A load fits what discovery found.
    catalog = StreamCatalog(layout.schema["properties"], key=key)
    loaded = fit_layout(head, catalog, KnownTable(), DOCUMENTED, key)
    assert (kinds(loaded), loaded.key, loaded.schema) == (types, key, layout.schema)
    is_header = are_names(head.header, DOCUMENTED)
    assert ["may be data" in n.text for n in loaded.notes if "loaded as text" not in n.text] == [True] * (not is_header)


def test_without_a_file_the_first_candidate_is_the_key() -> None:
    for model, columns, key in (("users", 38, PAIR), ("visits", 7, ID)):
        layout = documented_layout(SCHEMAS.get_schema(model)["properties"], KEY_CANDIDATES[model])
        assert (len(layout.columns), layout.key) == (columns, key)
        assert {c.name: c.is_required for c in layout.columns if c.is_key} == {name: name == key[0] for name in key}
        assert set(KEY_CANDIDATES[model][0]) <= {c.name for c in layout.columns}


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
