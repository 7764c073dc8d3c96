"""End-to-end tests with Meltano and real targets."""

from __future__ import annotations

import csv
import difflib
import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from sandbox.data import HEADERS, csv_file, to_csv, user_rows
from tap_dynamic.settings import CONFIG_SCHEMA
from tests.conftest import ROOT, table
from tests.meltano_project import FILLED_KEY, finish

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandbox.server import Sandbox
    from tests.conftest import Tap
    from tests.meltano_project import Postgres, Project

USERS, VISITS = csv_file("users", 500), csv_file("visits", 900)
RUN = ("run", "tap-dynamic", "target-duckdb")
PAIR = ["user_id", "verified_credential_id"]
KEY_PLACES = [HEADERS["users"].index(name) for name in PAIR]
ENABLED = "verified_credential_signInEnabled"


def test_nightly_runs_into_duckdb(project: Project, sandbox: Sandbox) -> None:
    settings = {**sandbox.variables, "TAP_DYNAMIC_CHANGES_ONLY": "true", "TAP_DYNAMIC_READ_TIMEOUT": "29.5"}
    settings["TAP_DYNAMIC_STREAM_MAPS"] = json.dumps(FILLED_KEY)
    sandbox.add("users", status="failed")
    sandbox.add("users", USERS)
    sandbox.add("visits", VISITS)
    project(*RUN, **settings)
    columns = list(table(USERS)[0])
    names = ("user_id", "verified_credential_id", "user_email", "verified_credential_address")
    loaded = project.duckdb(f"select {', '.join(names)}, user_metadata from dynamic.users order by _sdc_row_number")
    assert [row[:4] for row in loaded] == [
        [row[n] or ("none" if n == PAIR[1] else None) for n in names] for row in table(USERS)
    ]
    assert [row[4] and json.loads(row[4]) for row in loaded] == [
        json.loads(row["user_metadata"] or "null") for row in table(USERS)
    ]
    kinds = dict(
        project.duckdb("select column_name, data_type from information_schema.columns where table_name='users'")
    )
    assert {name.lower() for name in columns} <= set(kinds)
    assert (kinds["user_createdat"], kinds["verified_credential_signinenabled"], kinds["user_metadata"]) == (
        "TIMESTAMP",
        "BOOLEAN",
        "JSON",
    )
    counts = "select (select count(*) from dynamic.visits), (select count(*) from dynamic.exports)"
    assert project.duckdb(counts) == [[900, 3]]

    # A newer export: a row is gone, another is new, and there is a new column.
    header, first, *rest = csv.reader(io.StringIO(USERS.decode("utf-8-sig"), newline=""))
    new = ["00000000-0000-4000-8000-000000000000", *first[1:]]
    sandbox.add("users", to_csv([[*header, "tier"], *([*row, "gold"] for row in [*rest, new])]))
    log = project(*RUN, **settings)
    assert "columns, types, key or maps differ" in log
    alive = "select count(*), count(tier) from dynamic.users where _sdc_deleted_at is null"
    assert project.duckdb(alive) == [[500, 500]]
    project("run", "--full-refresh", *RUN[1:], **settings)
    assert project.duckdb(alive) == [[500, 500]]


def test_elt(project: Project, sandbox: Sandbox) -> None:
    sandbox.add("users", USERS)
    sandbox.add("visits", VISITS)
    project("elt", "tap-dynamic", "target-jsonl", **sandbox.variables)
    lines = {p.stem: p.read_text().splitlines() for p in project.output.glob("*.jsonl")}
    assert {name: len(rows) for name, rows in lines.items()} == {"exports": 2, "users": 500, "visits": 900}
    assert not any("downloadUrl" in line for line in lines["exports"])


def test_bad_settings_are_named(project: Project, sandbox: Sandbox) -> None:
    bad = {"TAP_DYNAMIC_SNAPSHOTS": "newest", "TAP_DYNAMIC_POLL_INTERVAL": "soon"}
    log = project.fail("run", "tap-dynamic", "target-jsonl", **{**sandbox.variables, **bad})
    assert "Setting snapshots must be one of latest, all." in log
    assert "Setting poll_interval must be of type number." in log
    assert "Traceback" not in log
    assert not sandbox.requests


