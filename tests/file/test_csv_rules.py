"""Rules of sample.py and reader.py: what is CSV, which rows of a head are whole, and how a file is read to its end."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import zipfile
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tap_dynamic.errors import FileUnusable, TapError
from tap_dynamic.file.memory import CHUNK_SIZE, MAX_COLUMNS, MAX_ROW, count_separators, is_long_in_json
from tap_dynamic.file.reader import CsvFile
from tap_dynamic.file.sample import (
    HEAD_SIZE,
    MAX_FIELD,
    find_delimiter,
    header_problem,
    read_sample,
    reject_reason,
    unpack_head,
)
from tap_dynamic.schemas import SCHEMAS
from tap_dynamic.table.fit import check_is_export

if TYPE_CHECKING:
    from collections.abc import Iterator

BOM = b"\xef\xbb\xbf"
LABEL = "Stream users, export x"
SECRET = "jane@example.com"  # noqa: S105 (a cell)
PROPERTY_SETTINGS = settings(deadline=None, max_examples=60)


@pytest.fixture(autouse=True)
def field_limit() -> Iterator[None]:
    """Set the limit of the tap, which conftest.py lifts."""
    before = csv.field_size_limit(MAX_FIELD)
    yield
    csv.field_size_limit(before)


def zipped(data: bytes) -> bytes:
    """Put data into a zip archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x.csv", data)
    return archive.getvalue()


def read(data: bytes, count: int = 250) -> tuple[list[list[str]], list[tuple[int, list[list[str]]]]]:
    """The header (in a list) and the chunks of a file."""
    file = CsvFile.open(io.BytesIO(data), LABEL)
    return [file.header], list(file.chunks(count))


# --- what is no CSV

CELLS = f"id,email\n1,{SECRET}\n"
NOT_CSV: dict[str, bytes] = {
    "HTML": f"<!DOCTYPE html>\n<p>{SECRET}".encode(),
    "XML": f'<?xml version="1.0"?><Error><Message>{SECRET}</Message></Error>'.encode(),
    "XML after blanks": b" \r\n\t<Error/>",
    "XML after a byte-order mark": BOM + b"<Error/>",
    "XML after blanks and a byte-order mark": b"\n" + BOM + b"<Error/>",
    "XML after NUL characters": b"\0<Error/>",
    "a JSON object": f'{{"email": "{SECRET}"}}'.encode(),
    "a JSON object after a byte-order mark": BOM + b'{"id": 1}',
    "a JSON array": f'[\n{{"email": "{SECRET}"}}]'.encode(),
    "an empty JSON array": b"[]",
    "JSON lines": b'\n{"id": 1}\n{"id": 2}\n',
    "zip": zipped(CELLS.encode()),
    "UTF-16 with a byte-order mark": CELLS.encode("utf-16"),
    "UTF-16, big endian with a byte-order mark": b"\xfe\xff" + CELLS.encode("utf-16-be"),
    "UTF-16 without a byte-order mark": CELLS.encode("utf-16-le"),
    "UTF-16, big endian without a byte-order mark": CELLS.encode("utf-16-be"),
    "UTF-32": CELLS.encode("utf-32"),
}
ALSO_UNUSABLE: dict[str, bytes] = {
    # Found in the header.
    "UTF-16, Cyrillic": "\u0438\u043c\u044f,x\n".encode("utf-16-le"),
    "UTF-16, Chinese": "\u59d3\u540d,x\n".encode("utf-16-be"),
    "bzip2": bz2.compress(CELLS.encode() * 9),
    "an empty file": b"",
    "blanks": b" \n\n",
    "a byte-order mark": BOM,
}
CSV: dict[str, bytes] = {
    "CSV": CELLS.encode(),
    "after a byte-order mark": BOM + CELLS.encode(),
    "after blank lines": b"\n\r\n" + CELLS.encode(),
    "a single column": b"id\n1\n",
    "a header without rows": b"id,email\n",
    "a header without a line end": b"id,email",
    "some NUL characters": b"i\0d,email\n",
    "eight bytes with a NUL character": b"id,x\n1\0,",
    "seven bytes, every fourth of them NUL": b"id,\0x\n1\0",
    "a spreadsheet's line": b"sep=,\r\nid,email\r\n1,x\r\n",
    "not in ASCII": "id,pr\u00e9nom,\u59d3\u540d\n".encode(),
    "semicolons": b"id;email\n",
    "markup in a cell": b"id,x\n1,<b>\n2,{}\n",
}


