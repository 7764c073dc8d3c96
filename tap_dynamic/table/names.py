"""Names of columns: as the header has them, unique in any case. All pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

SDC_COLUMNS = ("_sdc_export_id", "_sdc_exported_at", "_sdc_row_number")
DELETED_AT = "_sdc_deleted_at"
MAX_LISTED = 50
"""Names in one log line."""


def column_names(header: Sequence[str], known: Collection[str] = ()) -> list[str]:
    """Name the columns as the header does.

    Args:
        header: The cells of the first row.
        known: Names of the catalog: a column that differs from one only in case is that column.

    Returns:
        A name for each, without byte-order mark and outer blanks. One that is empty, or repeats another
        (in any case, because SQL tables ignore it), gets a suffix.
    """
    bases = [cell.replace("\ufeff", "").strip() for cell in header]
    spelling, known = {name.casefold(): name for name in known}, set(known)
    reserved = {name.casefold() for name in (*SDC_COLUMNS, DELETED_AT)}
    names: dict[int, str] = {}
    taken = set(reserved)
    # A name goes to the column that has it in the catalog's spelling, else to the first that has it.
    order = sorted(range(len(bases)), key=lambda i: (not bases[i], bases[i] not in known))
    for position in order:
        base = bases[position]
        if base and base.casefold() not in taken:
            taken.add(base.casefold())
            names[position] = base if base in known else spelling.get(base.casefold(), base)
    counts: dict[str, int] = {}
    for position, base in enumerate(bases):
        if position in names:
            continue
        name = base or f"column_{position + 1}"
        stem, count = name, counts.get(name.casefold(), 1)
        while name.casefold() in taken:
            count += 1
            name = f"{stem}_{count}"
        counts[stem.casefold()] = count
        taken.add(name.casefold())
        names[position] = spelling.get(name.casefold(), name)
    return [names[position] for position in range(len(bases))]


def are_names(names: Iterable[str], known: Collection[str], documented: Collection[str]) -> bool:
    """Whether a header is surely one: a file without it has cells in its place, which must not be logged.

    One known name in another case proves nothing: ID is the code of a country too.
    """
    folded = {name.casefold() for name in (*known, *documented)}
    matches = [name.casefold() in folded for name in names]
    return sum(matches) > 1 or 2 * sum(matches) >= len(matches) or "id" in names


def quoted(name: str) -> str:
    """Write the name of a column for messages: one line, not too long."""
    return repr("".join(c if c.isprintable() else "?" for c in name)[:60])


def listed(names: Collection[str]) -> str:
    """Write some names for the log, sorted, `MAX_LISTED` at most."""
    shown = ", ".join(quoted(name).strip("'\"") for name in sorted(names)[:MAX_LISTED])
    return shown + (f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else "")
