"""The one grammar of date-times: of cells, of Dynamic's metadata, of settings and of the state."""

from __future__ import annotations

import re
from datetime import datetime, timezone

PATTERN = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ]([01][0-9]|2[0-3])(?::?([0-9]{2})(?::?([0-9]{2})(?:[.,]([0-9]+))?)?)?"
    r"(?: ?(Z|z|UTC|[+-][0-9]{2}(?::?[0-5][0-9])?))?)?"
)
"""ISO 8601 from a date to a fraction of a second, as databases write it too; not partial dates or mere times."""
RFC3339_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:[0-5]\d)", re.ASCII)


def to_rfc3339(text: object) -> str:
    """Write a date-time with seconds and offset, UTC by default; RFC 3339 stays as it is.

    Raises:
        ValueError: If it is not a date-time: a partial date, a time, `now`.
    """
    return _parse(text)[0]


def parse_datetime(text: object) -> datetime:
    """Parse a date-time to UTC and microseconds.

    Raises:
        ValueError: If it is not a date-time.
    """
    return _parse(text)[1]


def _parse(text: object) -> tuple[str, datetime]:
    found = PATTERN.fullmatch(text) if isinstance(text, str) else None
    if not found:
        msg = "not a date-time"
        raise ValueError(msg)
    day, hour, minute, second, fraction, offset = found.groups(default="")
    if offset in {"", "Z", "z", "UTC"}:
        offset = "+0000"
    digits = offset[1:].replace(":", "").ljust(4, "0")
    offset = f"{offset[0]}{digits[:2]}:{digits[2:]}"
    moment = f"{day}T{hour or '00'}:{minute or '00'}:{second or '00'}"
    try:
        instant = datetime.fromisoformat(f"{moment}.{fraction[:6]:0<6}{offset}").astimezone(timezone.utc)
    except OverflowError:
        msg = "out of range"
        raise ValueError(msg) from None
    whole = found[0]
    is_rfc3339 = RFC3339_PATTERN.fullmatch(whole)
    return whole if is_rfc3339 else f"{moment}{'.' if fraction else ''}{fraction}{offset}", instant