@pytest.mark.parametrize(("name", "data"), NOT_CSV.items(), ids=NOT_CSV)
def test_what_is_not_csv_is_named(name: str, data: bytes) -> None:
    kind = next(kind for kind in ("UTF-16", "UTF-32", "HTML", "XML", "JSON", "zip") if kind in name)
    for start in (data, data * 500):
        reason = reject_reason(start)
        assert reason is not None
        assert kind in reason


@pytest.mark.parametrize("data", [*NOT_CSV.values(), *ALSO_UNUSABLE.values()], ids=[*NOT_CSV, *ALSO_UNUSABLE])
def test_an_unusable_file_is_refused_without_a_part_of_it(data: bytes) -> None:
    with pytest.raises(FileUnusable, match=rf"^{LABEL}: ") as raised:
        read_sample(data, is_whole=True, label=LABEL)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
    for packed in (data, gzip.compress(data)):
        with pytest.raises(TapError, match=rf"^{LABEL}[:,] ") as opened:
            CsvFile.open(io.BytesIO(packed), LABEL)
        assert SECRET not in str(opened.value)
        assert "\n" not in str(opened.value)


def test_gzip_within_gzip_is_named() -> None:
    twice = gzip.compress(gzip.compress(CELLS.encode()))
    with pytest.raises(FileUnusable, match=f"^{LABEL}: the file is packed twice with gzip, not CSV"):
        CsvFile.open(io.BytesIO(twice), LABEL)


@pytest.mark.parametrize("data", CSV.values(), ids=CSV)
def test_csv_is_not_refused(data: bytes) -> None:
    assert reject_reason(data) is None
    sample = read_sample(data, is_whole=True, label=LABEL)
    assert header_problem(sample.header) is None
    for packed in (data, gzip.compress(data)):
        assert CsvFile.open(io.BytesIO(packed), LABEL).sample == sample


USERS = [name for name in SCHEMAS.get_schema("users")["properties"] if not name.startswith("_sdc_")]
WITHOUT_ROWS: dict[str, tuple[str, bool]] = {
    # name: (file of users, whether it is an empty export)
    "CRLF": (",".join(USERS) + "\r\n", True),
    "no line end": (",".join(USERS), True),
    "a byte-order mark in quotes": ('"\ufeffuser_id",x\n', True),
    "upper case": (",".join(USERS).upper(), True),
    "one column": ("user_id\n", True),
    "unknown columns of known prefixes": ("user_points,verified_credential_points\n", True),
    "an error": (f"Access denied for {SECRET}\n", False),
    "an error with a comma": ("Sorry, the user_id is unknown\n", False),
    "a JSON scalar": (f'"{SECRET}"', False),
    "unknown columns": ("a,b\n", False),
    "a number of users": ("user_7 has no rows\n", False),
}


@pytest.mark.parametrize(("text", "is_export"), WITHOUT_ROWS.values(), ids=WITHOUT_ROWS)
def test_a_file_without_rows_is_an_empty_export_or_a_message(text: str, *, is_export: bool) -> None:
    def check() -> None:
        sample = read_sample(text.encode(), is_whole=True, label=LABEL)
        check_is_export(sample, (), SCHEMAS.get_schema("users")["properties"], LABEL)

    if is_export:
        check()
        return
    with pytest.raises(FileUnusable) as raised:
        check()
    assert SECRET not in str(raised.value)


def test_a_header_with_rows_may_have_any_names() -> None:
    sample = read_sample(b"a\n1\n", is_whole=True, label=LABEL)
    check_is_export(sample, (), {}, LABEL)


FIRST_ROWS: dict[str, tuple[str, bool]] = {
    # name: (first row of users, whether it is a header)
    "an e-mail address": (f"1,{SECRET}", False),
    "a date-time": ("1,2026-01-02T03:04:05Z", False),
    "a UUID": ("00000000-0000-4000-8000-000000000001,x", False),
    "a wallet": ("x,0x" + "aB" * 20, False),
    # ID is a country, too.
    "an e-mail address beside one known name": (f"ID,{SECRET}", False),
    "an e-mail address beside one known name, twice": (f"ID,{SECRET},ID", False),
    "a column named as an e-mail address": (f"user_id,verified_credential_id,{SECRET}", True),
    "a column named as a UUID": ("User_Id,00000000-0000-4000-8000-000000000001,user_email", True),
    "a column of the catalog": ("own,00000000-0000-4000-8000-000000000001,user_email", True),
}


