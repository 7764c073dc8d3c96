"""The one grammar of date-times: of cells, of Dynamic's metadata, of settings and of the state."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import cast

import pendulum

PATTERN = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ]([01][0-9]|2[0-3])(?::?([0-9]{2})(?::?([0-9]{2})(?:[.,]([0-9]+))?)?)?"
    r"(?: ?(Z|z|UTC|[+-][0-9]{2}(?::?[0-5][0-9])?))?)?"
)
"""ISO 8601 from a date to a fraction of a second, as databases write it too. Partial dates and mere times are none."""
RFC3339_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:[0-5]\d)", re.ASCII)


def to_rfc3339(text: object) -> str:
    """Write a date-time with seconds and offset, UTC where it names none; RFC 3339 stays as it is.

    Raises:
        ValueError: If the text is anything else: a partial date, a time, `now`.
    """
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
        # It exists, in UTC too. pendulum takes ten times as long, which counts where a column of cells is converted.
        datetime.fromisoformat(f"{moment}{offset}").astimezone(timezone.utc)
    except OverflowError:
        msg = "out of range"
        raise ValueError(msg) from None
    whole = found[0]
    return whole if RFC3339_PATTERN.fullmatch(whole) else f"{moment}{'.' if fraction else ''}{fraction}{offset}"


def parse_datetime(text: object) -> datetime:
    """Parse a date-time; see `to_rfc3339`.

    Raises:
        ValueError: If it is not a date-time.
    """
    return cast("datetime", pendulum.parse(to_rfc3339(text))).astimezone(timezone.utc)