def test_a_setting_changes_one_line_of_the_project_file(project: Project) -> None:
    file = project.folder / "meltano.yml"
    file.write_text((ROOT / "meltano.yml").read_text())
    before = file.read_text().splitlines()
    project("config", "set", "tap-dynamic", "poll_interval", "0.25")
    added = [line for line in difflib.ndiff(before, file.read_text().splitlines()) if line[0] in "+-"]
    assert added == ["+     config:", "+       poll_interval: '0.25'"]


def test_types_keys_and_unusual_headers(project: Project, tap: Tap, sandbox: Sandbox, postgres: Postgres) -> None:
    """The example of docs/columns.md: types set by the user, and a user-defined key."""
    names = [
        "user_id",
        *(f"verified_credential_{name}" for name in ("id", "walletAdditionalAddresses", "signInEnabled")),
        "any column",
    ]
    sandbox.add("users", to_csv([names, ["1", "a", '["x"]', "true", "red"], ["1", "b", "", "", ""]]))
    header = ["id", "e.mail", "Größe 📏", "a b", "", "a b", "A B", "select"]
    sandbox.add("visits", to_csv([header, [str(n) for n in range(8)]]))
    example = (ROOT / "docs" / "columns.md").read_text().split("```yaml\n")[1].split("```")[0]
    project.edit(**yaml.safe_load(example))
    project(*RUN, **sandbox.variables)
    columns = ", ".join(f'"{name}"' for name in names)
    assert project.duckdb(f"select {columns} from dynamic.users order by verified_credential_id") == [
        ["1", "a", '["x"]', "true", "red"],
        ["1", "b", None, None, None],
    ]
    kinds = dict(project.duckdb("select column_name, data_type from information_schema.columns"))
    assert (kinds[names[2].lower()], kinds[names[3].lower()]) == ("JSON", "VARCHAR")
    # The key that the example sets: each export adds its rows.
    sandbox.add("visits", to_csv([header, [str(n) for n in range(8)]]))
    project(*RUN, **sandbox.variables)
    assert project.duckdb("select count(*), count(distinct id) from dynamic.visits") == [[2, 1]]
    query = 'select id, "e.mail", "{}", "a b", column_5, "a b_2", "{}", "select" from dynamic.visits limit 1'
    rows = project.duckdb(query.format("größe 📏", "a b_3"))
    assert rows == [[str(n) for n in range(8)]]
    project.feed("target-postgres", tap().out, **postgres.config)
    assert postgres.query(query.format("Größe 📏", "A B_3")) == rows


def test_column_drift_into_duckdb(project: Project, tap: Tap, sandbox: Sandbox) -> None:
    """No export, the first one, a new custom field, a removed column, a column whose type changes."""
    state: dict[str, Any] = {}

    def load(*rows: list[str], columns: str) -> list[list[Any]]:
        sandbox.add("users", to_csv(list(rows)))
        run = tap(_state=state)
        assert run.code == 0
        state.update(run.state)
        project.feed("target-duckdb", run.out, filepath=str(file), default_target_schema="dynamic")
        return project.duckdb(f"select {columns} from dynamic.users order by user_id")

    file = project.output / "warehouse.duckdb"
    empty = tap()
    project.feed("target-duckdb", empty.out, filepath=str(file), default_target_schema="dynamic")
    state.update(empty.state)
    assert load(["user_id", "user_alias", ENABLED], ["1", "a", "true"], columns=f"user_id, user_alias, {ENABLED}") == [
        ["1", "a", True]
    ]
    assert load(
        ["user_id", "user_alias", ENABLED, "tier"],
        ["1", "a", "true", "x"],
        ["2", "b", "false", "y"],
        columns=f"user_id, user_alias, {ENABLED}, tier",
    ) == [["1", "a", True, "x"], ["2", "b", False, "y"]]
    assert load(["tier", "user_id", ENABLED], ["z", "1", "false"], columns=f"user_id, {ENABLED}, tier") == [
        ["1", False, "z"],
        ["2", False, "y"],
    ]
    assert load(["user_id", ENABLED], ["3", "perhaps"], columns="user_id") == [["1"], ["2"], ["3"]]