@pytest.mark.parametrize(("row", "is_header"), FIRST_ROWS.values(), ids=FIRST_ROWS)
def test_a_first_row_with_data_is_a_header_only_beside_known_columns(row: str, *, is_header: bool) -> None:
    refused = pytest.raises(FileUnusable, match=r"the first row is not a header, but data. Make a new export.$")
    with contextlib.nullcontext() if is_header else refused as raised:
        sample = read_sample(f"{row}\n1,2,3\n".encode(), is_whole=True, label=LABEL)
        check_is_export(sample, ["own", *USERS], SCHEMAS.get_schema("users")["properties"], LABEL)
    assert raised is None or SECRET not in str(raised.value)


DELIMITERS: list[tuple[str, str]] = [
    ("id,email\n", ","),
    ("id\n1;2\n", ","),  # the header decides
    ("id;email\n1,5;2\n", ";"),
    ("id\temail\n", "\t"),
    ("id;email,x\n", ","),  # a comma anywhere in the header
    ("id\temail,x\n", ","),
    ("\n\r\nid;email\n", ";"),
    ("\ufeffid;email\n", ";"),
    ('"a;b"\n', ","),  # not a delimiter in quotes
    ('"a;b",c\n', ","),
    ('"a\nb";c\n', ";"),
    ('"a""b";c\n', ";"),
    ("a\tb\tc;d\n", "\t"),  # the more frequent one
    ("a;b;c\td\n", ";"),
    ("id", ","),
    ("", ","),
    # A line ends with LF or CRLF, and nothing else.
    ("a;b\u2028c,d\n", ","),
    ("a;b\x0bc,d\n", ","),
    ("a;b\x85c,d\n", ","),
]


@pytest.mark.parametrize(("text", "delimiter"), DELIMITERS, ids=ascii)
def test_the_delimiter_of_a_file(text: str, delimiter: str) -> None:
    assert find_delimiter(text) == delimiter


SPREADSHEETS: dict[str, bytes] = {
    "comma": b"sep=,\nid,email\n1,x\n",
    "semicolon": b"sep=;\r\nid;email\r\n1;x\r\n",
    "tab": b"sep=\t\nid\temail\n1\tx\n",
    "another than the header shows": b"sep=|\nid|email\n1|x\n",
    "a blank behind it": b"sep=; \nid;email\n1;x\n",
    "filled up with delimiters": b"sep=,,,\nid,email\n1,x\n",
    "upper case": b"SEP=;\nid;email\n1;x\n",
    "in quotes": b'"sep=;"\nid;email\n1;x\n',
    "after a byte-order mark": BOM + b"sep=;\nid;email\n1;x\n",
    "between byte-order marks and blank lines": BOM + b"\r\nsep=;\r\n\r\n" + BOM + b"id;email\n1;x\n",
    "with a NUL character": b"s\0ep=;\nid;email\n1;x\n",
}


@pytest.mark.parametrize("data", SPREADSHEETS.values(), ids=SPREADSHEETS)
def test_the_line_of_a_spreadsheet_names_the_delimiter(data: bytes) -> None:
    for packed in (data, gzip.compress(data)):
        assert read(packed) == ([["id", "email"]], [(1, [["1", "x"]])])
    assert read_sample(data, is_whole=True, label=LABEL).header == ["id", "email"]


OTHER_DELIMITERS: dict[str, bytes] = {
    "colon": b"sep=:\nid:email\n1:x\n",
    "blank": b"sep= \r\nid email\n1 x\n",
    "in upper case and quotes": b'"SEP=^"\nid^email\n1^x\n',
    "filled up": b"sep=:::\nid:email\n",
    "not in ASCII": "sep=\u00a6\nid\u00a6email\n".encode(),
    "after a byte-order mark": BOM + b"\nsep=:\nid:email\n",
    "nothing else": b"sep=:",
}


@pytest.mark.parametrize("data", OTHER_DELIMITERS.values(), ids=OTHER_DELIMITERS)
def test_a_spreadsheet_with_another_delimiter_is_refused(data: bytes) -> None:
    for packed in (data, gzip.compress(data)):
        with pytest.raises(FileUnusable) as raised:
            CsvFile.open(io.BytesIO(packed), LABEL)
        assert str(raised.value) == (
            f"{LABEL}: the first line (sep=…) names a delimiter other than a comma, semicolon, tab or |."
            " Make a new export."
        )


