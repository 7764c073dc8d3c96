"""A run with default settings: exports, users and visits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jsonschema
import pytest

from sandbox.data import HEADERS, csv_file
from tests.conftest import select, table, texts

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Tap

USERS = csv_file("users", 500)
VISITS = csv_file("visits", 300)


def test_rows_equal_those_read_by_csv(sandbox: Sandbox, tap: Tap) -> None:
    users, visits = sandbox.add("users", USERS), sandbox.add("visits", VISITS)
    run = tap()
    assert run.code == 0
    assert texts(run.records("users")) == table(USERS)
    assert texts(run.records("visits")) == table(VISITS)
    assert [r["_sdc_row_number"] for r in run.records("users")] == list(range(1, 501))
    assert {(r["_sdc_export_id"], r["_sdc_exported_at"]) for r in run.records("visits")} == {
        (visits.id, visits.completed_at)
    }
    assert run.bookmark("users")["replication_key_value"] == users.completed_at


def test_every_record_matches_its_schema_message(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", USERS)
    sandbox.add("visits", VISITS)
    sandbox.add("users", status="failed")
    run = tap()
    for schema in run.of("SCHEMA"):
        validator = jsonschema.Draft7Validator(schema["schema"], format_checker=jsonschema.FormatChecker())
        records = run.records(schema["stream"])
        assert records
        for record in records:
            validator.validate(record)
            assert set(record) <= set(schema["schema"]["properties"])
    assert {s["stream"] for s in run.of("SCHEMA")} == {"exports", "users", "visits"}


def test_at_most_8_requests_for_two_exports(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", USERS)
    sandbox.add("visits", VISITS)
    tap()
    assert len([request for request in sandbox.requests if request.kind != "file"]) <= 8


def test_exports_are_listed_whatever_their_status(sandbox: Sandbox, tap: Tap) -> None:
    added = [
        sandbox.add("users", status="failed", error="Error: no memory\n  at secret.js"),
        sandbox.add("users", USERS),
        sandbox.add("visits", status="pending", polls_left=99),
        sandbox.add("visits", VISITS),
        sandbox.add("users", USERS),
    ]
    run = tap()
    assert {r["id"] for r in run.records("exports")} == {e.id for e in added}
    assert len(run.records("exports")) == 5
    assert all("downloadUrl" not in r for r in run.records("exports"))
    assert {r["_sdc_export_id"] for r in run.records("users")} == {added[4].id}
    assert [w for w in run.warnings if added[0].id in w] == [
        f"Export {added[0].id} of users failed at Dynamic: Error: no memory."
    ]


def test_an_export_of_users_does_not_start_a_sync_of_visits(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", USERS)
    sandbox.add("visits", status="pending", polls_left=99)
    run = tap()
    assert run.code == 0
    assert "Beginning sync of 'users'" in run.log
    assert "Beginning sync of 'visits'" not in run.log
    assert "is null" not in run.log
    assert not run.of("SCHEMA", "visits")


def test_deselected_streams_and_columns_are_not_emitted(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", USERS)
    sandbox.add("visits", VISITS)
    run = tap(_catalog=select(tap.discover(), "users", without=("user_email",)))
    assert {m.get("stream") for m in run.messages} == {"users", None}
    assert len(run.records("users")) == 500
    assert "user_email" not in run.records("users")[0]
    assert "user_email" not in run.of("SCHEMA", "users")[0]["schema"]["properties"]


def test_the_download_url_is_deselected_by_default(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", USERS)
    catalog = tap.discover()
    entry = next(e for e in catalog["streams"] if e["stream"] == "exports")
    item = next(m for m in entry["metadata"] if m["breadcrumb"] == ["properties", "downloadUrl"])
    assert item["metadata"]["selected-by-default"] is False
    assert "downloadUrl" in entry["schema"]["properties"]


def test_the_download_endpoint_is_used_if_there_is_no_download_url(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", USERS, has_url=False)
    run = tap()
    assert texts(run.records("users")) == table(USERS)
    assert sandbox.count("download") == 2  # discovery and sync


def test_a_run_without_exports_succeeds(sandbox: Sandbox, tap: Tap) -> None:
    run = tap()
    assert run.code == 0
    assert not run.of("RECORD")
    assert "There is no completed export of users yet" in run.log
    assert not sandbox.count("create")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""], ids=["LF", "CRLF", "no line end"])
def test_the_exports_of_a_new_environment_are_empty(sandbox: Sandbox, tap: Tap, end: bytes) -> None:
    """They have a header and no rows."""
    exports = {model: sandbox.add(model, ",".join(HEADERS[model]).encode() + end) for model in ("users", "visits")}
    run = tap()
    assert run.code == 0, run.log
    assert not run.warnings
    for model, key in (("users", ["user_id", "verified_credential_id"]), ("visits", ["id"])):
        (schema,) = run.of("SCHEMA", model)
        assert set(HEADERS[model]) < set(schema["schema"]["properties"])
        assert schema["key_properties"] == key
        assert not run.records(model)
        assert run.bookmark(model)["replication_key_value"] == exports[model].completed_at
