"""Sample users files with at least eleven columns."""

from __future__ import annotations

COLUMNS = (
    "id", "email", "firstName", "username", "country", "newUser", "firstVisit", "lastVisit",
    "wallet", "chain", "loyalty points",
)  # fmt: skip
EXTRA_CELLS = ("@user{0}", "", "level {1}", "{0:07d}", "2026-11-{1:02d}", "https://example.com/u/{0}", "{2:x}")
"""Formats of the cells in further columns, in rotation."""


def header(width: int) -> tuple[str, ...]:
    """Return the column names of a file with `width` columns, at least eleven."""
    return (*COLUMNS, *(f"custom field {n}" for n in range(len(COLUMNS), width)))


def users(count: int, width: int, changed: float = 0.0) -> bytes:
    """Return a CSV file with `count` rows; eleven columns take about 190 bytes per row."""
    extra = "".join(f",{EXTRA_CELLS[n % len(EXTRA_CELLS)]}" for n in range(len(COLUMNS), width))
    lines = [",".join(header(width))]
    for n in range(count):
        day = f"2026-{n % 12 + 1:02d}-{n % 28 + 1:02d}T{n % 24:02d}:{n % 60:02d}:07.{n % 1000:03d}Z"
        name = f'"{n % 977}, says ""hi"""' if n % 10 == 0 else f"name{n % 977}"
        rest = extra.format(n, n % 28 + 1, n * 2654435761)
        chain = "SOL" if n % 1000 < 1000 * changed else "EVM"
        lines.append(
            f"{n:08x}-1111-4222-8333-444444444444,user{n}@example.com,{name},user{n},{'US' if n % 4 else ''},"
            f"{'true' if n % 5 else 'false'},{day},{day if n % 3 else ''},0x{n:040x},{chain},{n % 100:03d}{rest}"
        )
    return "\n".join([*lines, ""]).encode()