def test_a_header_that_only_looks_like_the_line_of_a_spreadsheet() -> None:
    assert read(b"sep=a,email\n1,x\n") == ([["sep=a", "email"]], [(1, [["1", "x"]])])
    assert read(b"sep=ab\n1\n") == ([["sep=ab"]], [(1, [["1"]])])
    assert read(b"id,email\nsep=,\n") == ([["id", "email"]], [(1, [["sep=", ""]])])


# --- the head of a file

SAMPLES: dict[str, tuple[bytes, bool, list[list[str]]]] = {
    # name: (head, whether it is the whole file, header and rows)
    "whole": (b"a,b\n1,2\n3,4\n", True, [["a", "b"], ["1", "2"], ["3", "4"]]),
    "whole, without a last line end": (b"a,b\n1,2\n3,4", True, [["a", "b"], ["1", "2"], ["3", "4"]]),
    "cut in a cell": (b"a,b\n1,2\n3,4", False, [["a", "b"], ["1", "2"]]),
    "cut in a row of the right width": (b"a,b\n1,2\n3,", False, [["a", "b"], ["1", "2"]]),
    "cut in quotes": (b'a,b\n1,2\n3,"4\n', False, [["a", "b"], ["1", "2"]]),
    "cut between two quotes": (b'a,b\n1,2\n3,"4"', False, [["a", "b"], ["1", "2"]]),
    "cut in a character": ("a,b\n1,2\n3,\u00e9".encode()[:-1], False, [["a", "b"], ["1", "2"]]),
    "cut in a character in quotes": ('a,b\n1,2\n3,"\u00e9'.encode()[:-1], False, [["a", "b"], ["1", "2"]]),
    "cut after NUL characters": (b"a,b\n1,2\n3,4\0\0", False, [["a", "b"], ["1", "2"]]),
    "cut, and NUL characters instead of a line end": (b"a,b\n1,2\0", False, [["a", "b"]]),
    "NUL characters are dropped": (b"\0a,b\n1\0,2\n\0", True, [["a", "b"], ["1", "2"]]),
    "a byte-order mark": (BOM + b"a,b\n1,2\n", True, [["a", "b"], ["1", "2"]]),
    "blank lines": (b"\n\na,b\n\r\n1,2\n\n", True, [["a", "b"], ["1", "2"]]),
    "CRLF": (b"a,b\r\n1,2\r\n", True, [["a", "b"], ["1", "2"]]),
    "line ends in quotes": (b'a,b\n1,"2\r\n3"\n', True, [["a", "b"], ["1", "2\r\n3"]]),
    "a row of another width is not used": (b"a,b\n1,2\n1,2,3\n", True, [["a", "b"], ["1", "2"]]),
    "rows after malformed quotes are not seen": (b'a,b\n1,2\n"x"y,3\n4,5\n', True, [["a", "b"], ["1", "2"]]),
}


@pytest.mark.parametrize(("head", "is_whole", "rows"), SAMPLES.values(), ids=SAMPLES)
def test_the_rows_of_a_head(head: bytes, rows: list[list[str]], *, is_whole: bool) -> None:
    sample = read_sample(head, is_whole=is_whole, label=LABEL)
    assert [sample.header, *sample.rows] == rows


UNREADABLE_HEADS = [b"a,b", b'"a,b\n1,2\n', b'a,"b', BOM[:2], b"a,\xc3"]


@pytest.mark.parametrize("head", UNREADABLE_HEADS)
def test_a_header_whose_end_was_not_seen_is_refused(head: bytes) -> None:
    with pytest.raises(FileUnusable, match="header"):
        read_sample(head, is_whole=False, label=LABEL)


ROWS = st.lists(
    st.lists(st.text(st.sampled_from('x,;"\n\r \u00e9\U0001f600\0'), max_size=5), min_size=2, max_size=2), max_size=4
)


def encoded(rows: list[list[str]], line_end: str) -> tuple[bytes, list[int]]:
    """Write a header and rows, NUL characters in cells included; return also where each row ends."""
    data, ends = b"", []
    for row in [["a", "b"], *rows]:
        text = io.StringIO(newline="")
        # Python 3.10 can't write NUL characters.
        kept = [cell.replace("\0", "\ue000") for cell in row]
        csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerow(kept)
        data += text.getvalue().replace("\ue000", "\0").encode()
        ends.append(len(data))
    return data, ends


