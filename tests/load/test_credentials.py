"""A row is a verified credential, and a user without any has one as well: its key, and what a night changes."""

from __future__ import annotations

import copy
import gzip
import itertools
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from sandbox.data import to_csv
from tap_dynamic.load.changes import Earlier, find_changes
from tap_dynamic.load.index import RowIndex
from tap_dynamic.table.fit import fit_layout
from tap_dynamic.table.layout import KnownTable, StreamCatalog
from tests.builders import csv_file
from tests.conftest import select

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Message, Run, Tap

PAIR = ["user_id", "verified_credential_id"]
FALLBACK = ["_sdc_export_id", "_sdc_row_number"]
Key = tuple[str, ...]


def rows_of(run: Run) -> list[Message]:
    """Return the rows of users, from RECORD messages or BATCH files."""
    assert run.code == 0, run.log
    rows = run.records("users")
    for path in (Path(urlsplit(url).path) for m in run.of("BATCH", "users") for url in m["manifest"]):
        if path.suffix == ".gz":
            rows += map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
        else:
            rows += pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    return rows


def key_of(row: Message) -> tuple[Any, ...]:
    return tuple(row[name] for name in PAIR)


def key_warnings(run: Run) -> list[str]:
    return [warning for warning in run.warnings if "key" in warning]


def is_nullable(run: Run, name: str) -> bool:
    return "null" in run.of("SCHEMA", "users")[-1]["schema"]["properties"][name]["type"]


# --- the key of a user without a credential

MAPS: dict[str, Message] = {
    "plain": {},
    "mapped": {"stream_maps": {"users": {"user_email": "md5(user_email) if user_email else None"}}},
    "a mapped key": {"stream_maps": {"users": {name: f"{name}.lower()" for name in PAIR}}},
    "flattened": {"flattening_enabled": True, "flattening_max_depth": 1},
    "mapped and flattened": {
        "stream_maps": {"users": {"copy": "verified_credential_id"}},
        "flattening_enabled": True,
        "flattening_max_depth": 1,
    },
}
HEADER = [*PAIR, "user_email", "user_metadata"]
TWO_NIGHTS = (
    [["1", "x", "a", ""], ["1", "y", "a", ""], ["2", "", "b", "{}"], ["3", "", "c", ""]],
    # The second user has a first credential, the third one is gone, and the fourth is new.
    [["1", "x", "a", ""], ["1", "y", "a", ""], ["2", "z", "b", "{}"], ["4", "", "d", ""]],
)


ROADS = [*((maps, None) for maps in MAPS), *itertools.product(["plain", "mapped"], ["jsonl", "parquet"])]


@pytest.mark.parametrize(("maps", "encoding"), ROADS)
def test_the_key_of_a_user_without_a_credential_is_not_null(
    sandbox: Sandbox, tap: Tap, tmp_path: Path, maps: str, encoding: str | None
) -> None:
    if encoding == "parquet":
        pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    storage = {"encoding": {"format": encoding}, "storage": {"root": str(tmp_path)}, "batch_size": 2}
    settings: Message = {**MAPS[maps], "changes_only": True, **({"batch_config": storage} if encoding else {})}
    state: Message = {}
    found = []
    for table in TWO_NIGHTS:
        sandbox.add("users", to_csv([HEADER, *table]))
        run = tap(_state=state, **settings)
        found.append({key_of(row): row["_sdc_deleted_at"] is not None for row in rows_of(run)})
        assert run.of("SCHEMA", "users")[-1]["key_properties"] == PAIR
        # The SDK declares every text that an expression makes as nullable.
        assert maps == "a mapped key" or not any(is_nullable(run, name) for name in PAIR)
        state = run.state
    assert found == [
        {("1", "x"): False, ("1", "y"): False, ("2", ""): False, ("3", ""): False},
        {("2", ""): True, ("2", "z"): False, ("3", ""): True, ("4", ""): False},
    ]


def test_the_first_column_of_the_key_is_that_of_the_key_not_of_the_file(sandbox: Sandbox, tap: Tap) -> None:
    for table in TWO_NIGHTS:
        sandbox.add("users", to_csv([row[::-1] for row in [HEADER, *table]]))
    run = tap(snapshots="all", changes_only=True)
    assert len(rows_of(run)) == 8
    assert not key_warnings(run)
    assert {tuple(m["key_properties"]) for m in run.of("SCHEMA", "users")} == {tuple(PAIR)}


CATALOGS = ["discovered", "of an environment without exports", "without a key", "only the key in the schema"]


@pytest.mark.parametrize("origin", CATALOGS)
def test_every_catalog_has_that_key(sandbox: Sandbox, tap: Tap, documented: Message, origin: str) -> None:
    """Also where the user without a credential is beyond the head of the file."""
    rows = [[str(n), f"c{n}", "x" * 120] for n in range(3000)]
    sandbox.add("users", to_csv([[*PAIR, "user_alias"], *rows, ["u", "", ""], ["v", "", ""]]))
    catalog = copy.deepcopy(documented) if "environment" in origin else select(tap.discover(), "users")
    users = next(entry for entry in catalog["streams"] if entry["stream"] == "users")
    assert users["key_properties"] == PAIR
    if origin in {"without a key", "only the key in the schema"}:
        del users["key_properties"]
        del next(item for item in users["metadata"] if not item["breadcrumb"])["metadata"]["table-key-properties"]
    if origin == "only the key in the schema":
        for name in list(users["schema"]["properties"]):
            if name not in PAIR:
                del users["schema"]["properties"][name]
    run = tap(_catalog=catalog)
    assert [key_of(row) for row in rows_of(run)][-2:] == [("u", ""), ("v", "")]
    assert run.of("SCHEMA", "users")[-1]["key_properties"] == PAIR
    assert not any(is_nullable(run, name) for name in PAIR)
    assert not key_warnings(run)


