"""Rules of api/exports.py: what is read of an export's metadata."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from tap_dynamic.api.exports import Export, oldest_first, without_repeats
from tests.builders import at, export

UTC = timezone.utc
SIGNATURE = "deadbeefcafe"

# --- parsing metadata

REQUIRED = ("id", "format", "model", "status", "createdAt")
METADATA = {
    "id": "00000000-0000-4000-8000-000000000001",
    "format": "csv",
    "model": "users",
    "status": "completed",
    "createdAt": at(1),
    "startedAt": at(1, 1),
    "completedAt": at(1, 2),
    "downloadUrl": f"https://files.example/x.csv?sig={SIGNATURE}",
    "error": None,
}


def test_an_export_has_the_nine_fields_of_the_api() -> None:
    parsed = Export.parse({**METADATA, "unknown": 1})
    assert parsed.record == METADATA
    assert not parsed.is_part
    assert (parsed.exported_at, parsed.completed_at) == (at(1, 2), datetime(2026, 3, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", ["absent", None, "", 5, {}], ids=repr)
def test_a_required_field_that_is_missing_or_malformed_is_named(name: str, value: object) -> None:
    metadata = {field: METADATA[field] for field in METADATA if field != name}
    with pytest.raises(ValueError, match=rf"\bits {name} is .*malformed$"):
        Export.parse(metadata if value == "absent" else {**metadata, name: value})


@pytest.mark.parametrize("metadata", [None, "x", [METADATA]], ids=repr)
def test_what_is_not_an_object_is_malformed(metadata: object) -> None:
    with pytest.raises(ValueError, match="not an object"):
        Export.parse(metadata)


MALFORMED: list[tuple[str, Any]] = [
    *(("completedAt", value) for value in ("now", "2026", "12:30", "2026-02-30", "\ud800", "2026-03-01\0", 5, True)),
    ("completedAt", "2026-03-01T00:00:00+02:60"),
    *(("createdAt", value) for value in ("now", "2026-02-30")),
    *(("id", value) for value in ("../users", "a/b", "a?b", "a b", "\0", "\ud800", "x" * 65, "\u00e9")),
]


@pytest.mark.parametrize(("name", "value"), MALFORMED, ids=ascii)
def test_a_field_that_decides_something_is_strict(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"its {name} is") as raised:
        Export.parse({**METADATA, name: value})
    assert str(raised.value).isprintable()


RECORDED: list[tuple[str, Any, Any]] = [
    # What decides nothing is null where it is malformed.
    ("startedAt", "now", None),
    ("startedAt", 5, None),
    ("startedAt", "2026-03-01 00:30", "2026-03-01T00:30:00+00:00"),
    ("downloadUrl", 5, None),
    ("downloadUrl", {}, None),
    # Date-times are RFC 3339 whatever Dynamic writes.
    ("createdAt", "2026-03-01", "2026-03-01T00:00:00+00:00"),
    ("completedAt", "2026-03-01 02:00:00", "2026-03-01T02:00:00+00:00"),
    # NUL characters and lone surrogates: no target can hold them.
    ("error", "a\0b", "ab"),
    ("error", "a\ud800 b", "a? b"),
    ("model", "us\0ers", "users"),
    ("status", "comp\0leted", "completed"),
    ("status", "paused\ud800", "paused?"),
    # Dynamic's own text is redacted.
    ("error", f"GET https://files.example/x.csv?a=b&X-Amz-Signature={SIGNATURE} failed\nat x", None),
    ("error", {"url": f"/x.csv?sig={SIGNATURE}"}, None),
    ("error", [f"dyn_{SIGNATURE}"], None),
    ("status", f"failed?sig={SIGNATURE}", None),
    ("model", f"dyn_{SIGNATURE}", None),
]


@pytest.mark.parametrize(("name", "value", "recorded"), RECORDED, ids=ascii)
def test_what_is_recorded_of_a_field(name: str, value: object, recorded: str | None) -> None:
    parsed = Export.parse({**METADATA, name: value})
    if recorded is not None or name in {"startedAt", "downloadUrl"}:
        assert parsed.record[name] == recorded
    texts = [str(v) for field, v in parsed.record.items() if field != "downloadUrl"]
    texts += [parsed.failure_reason or "", parsed.model, parsed.status]
    for text in texts:
        assert SIGNATURE not in text
        assert "\0" not in text
        text.encode()


FAILURES: list[tuple[str, str | None, str | None]] = [
    ("completed", None, None),
    ("pending", None, None),
    ("failed", None, "no reason given"),
    ("failed", "Out of memory\n    at Export.run (export.ts:1)", "Out of memory"),
    ("failed", "\n\n  first  \nsecond", "first"),
    ("expired", None, "the status 'expired'"),
    ("Completed", None, "the status 'Completed'"),
    ("a\nb", None, "the status 'a'"),
]


@pytest.mark.parametrize(("status", "error", "reason"), FAILURES)
def test_why_an_export_will_never_have_rows(status: str, error: str | None, reason: str | None) -> None:
    text = export("a", status=status, error=error).failure_reason
    if reason is None:
        assert text is None
    else:
        assert text is not None
        assert "Export a of users" in text
        assert reason in text
        assert "\n" not in text
        assert "second" not in text
        assert "export.ts" not in text


# --- filters

FILTERS: list[tuple[Any, bool]] = [
    # A filter, and whether the export is a part.
    (None, False),
    ("", False),
    (False, False),
    ({}, False),
    ([None, "", {}, []], False),
    ({"users": {"filterValue": "", "filterColumn": None, "filterSocialProvider": None, "chain": None}}, False),
    ({"email": None, "chains": []}, False),
    ({"and": [{}, {"or": []}], "not": {"field": None}}, False),
    ({"users": {"filterValue": "a", "filterColumn": "email"}}, True),
    ({"users": {"filterValue": "", "filterColumn": None, "chain": "EVM"}}, True),
    ("email = a", True),
    (True, True),
    ([None, {"a": 1}], True),
    ({"isActive": False}, True),
    ({"email": None, "chains": ["EVM"]}, True),
    ({"and": [{}, {"or": [{"field": "x"}]}]}, True),
]


@pytest.mark.parametrize(("value", "is_part"), FILTERS, ids=repr)
def test_an_export_with_a_filter_is_a_part(value: object, *, is_part: bool) -> None:
    parsed = Export.parse({**METADATA, "filter": value})
    assert parsed.is_part == is_part
    assert parsed.record == METADATA  # the filter is not recorded


# --- order


def test_oldest_first_compares_instants_not_texts() -> None:
    zoned = export("z", "2026-03-01T23:00:00-05:00")  # on March 2, 04:00 UTC
    listed = [export("c", at(3)), zoned, export("b", at(2)), export("a", at(1))]
    assert [e.id for e in oldest_first(listed)] == ["a", "b", "z", "c"]


def test_an_export_that_is_listed_twice_is_one() -> None:
    pending, completed = export("a", None, status="pending"), export("a", at(2))
    for entries in ([pending, completed], [completed, pending]):
        assert without_repeats([*entries, export("b")]) == [completed, export("b")]


def test_exports_of_one_instant_have_one_order() -> None:
    b, other = export("b", at(2)), export("b2", "2026-03-02T01:00:00+01:00")
    assert oldest_first([b, other]) == oldest_first([other, b]) == [b, other]