def without_nuls(rows: list[list[str]]) -> list[list[str]]:
    """The rows as the tap reads them."""
    return [[cell.replace("\0", "") for cell in row] for row in rows]


def verify_cut(head: bytes, rows: list[list[str]], *, seen: int, is_whole: bool) -> None:
    """Verify the sample of a head in which the ends of `seen` rows were seen, the header included."""
    try:
        sample = read_sample(head, is_whole=is_whole, label=LABEL)
    except FileUnusable:
        assert seen <= 1
        return
    used = [sample.header, *sample.rows]
    assert used == [["a", "b"], *without_nuls(rows)][: len(used)]
    assert seen - 1 <= len(used) <= seen


@PROPERTY_SETTINGS
@given(rows=ROWS, line_end=st.sampled_from(["\n", "\r\n"]), bom=st.booleans(), nuls=st.integers(0, 3))
@example(rows=[["1", "2"]], line_end="\n", bom=True, nuls=2)
@example(rows=[['"', "\n"], ["\0", "\u00e9"]], line_end="\r\n", bom=False, nuls=0)
def test_a_row_whose_end_was_not_seen_is_never_used(
    rows: list[list[str]], line_end: str, nuls: int, *, bom: bool
) -> None:
    data, ends = encoded(rows, line_end)
    start = BOM if bom else b""
    for cut in range(len(data)):
        # CRLF ends a row with its CR already.
        seen = sum(end - len(line_end) < cut for end in ends)
        verify_cut(start + data[:cut] + b"\0" * nuls, rows, seen=seen, is_whole=False)
    verify_cut(start + data, rows, seen=len(ends), is_whole=True)


def test_a_header_longer_than_the_head_is_taken_from_the_file() -> None:
    sample = read_sample(b"id,em", is_whole=False, label=LABEL, header=["id", "email"])
    assert (sample.header, sample.rows, sample.is_whole) == (["id", "email"], [], False)


# --- packed heads


def members(parts: list[bytes]) -> bytes:
    """Pack each part into a gzip member of its own."""
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


TEXT = bytes(range(48, 112))
PACKED: dict[str, tuple[bytes, bytes, bool]] = {
    # name: (file, what is unpacked, whether that is all of it)
    "not packed": (b"id\n1", b"id\n1", True),
    "nothing": (b"", b"", True),
    "one member": (members([TEXT]), TEXT, True),
    "many members": (members([TEXT[at : at + 3] for at in range(0, len(TEXT), 3)]), TEXT, True),
    "empty members": (members([b"", b"ab", b"", b"", b"cd", b""]), b"abcd", True),
    "an empty member": (members([b""]), b"", True),
    "padded": (members([b"ab"]) + b"\0" * 20, b"ab", True),
    "padded between members": (members([b"ab"]) + b"\0" * 3 + members([b"cd"]), b"abcd", True),
    "cut": (members([b"ab"])[:-9], b"ab", False),
    "cut in the second member": (members([b"ab", b"cd"])[:-9], b"abcd", False),
    "with a wrong checksum": (members([b"ab"])[:-8] + b"\1" * 8, b"", False),
    "followed by garbage": (members([b"ab"]) + b"garbage", b"ab", False),
    "as large as a head": (members([b"x" * HEAD_SIZE]), b"x" * HEAD_SIZE, True),
    "larger than a head by one": (members([b"x" * (HEAD_SIZE + 1)]), b"x" * HEAD_SIZE, False),
    "larger than a head": (members([b"x" * 50_000] * 9), b"x" * HEAD_SIZE, False),
    "a member after a full head": (members([b"x" * HEAD_SIZE, b"y"]), b"x" * HEAD_SIZE, False),
    "a bomb": (members([b"x" * (1 << 24)]), b"x" * HEAD_SIZE, False),
    "many small members": (members([b"x" * 16] * 20_000), b"x" * HEAD_SIZE, False),
}


@pytest.mark.parametrize(("data", "unpacked", "is_all"), PACKED.values(), ids=PACKED)
def test_what_is_unpacked_of_a_head(data: bytes, unpacked: bytes, *, is_all: bool) -> None:
    assert unpack_head(data, is_whole=True) == (unpacked, is_all)
    head, is_whole = unpack_head(data, is_whole=False)
    assert (head, is_whole) == (unpacked, False)


# --- whole files