# --- what a night changes

DAY, NEXT = "2026-01-02T03:04:05.000Z", "2026-01-03T03:04:05.000Z"
LOGIN = ("user_lastVisit", "user_updatedAt", "verified_credential_lastSelectedAt")
COLUMNS = [*PAIR, "user_email", *LOGIN]


def user(key: str, *credentials: str, seen: str = DAY, email: str = "a") -> list[list[str]]:
    """The rows of a user."""
    return [[key, credential, email, seen, seen, seen] for credential in credentials or [""]]


ONE = user("1", "wallet", "email")
OTHERS = [*user("2", "wallet"), *user("3")]
EVENTS: dict[str, tuple[list[list[str]], list[list[str]], tuple[str, ...], dict[Key, bool]]] = {
    # name: (rows before, rows after, deselected columns, the keys that are sent, and whether they are deleted)
    "a wallet is unlinked": (ONE, user("1", "email"), (), {("1", "wallet"): True}),
    "a wallet is linked": (user("1", "email"), ONE, (), {("1", "wallet"): False}),
    "a first credential": (user("1"), user("1", "email"), (), {("1", ""): True, ("1", "email"): False}),
    "the last credential is gone": (user("1", "email"), user("1"), (), {("1", "email"): True, ("1", ""): False}),
    "a wallet moves to another user": (
        user("1", "wallet"),
        user("4", "wallet"),
        (),
        {("1", "wallet"): True, ("4", "wallet"): False},
    ),
    "a login": (ONE, user("1", "wallet", "email", seen=NEXT), (), {("1", "wallet"): False, ("1", "email"): False}),
    "a login of a user without a credential": (user("1"), user("1", seen=NEXT), (), {("1", ""): False}),
    "a login where its columns are deselected": (ONE, user("1", "wallet", "email", seen=NEXT), LOGIN, {}),
    "another e-mail address": (
        ONE,
        user("1", "wallet", "email", email="b"),
        LOGIN,
        {("1", "wallet"): False, ("1", "email"): False},
    ),
    "a user is gone": (ONE, [], (), {("1", "wallet"): True, ("1", "email"): True}),
    "a user without a credential is gone": (user("1"), [], (), {("1", ""): True}),
    "another order": (ONE, ONE[::-1], (), {}),
}


@pytest.mark.parametrize("name", EVENTS)
def test_what_differs_in_a_night(name: str) -> None:
    before, after, without, sent = EVENTS[name]
    files = [csv_file(*map(",".join, [COLUMNS, *rows])) for rows in ([*OTHERS, *before], [*after, *OTHERS])]
    properties: dict[str, Any] = {name: {"type": ["string", "null"]} for name in COLUMNS}
    catalog = StreamCatalog(properties, frozenset(without))
    sdc: dict[str, Any] = {"_sdc_exported_at": {"type": "string"}}
    layout = fit_layout(files[1].sample, catalog, KnownTable(), sdc, PAIR)
    with RowIndex("x") as index:
        changes = find_changes(files[1], [Earlier(files[0])], layout, index, logging.getLogger())
        gone = [tuple(([*OTHERS, *before])[number - 1][:2]) for rows in changes.gone for number in rows.numbers()]
        emitted = [tuple([*after, *OTHERS][number - 1][:2]) for number in changes.emitted.numbers()]
    assert {**dict.fromkeys(gone, True), **dict.fromkeys(emitted, False)} == sent
    assert len(sent) == len(gone) + len(emitted)


# --- tables of the earlier shape


@pytest.mark.parametrize("changes", [False, True], ids=["all rows", "changes"])
def test_a_table_without_a_key_goes_on_and_one_line_says_how_to_start_afresh(
    sandbox: Sandbox, tap: Tap, *, changes: bool
) -> None:
    table = [HEADER, *TWO_NIGHTS[0]]
    sandbox.add("users", to_csv(table))
    catalog = select(tap.discover(), "users")
    earlier = copy.deepcopy(catalog)
    for item in next(entry for entry in earlier["streams"] if entry["stream"] == "users")["metadata"]:
        if not item["breadcrumb"]:
            item["metadata"]["table-key-properties"] = FALLBACK
    settings: dict[str, Any] = {"_catalog": catalog, "changes_only": changes}
    state = tap(**{**settings, "_catalog": earlier}).state
    for _ in range(2):
        export = sandbox.add("users", to_csv(table))
        run = tap(**settings, _state=state)
        assert [key_of(row) for row in rows_of(run)] == [(row[0], row[1] or None) for row in table[1:]]
        assert run.of("SCHEMA", "users")[-1]["key_properties"] == FALLBACK
        (warning,) = run.warnings
        assert warning.startswith(f"Export {export.id}: the key of the table is {', '.join(FALLBACK)}")
        assert f"to have the key {', '.join(PAIR)}, load into a new table (--full-refresh)." in warning
        state = run.state
    afresh = tap(**settings)
    assert afresh.of("SCHEMA", "users")[-1]["key_properties"] == PAIR
    assert not afresh.warnings
