"""A users file of eleven columns, of any size."""

from __future__ import annotations

HEADER = (
    "id", "email", "firstName", "username", "country", "newUser", "firstVisit", "lastVisit",
    "wallet", "chain", "loyalty points",
)  # fmt: skip


def users(count: int) -> bytes:
    """Write the file.

    Args:
        count: Number of rows.

    Returns:
        CSV, about 190 bytes a row.
    """
    lines = [",".join(HEADER)]
    for n in range(count):
        day = f"2026-{n % 12 + 1:02d}-{n % 28 + 1:02d}T{n % 24:02d}:{n % 60:02d}:07.{n % 1000:03d}Z"
        name = f'"{n % 977}, says ""hi"""' if n % 10 == 0 else f"name{n % 977}"
        lines.append(
            f"{n:08x}-1111-4222-8333-444444444444,user{n}@example.com,{name},user{n},{'US' if n % 4 else ''},"
            f"{'true' if n % 5 else 'false'},{day},{day if n % 3 else ''},0x{n:040x},EVM,{n % 100:03d}"
        )
    return "\n".join([*lines, ""]).encode()