READ: dict[str, tuple[bytes, list[list[str]]]] = {
    "LF": (b"a,b\n1,2\n3,4\n", [["1", "2"], ["3", "4"]]),
    "CRLF": (b"a,b\r\n1,2\r\n3,4\r\n", [["1", "2"], ["3", "4"]]),
    "without a last line end": (b"a,b\n1,2", [["1", "2"]]),
    "no rows": (b"a,b\n", []),
    "blank lines are skipped": (b"\na,b\n\n1,2\r\n\r\n\n3,4\n\n", [["1", "2"], ["3", "4"]]),
    "quotes": (b'a,b\n"1, ""x""","2\n\n3"\n', [['1, "x"', "2\n\n3"]]),
    "blanks are kept": (b"a,b\n 1 ,\t\n", [[" 1 ", "\t"]]),
    "empty cells": (b'a,b\n,\n"",""\n', [["", ""], ["", ""]]),
    "a bare quote": (b'a,b\n1"2,3"\n"4",5"6"\n', [['1"2', '3"'], ["4", '5"6"']]),
    "a byte-order mark only at the start": (BOM + b"a,b\n" + BOM + b"1,2\n", [["\ufeff1", "2"]]),
    "NUL characters are dropped": (b"a,b\n1\0,\0\n\0", [["1", ""]]),
    "other line ends are none": (
        "a,b\n1\u2028,2\x0b\n\x85,\x0c\n".encode(),
        [["1\u2028", "2\x0b"], ["\x85", "\x0c"]],
    ),
    "not in ASCII": ("a,b\n\u00e9,\U0001f600\n".encode(), [["\u00e9", "\U0001f600"]]),
}


@pytest.mark.parametrize(("data", "rows"), READ.values(), ids=READ)
def test_the_rows_of_a_file(data: bytes, rows: list[list[str]]) -> None:
    for packed in (data, gzip.compress(data), members([data[at : at + 3] for at in range(0, len(data), 3)])):
        header, chunks = read(packed)
        assert header == [["a", "b"]]
        assert [row for _, chunk in chunks for row in chunk] == rows


@pytest.mark.parametrize(("data", "rows"), READ.values(), ids=READ)
@pytest.mark.parametrize("size", [9, 10, 11, 16])
def test_the_size_of_a_block_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, data: bytes, rows: list[list[str]], size: int
) -> None:
    monkeypatch.setattr("tap_dynamic.file.reader.HEAD_SIZE", size)
    file = CsvFile.open(io.BytesIO(data), LABEL)
    assert file.sample.rows == rows[: len(file.sample.rows)]
    assert [row for _, chunk in file.chunks() for row in chunk] == rows
    assert file.dropped_nuls == data.count(0)


def test_rows_are_numbered_and_can_be_read_again() -> None:
    file = CsvFile.open(io.BytesIO(b"a\n\n1\n2\n\n3\n4\n5\n"), LABEL)
    for _ in range(2):
        assert list(file.chunks(2)) == [(1, [["1"], ["2"]]), (3, [["3"], ["4"]]), (5, [["5"]])]


def read_until_error(data: bytes, count: int = 250) -> tuple[list[list[str]], str | None]:
    """The rows before the first malformed one, and its error."""
    file = CsvFile.open(io.BytesIO(data), LABEL)
    found: list[list[str]] = []
    try:
        for number, rows in file.chunks(count):
            assert number == len(found) + 1
            found += rows
    except TapError as error:
        return found, str(error)
    return found, None


MALFORMED: dict[str, tuple[bytes, int, str]] = {
    # name: (rows after the header a,b; the rows before the malformed one; the error)
    "a field too few": (b"1,2\n3\n", 1, "row 2: 1 field, where the header has 2"),
    "fields too many": (b"1,2,3\n", 0, "row 1: 3 fields, where the header has 2"),
    "an unclosed quote": (b'1,2\n3,4\n5,"6\n7,8\n', 2, "row 3: an unclosed quote"),
    "a quote in a quoted cell": (b'1,2\n3,"4"5\n', 1, "row 2: malformed quotes"),
    "invalid UTF-8": (b"1,2\n3,\xff\n5,6\n", 1, "row 2: bytes that are not UTF-8"),
    "Latin-1": ("1,2\n3,\u00e9\n".encode("latin-1"), 1, "row 2: bytes that are not UTF-8"),
    "a surrogate": (b"1,\xed\xa0\x80\n", 0, "row 1: bytes that are not UTF-8"),
    "a character that is cut": ("1,2\n3,\u00e9".encode()[:-1], 1, "row 2: bytes that are not UTF-8"),
    "blank lines are not counted": (b"\n1,2\n\n\n3\n", 1, "row 2: 1 field, where the header has 2"),
    "the first of two": (b'1,2\n3\n5,"6', 1, "row 2: 1 field, where the header has 2"),
    "two at once": (b"1,2\n3,\xff\n5\n", 1, "row 2: bytes that are not UTF-8"),
}