def test_extractors_that_inherit_run_side_by_side(project: Project, sandbox: Sandbox) -> None:
    """The examples of docs/meltano.md: two streams at the same time, each with its own state."""
    users, visits = 3, 4
    page = (ROOT / "docs" / "meltano.md").read_text()
    content = project.edit()
    examples = [yaml.safe_load(block.split("```")[0]) for block in page.split("```yaml\n")[1:]]
    side_by_side = next(e for e in examples if "tap-dynamic-users" in str(e))
    environments = next(e for e in examples if "tap-dynamic-sandbox" in str(e))
    for example in (side_by_side, environments):
        content["plugins"]["extractors"] += example["plugins"]["extractors"]
    (project.folder / "meltano.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    for _ in range(2):
        users, visits = users + 10, visits + 10
        sandbox.add("users", csv_file("users", users))
        sandbox.add("visits", csv_file("visits", visits))
        for file in project.output.glob("*.jsonl"):
            file.unlink()
        runs = [
            project.start("run", f"tap-dynamic-{stream}", "target-jsonl", **sandbox.variables)
            for stream in ("users", "visits")
        ]
        for run in runs:
            finish(run)
        lines = {p.stem: len(p.read_text().splitlines()) for p in project.output.glob("*.jsonl")}
        assert (lines["users"], lines["visits"]) == (users, visits)
    states = project("state", "list")
    assert "dev:tap-dynamic-users-to-target-jsonl" in states
    assert "dev:tap-dynamic-visits-to-target-jsonl" in states
    # The variables of its own name take precedence.
    other = {"TAP_DYNAMIC_SANDBOX_ENVIRONMENT_ID": "22222222-2222-4333-8444-555555555555"}
    config = project("config", "print", "tap-dynamic-sandbox", **sandbox.variables, **other)
    assert '"environment_id": "22222222-2222-4333-8444-555555555555"' in config


def test_into_csv(project: Project, tap: Tap, sandbox: Sandbox) -> None:
    sandbox.add("users", USERS)
    project.feed("target-csv", tap().out, output_path=str(project.output))
    rows = table((project.output / "users.csv").read_bytes())
    for name in (*PAIR, "user_username"):
        assert [row[name] for row in rows] == [row[name] for row in table(USERS)]


def test_records_and_batches_into_postgresql(project: Project, tap: Tap, sandbox: Sandbox, postgres: Postgres) -> None:
    sandbox.add("users", USERS)
    storage = {"root": f"file://{project.folder}/batches"}
    run = tap(
        batch_config={"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": storage, "batch_size": 250}
    )
    assert len(run.of("BATCH", "users")) == 2
    project.feed("target-postgres", run.out, **postgres.config)
    query = (
        'select user_id, verified_credential_id, user_metadata, user_email, "user_createdAt", _sdc_row_number'
        " from dynamic.users order by 6"
    )
    batched = postgres.query(query)
    assert len(batched) == 500
    postgres.query("drop schema dynamic cascade")
    project.feed("target-postgres", tap().out, **postgres.config)
    assert postgres.query(query) == batched

    kinds = dict(
        postgres.query("select column_name, data_type from information_schema.columns where table_name = 'users'")
    )
    wanted = {
        "user_createdAt": "timestamp without time zone",
        ENABLED: "boolean",
        "user_metadata": "jsonb",
        "verified_credential_walletAdditionalAddresses": "text",
        "user_email": "text",
        "_sdc_row_number": "bigint",
    }
    assert {name: kinds.get(name, "") for name in wanted} == wanted
    second = table(USERS)[1]
    created = (second["user_createdAt"] or "").replace("T", " ").rstrip("Z").rstrip("0").rstrip(".")
    assert batched[1][3:5] == [second["user_email"] or "", created]


def test_removed_users_are_removed_from_postgresql(
    project: Project, tap: Tap, sandbox: Sandbox, postgres: Postgres
) -> None:
    """ACTIVATE_VERSION messages."""
    state: dict[str, Any] = {}
    messages = []

    def load(rows: list[list[str]], code: int) -> list[list[str]]:
        sandbox.add("users", to_csv([["user_id", "user_email"], *rows]))
        run = tap(emit_activate_version_messages=True, _state=state)
        assert run.code == code
        messages.append(run.out)
        state.update(run.state)
        project.feed("target-postgres", run.out, **postgres.config, hard_delete=True)
        return postgres.query("select user_id, user_email from dynamic.users order by user_id")

    assert load([["1", "a"], ["2", "b"], ["3", "c"]], 0) == [["1", "a"], ["2", "b"], ["3", "c"]]
    assert load([["1", "a"], ["3", "changed"]], 0) == [["1", "a"], ["3", "changed"]]
    assert load([["1"]], 1) == [["1", "a"], ["3", "changed"]]  # a malformed export removes nobody

    postgres.query("drop schema dynamic cascade")
    project.feed("target-postgres", "".join(messages), **postgres.config, hard_delete=False)
    query = "select user_id, _sdc_deleted_at is null from dynamic.users order by user_id"
    assert postgres.query(query) == [["1", "t"], ["2", "f"], ["3", "t"]]


NIGHTS = [
    [["1", "a"], ["2", "b"], ["3", "c"]],
    [["1", "a"], ["3", "changed"], ["4", "d"]],
    [["1", "a"], ["2", "back"], ["4", "d"]],
]
"""A user is changed, one is deleted and returns, one is added, one is deleted."""


@pytest.fixture
def nights(tap: Tap, sandbox: Sandbox) -> list[str]:
    """The messages of runs with `changes_only`."""
    state: dict[str, Any] = {}
    messages = []
    for rows in NIGHTS:
        sandbox.add("users", to_csv([["user_id", "user_email"], *rows]))
        run = tap(changes_only=True, _state=state)
        assert run.code == 0
        messages.append(run.out)
        state = run.state
    assert len(run.records("users")) == 2
    assert "users: 1 export read, 2 rows (1 added, 0 changed, 1 deleted, 2 unchanged), 6 columns" in run.log
    return messages


def test_changes_only_into_duckdb(project: Project, nights: list[str]) -> None:
    """`hard_delete` deletes the rows that have `_sdc_deleted_at`."""

    def feed(file: str, messages: str, *, hard_delete: bool) -> list[list[Any]]:
        config = {"filepath": str(project.output / f"{file}.duckdb"), "default_target_schema": "dynamic"}
        project.feed("target-duckdb", messages, **config, hard_delete=hard_delete)
        return project.duckdb(
            "select user_id, user_email, _sdc_deleted_at is null from dynamic.users order by user_id", file
        )

    for rows, messages in zip(NIGHTS, nights, strict=True):
        assert feed("hard", messages, hard_delete=True) == [[*row, True] for row in rows]
    there = feed("soft", "".join(nights), hard_delete=False)
    assert [row[:2] for row in there if row[2]] == NIGHTS[-1]
    assert [row[0] for row in there if not row[2]] == ["3"]


def test_changes_only_into_postgresql(project: Project, nights: list[str], postgres: Postgres) -> None:
    """The target keeps deleted rows marked: its `hard_delete` acts on ACTIVATE_VERSION only."""
    alive = "select user_id, user_email from dynamic.users where _sdc_deleted_at is null order by user_id"
    marked = "select user_id from dynamic.users where _sdc_deleted_at is not null"
    for rows, messages in zip(NIGHTS, nights, strict=True):
        project.feed("target-postgres", messages, **postgres.config, hard_delete=True)
        assert postgres.query(alive) == rows
    assert postgres.query(marked) == [["3"]]
    postgres.query("drop schema dynamic cascade")
    project.feed("target-postgres", "".join(nights), **postgres.config, hard_delete=False)
    assert postgres.query(alive) == NIGHTS[-1]
    assert postgres.query(marked) == [["3"]]


def five_nights() -> Iterator[list[list[str]]]:
    """The rows of an environment in which each night some users log in, link, unlink, come, leave and are edited."""
    header = HEADERS["users"]
    place = {name: index for index, name in enumerate(header)}
    seen, metadata, credential = place["user_lastVisit"], place["user_metadata"], place["verified_credential_id"]
    without = [""] * (len(header) - len([name for name in header if name.startswith("user_")]))
    users: dict[str, list[list[str]]] = {}
    for row in user_rows(130):
        users.setdefault(row[0], []).append(row)
    coming = [users.pop(key) for key in list(users)[-10:]]
    for night in range(5):
        yield [row for rows in users.values() for row in rows]
        keys = [key for key, rows in users.items() if rows[0][credential]]
        single = [key for key, rows in users.items() if not rows[0][credential]]
        for key in keys[night : night + 3]:  # a login changes all rows of a user
            users[key] = [[*row[:seen], f"2026-10-0{night + 1}T00:00:00.5Z", *row[seen + 1 :]] for row in users[key]]
        users[keys[10 + night]].pop()
        users[keys[10 + night]] = users[keys[10 + night]] or [[*users[keys[0]][0][: -len(without)], *without]]
        users[keys[20 + night]] = [[*users[keys[20 + night]][0][: -len(without)], *without]]  # no credential is left
        donor = users.pop(keys[30 + night])  # gone, and the wallets are those of a user who had none
        own = users[single[night]][0]
        users[single[night]] = [[*own[: -len(without)], *row[-len(without) :]] for row in donor]
        edited = json.dumps({"note": f'night "{night}", edited'})
        users[keys[40]] = [[*row[:metadata], edited, *row[metadata + 1 :]] for row in users[keys[40]]]
        for rows in coming[2 * night : 2 * night + 2]:
            users[rows[0][0]] = rows


def by_key(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of a table, as the loaders write them, by key: names in lower case, date-times alike."""
    found = {}
    for row in rows:
        values = {name.lower(): value for name, value in row.items() if not name.startswith("_sdc_")}
        for name in ("createdat", "updatedat", "firstvisit", "lastvisit", "onboardingcompletedat"):
            values[f"user_{name}"] = moment(values[f"user_{name}"])
        selected = "verified_credential_lastselectedat"
        values[selected] = moment(values[selected])
        found[values["user_id"], values["verified_credential_id"]] = values
    return found


def moment(text: str | None) -> str | None:
    """A date-time as `2026-01-02 03:04:05.678`, whoever wrote it."""
    if not text:
        return None
    seconds, _, fraction = text.replace("T", " ").rstrip("Z").partition(".")
    return f"{seconds}.{fraction:0<6}"


def cells_by_key(rows: list[list[str]], none: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of an export, as a table should have them."""
    table = []
    for row in rows:
        cells: dict[str, Any] = {name: cell or None for name, cell in zip(HEADERS["users"], row, strict=True)}
        cells["verified_credential_id"] = cells["verified_credential_id"] or none
        cells["user_metadata"] = cells["user_metadata"] and json.loads(cells["user_metadata"])
        cells[ENABLED] = cells[ENABLED] and cells[ENABLED] == "true"
        table.append(cells)
    return by_key(table)


@pytest.mark.parametrize("loader", ["target-duckdb", "target-postgres"])
def test_after_each_of_five_nights_the_table_equals_the_export(
    project: Project, tap: Tap, sandbox: Sandbox, postgres: Postgres, loader: str
) -> None:
    maps, none = (FILLED_KEY, "none") if loader == "target-duckdb" else ({}, "")
    state: dict[str, Any] = {}
    before: dict[tuple[str, ...], Any] = {}
    for rows in five_nights():
        sandbox.add("users", to_csv([HEADERS["users"], *rows]))
        run = tap(changes_only=True, _state=state, stream_maps=maps)
        assert run.code == 0, run.log
        state, wanted = run.state, {tuple(row[place] for place in KEY_PLACES): row for row in rows}
        assert len(wanted) == len(rows)
        changed = {key for key in {*before, *wanted} if before.get(key) != wanted.get(key)}
        assert len(run.records("users")) == len(changed) > 10
        if loader == "target-duckdb":
            config = {"filepath": str(project.output / "nights.duckdb"), "default_target_schema": "dynamic"}
            project.feed(loader, run.out, **config, hard_delete=True)
            texts = [row[0] for row in project.duckdb("select to_json(t) from dynamic.users t", "nights")]
        else:
            project.feed(loader, run.out, **postgres.config)
            alive = "select row_to_json(t) from dynamic.users t where _sdc_deleted_at is null"
            texts = ["|".join(row) for row in postgres.query(alive)]
        loaded = [json.loads(text) for text in texts]
        assert len(loaded) == len(rows)
        assert by_key(loaded) == cells_by_key(rows, none)
        before = wanted


def test_duckdb_needs_a_column_that_is_not_text(project: Project) -> None:
    """`target-duckdb` 0.8 loses the first row otherwise (docs/loaders.md)."""
    message = {
        "type": "SCHEMA",
        "stream": "exports",
        "schema": {"properties": {"id": {"type": "string"}, "status": {"type": "string"}}},
        "key_properties": ["id"],
    }
    rows = [{"type": "RECORD", "stream": "exports", "record": {"id": str(n), "status": "failed"}} for n in range(10)]
    messages = "".join(json.dumps(m) + "\n" for m in [message, *rows])
    for file, expected in (("plain", 9), ("metadata", 10)):
        config = {"filepath": str(project.output / f"{file}.duckdb"), "default_target_schema": "dynamic"}
        project.feed("target-duckdb", messages, **config, add_metadata_columns=file == "metadata")
        assert project.duckdb("select count(*) from dynamic.exports", file) == [[expected]]


def test_the_hub_definition_matches_the_project_file() -> None:
    hub = yaml.safe_load((ROOT / "tap-dynamic.yml").read_text())
    extractor = yaml.safe_load((ROOT / "meltano.yml").read_text())["plugins"]["extractors"][0]
    shared = ("name", "namespace", "label", "description", "executable", "capabilities", "select", "settings")
    assert {k: hub[k] for k in shared} == {k: extractor[k] for k in shared}
    assert hub["settings_group_validation"] == extractor["settings_group_validation"]


def test_the_project_file_is_valid() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.meltano", str(ROOT / "meltano.yml")]
    completed = subprocess.run(check, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout


def test_the_project_file_matches_about(tap: Tap) -> None:
    about = json.loads(tap("--about", "--format=json").out)
    extractor = yaml.safe_load((ROOT / "meltano.yml").read_text())["plugins"]["extractors"][0]
    assert extractor["capabilities"] == about["capabilities"]
    settings = {setting["name"]: setting for setting in extractor["settings"]}
    properties = about["settings"]["properties"]
    assert list(settings) == list(properties)
    for name, schema in list(properties.items())[: len(CONFIG_SCHEMA["properties"])]:
        setting = settings[name]
        assert setting["description"] == schema["description"]
        assert setting["label"] == schema["title"]
        assert setting.get("value") == schema.get("default")
        assert setting.get("sensitive", False) == schema.get("secret", False)
        # Meltano 4.4 can't pass on a `decimal` of an environment variable, and shows a traceback for a wrong option.
        kinds = {"string": {"string", "date_iso8601"}, "boolean": {"boolean"}, "array": {"array"}, "number": {"string"}}
        assert setting["kind"] in kinds[schema["type"][0]]
