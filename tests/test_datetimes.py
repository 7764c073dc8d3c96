"""Rules of datetimes.py: what reads as a date-time, and how it is written."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from rfc3339_validator import validate_rfc3339  # type: ignore[import-untyped]

from tap_dynamic.datetimes import parse_datetime, to_rfc3339

UTC = timezone.utc
DATETIMES: dict[str, datetime] = {
    "2021-01-02T03:04:05Z": datetime(2021, 1, 2, 3, 4, 5, tzinfo=UTC),
    "2021-01-02T03:04:05.678Z": datetime(2021, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
    "2021-01-02T03:04:05.123456789Z": datetime(2021, 1, 2, 3, 4, 5, 123456, tzinfo=UTC),
    "2021-01-02t03:04:05z": datetime(2021, 1, 2, 3, 4, 5, tzinfo=UTC),
    # Without a zone: UTC.
    "2021-01-02T03:04:05": datetime(2021, 1, 2, 3, 4, 5, tzinfo=UTC),
    "2021-01-02 03:04:05": datetime(2021, 1, 2, 3, 4, 5, tzinfo=UTC),
    "2021-01-02T03:04": datetime(2021, 1, 2, 3, 4, tzinfo=UTC),
    "2021-01-02T03": datetime(2021, 1, 2, 3, tzinfo=UTC),
    "2021-01-02": datetime(2021, 1, 2, tzinfo=UTC),
    "2021-01-02 03:04:05 UTC": datetime(2021, 1, 2, 3, 4, 5, tzinfo=UTC),
    # Offsets.
    "2021-01-02T03:04:05+02:00": datetime(2021, 1, 2, 1, 4, 5, tzinfo=UTC),
    "2021-01-02T03:04:05-0330": datetime(2021, 1, 2, 6, 34, 5, tzinfo=UTC),
    "2021-01-02T00:30:00+01:00": datetime(2021, 1, 1, 23, 30, tzinfo=UTC),
    "2021-01-02T03:04:05-00:00": datetime(2021, 1, 2, 3, 4, 5, tzinfo=UTC),
}
NOT_DATETIMES: list[object] = [
    *("now", "NOW", "today", "tomorrow", "yesterday", "1 day ago", "last week", "in 2 days"),
    *("12:30", "12:30:00", "T12:30", "2021", "2021-01", "2021-W01", "2021-W01-1", "2021-001", "20210102"),
    *("2021-01-02/2021-02-01", "2021-01-02T00:00:00Z/P1D", "P1D", "PT1H"),
    *("2021-02-30", "2021-13-01", "2021-01-02T24:01:00Z", "2021-01-02T25:00:00Z", "2021-01-02T03:60:00Z"),
    *("2021-01-02T", "2021-01-02T3", "2021-01-02T24:00:00Z", "2021-01-02Z", "2021-1-2", "2021-01-02T03:04:05.Z"),
    *("2021-01-02T03:04:05+24:00", "2021-01-02T03:04:05+02:60", "2021-01-02T03:04:05 Europe/Paris"),
    *(" 2021-01-02", "2021-01-02 ", "2021-01-02\n", "2021-01-02\0", "", "\u0662\u0660\u0662\u0661-01-02"),
    *("0000-01-01", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
    *(None, 5, 1.5, True, b"2021-01-02", ["2021-01-02"], datetime(2021, 1, 2, tzinfo=UTC)),
]


@pytest.mark.parametrize(("text", "instant"), DATETIMES.items(), ids=ascii)
def test_a_date_time_is_read_as_utc(text: str, instant: datetime) -> None:
    parsed = parse_datetime(text)
    assert parsed == instant
    assert parsed.utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", NOT_DATETIMES, ids=ascii)
def test_what_is_not_one_date_time_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_datetime(text)


RFC3339: dict[str, str] = {
    # Kept as Dynamic writes it.
    "2021-01-02T03:04:05Z": "2021-01-02T03:04:05Z",
    "2021-01-02T03:04:05.678Z": "2021-01-02T03:04:05.678Z",
    "2021-01-02T03:04:05.123456789+02:00": "2021-01-02T03:04:05.123456789+02:00",
    # Completed.
    "2021-01-02": "2021-01-02T00:00:00+00:00",
    "2021-01-02T03:04": "2021-01-02T03:04:00+00:00",
    "2021-01-02 03:04:05": "2021-01-02T03:04:05+00:00",
    "2021-01-02T03:04:05.5": "2021-01-02T03:04:05.5+00:00",
    "2021-01-02T03:04:05+0200": "2021-01-02T03:04:05+02:00",
    "2021-01-02 03:04:05.678+02": "2021-01-02T03:04:05.678+02:00",
    "2021-01-02 0304": "2021-01-02T03:04:00+00:00",
}


@pytest.mark.parametrize(("text", "written"), RFC3339.items())
def test_a_date_time_is_written_as_rfc3339(text: str, written: str) -> None:
    assert to_rfc3339(text) == written


@pytest.mark.parametrize("text", [*DATETIMES, *(t for t in NOT_DATETIMES if isinstance(t, str))], ids=ascii)
def test_whatever_is_written_is_rfc3339_and_the_same_instant(text: str) -> None:
    try:
        written = to_rfc3339(text)
    except ValueError:
        return
    assert validate_rfc3339(written)
    assert parse_datetime(written) == parse_datetime(text)