@pytest.mark.parametrize(("rows", "before", "problem"), MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("count", [1, 2, 250])
def test_a_malformed_row_fails_after_those_before(rows: bytes, before: int, problem: str, count: int) -> None:
    for data in (b"a,b\n" + rows, gzip.compress(b"a,b\n" + rows)):
        found, message = read_until_error(data, count)
        assert found == [["1", "2"], ["3", "4"]][:before]
        assert message == f"{LABEL}, {problem}."


@pytest.mark.parametrize("header", [b'"a,b\n1,2\n', b'"a"b,c\n1,2\n', b"a,\xff\n1,2\n"])
def test_a_malformed_header_fails_before_the_first_row(header: bytes) -> None:
    with pytest.raises(TapError, match=f"^{LABEL}, the header: "):
        CsvFile.open(io.BytesIO(header), LABEL)


@pytest.mark.parametrize("place", [10, 30, -9, -1])
def test_damaged_gzip_gives_no_row(place: int) -> None:
    packed = bytearray(gzip.compress(b"a,b\n" + b"".join(b"%d,x\n" % n for n in range(99_999)), mtime=0))
    for damaged in (packed[:place], packed[:place] + bytes([packed[place] ^ 255]) + packed[place:][1:]):
        with pytest.raises(TapError, match="damaged gzip data"):
            CsvFile.open(io.BytesIO(bytes(damaged)), LABEL)


SIZES: dict[str, tuple[list[int], str | None]] = {
    # name: (sizes of the two cells of row 2; the error)
    "16 MiB": ([MAX_FIELD, 1], None),
    "one character more": ([MAX_FIELD + 1, 1], "row 2: a field over 16 MiB"),
    "two fields below 16 MiB": ([13 << 20, 13 << 20], None),
}


@pytest.mark.parametrize(("sizes", "problem"), SIZES.values(), ids=SIZES)
def test_fields_up_to_16_mib_are_read(sizes: list[int], problem: str | None) -> None:
    data = b"a,b\n1,2\n" + b",".join(b"x" * size for size in sizes) + b"\n5,6\n"
    rows, message = read_until_error(data)
    found = [[len(cell) for cell in row] for row in rows]
    if problem is None:
        assert (message, found) == (None, [[1, 1], sizes, [1, 1]])
    else:
        assert (message or "").startswith(f"{LABEL}, {problem}")
        assert found == [[1, 1]]


BARE_QUOTES: dict[str, tuple[bytes, str | None]] = {
    # name: (a row of a,b; the error)
    "a bare quote": (b'1"2,x', None),
    "a quote after a quoted cell": (b'"1"2,x', "malformed quotes"),
    "bare quotes in both": (b'1"2,x"y"', None),
    "a comma after a bare quote": (b'1"2,3"4,5', "3 fields, where the header has 2"),
}


@pytest.mark.parametrize(("row", "problem"), BARE_QUOTES.values(), ids=BARE_QUOTES)
@pytest.mark.parametrize("size", [10, CHUNK_SIZE - 10, CHUNK_SIZE + 10])
def test_equal_rows_are_read_alike_wherever_they_stand(row: bytes, problem: str | None, size: int) -> None:
    """A row does not depend on those before it, nor on the chunk that it is in."""
    large = b'9,"' + b",\n" * (size // 2) + b'"\n'
    for before in (large, large * 2, b"8,x\n" * 249, b'7,"\n"\n' + large + b"8,x\n"):
        rows, message = read_until_error(b"a,b\n" + before + row + b"\n5,6\n")
        number = before.count(b"9,") + before.count(b"8,") + before.count(b"7,") + 1
        if problem is None:
            assert (message, rows[-2:][1]) == (None, ["5", "6"])
        else:
            assert message == f"{LABEL}, row {number}: {problem}."
            assert len(rows) == number - 1


def test_a_chunk_ends_after_about_1_mib() -> None:
    for size, expected in ((1000, 250), (5000, 210), (CHUNK_SIZE // 2, 3), (CHUNK_SIZE * 2, 1)):
        data = b"a,b\n" + (b"1," + b"x" * (size - 3) + b"\n") * 300
        file = CsvFile.open(io.BytesIO(data[: 16 << 20]), LABEL)
        assert len(next(file.chunks())[1]) == expected


CELL = st.text(st.sampled_from('x,|"\n'), max_size=6)


@PROPERTY_SETTINGS
@given(cells=st.lists(CELL, min_size=1, max_size=9), bare=st.lists(st.booleans()), mark=st.sampled_from(",|"))
@example(cells=['""', ",", '"'], bare=[], mark=",")
@example(cells=['x"', ",", 'x""', ","], bare=[True, False, True, False], mark=",")
def test_the_fields_of_a_line_are_counted_as_they_are_parsed(cells: list[str], bare: list[bool], mark: str) -> None:
    fields = [
        cell if is_bare and cell[:1] == "x" and not set(cell) & {mark, "\n"} else '"{}"'.format(cell.replace('"', '""'))
        for cell, is_bare in zip(cells, [*bare, *[False] * len(cells)])
    ]
    lines = list(io.StringIO(mark.join(fields) + "\n", newline=""))
    counts = [count_separators(line, mark, is_quoted=index > 0) for index, line in enumerate(lines)]
    assert next(csv.reader(lines, delimiter=mark, strict=True)) == cells
    assert sum(counts) == len(cells) - 1


def test_a_long_cell_after_the_last_delimiter_takes_no_time() -> None:
    assert count_separators("a," + "x" * 1_000_000, ",", is_quoted=False) == 1


IN_JSON: dict[str, tuple[list[str], str]] = {
    # A row whose JSON is just short enough, and the cell that makes it too long.
    "ASCII": (["x" * 2**25], "x"),
    "control characters": (["x", "\x01" * (2**25 // 6)], "x"),
    "quotes": (['"' * 2**23, "\\" * 2**23], "x"),
    "beyond ASCII": (["\x7f\xa0\u2028\U0001f600" * (2**25 // 10)], "\n"),
    "two bytes": (["\xa0" * 2**24], "x"),
    "three bytes": (["x", "\u20ac" * (2**25 // 3)], "x"),
}


@pytest.mark.parametrize(("row", "more"), IN_JSON.values(), ids=IN_JSON)
def test_a_row_is_measured_as_json(row: list[str], more: str) -> None:
    assert MAX_ROW - 10 < len(msgspec.json.encode("".join(row))) - 2 <= MAX_ROW
    assert not is_long_in_json(row)
    assert is_long_in_json([*row, more * 10])


TOO_MANY: dict[str, bytes] = {
    "in a row": b"a,b\n1,2\n" + b"ab," * 400_000 + b"\n",
    "in a row after a quoted cell": b'a,b\n1,2\n"' + b",\n" * CHUNK_SIZE + b'",' + b"ab," * 400_000 + b"\n",
    "after a bare quote": b'a,b\n1,2\nx"y,' + b"ab," * 400_000 + b"\n",
    "on several lines": b"a,b\n1,2\n" + b'"\n",' * 400_000 + b"\n",
}


@pytest.mark.parametrize("data", TOO_MANY.values(), ids=TOO_MANY)
def test_a_large_row_of_many_fields_is_refused_before_it_is_parsed(data: bytes) -> None:
    assert read_until_error(data) == ([["1", "2"]], f"{LABEL}, row 2: more than 65,536 fields.")


def test_a_header_has_at_most_65536_columns() -> None:
    names = [f"c{i}" for i in range(MAX_COLUMNS)]
    assert CsvFile.open(io.BytesIO(",".join(names).encode()), LABEL).header == names
    for more in (1, 400_000):
        with pytest.raises(TapError, match="the header: more than 65,536 fields"):
            CsvFile.open(io.BytesIO(",".join(names + ["ab"] * more).encode()), LABEL)


def test_an_unclosed_quote_in_a_large_file_names_its_row() -> None:
    data = b'a,b\n1,2\n3,"4\n' + (b"5," + b"x" * 997 + b"\n") * 17_000
    found, message = read_until_error(data)
    assert found == [["1", "2"]]
    assert (message or "").startswith(f"{LABEL}, row 2: a field over 16 MiB, most likely an unclosed quote")
