"""Names of columns, and which of them are the key. All pure."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

SDC_COLUMNS = ("_sdc_export_id", "_sdc_exported_at", "_sdc_row_number")
DELETED_AT = "_sdc_deleted_at"
FALLBACK_KEY = ("_sdc_export_id", "_sdc_row_number")
KEY_ADVICE = (
    "Set the stream's table-key-properties to [" + ", ".join(FALLBACK_KEY) + "] or to columns that are unique"
    " (Meltano: the extractor's `metadata` extra), with a new table (--full-refresh)"
)
DATA_PATTERN = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[^@\s]+@[^@\s]+\.[a-z]+|\d{4}-\d\d-\d\d[t ]\d\d:\d\d\S*|0x[0-9a-f]{40}",
    re.IGNORECASE,
)
"""What a cell looks like, but not the usual name of a column: a UUID, an email address, a date-time, a wallet."""
COMPOUND_PATTERN = re.compile(r"[a-z]+(_|[A-Z])\w+")
"""Names such as user_id and createdAt, which no cell is likely to be, as chain is."""
MAX_LISTED = 50
"""Names in one log line."""


def fold(name: str) -> str:
    """Return what names have in common that are the same to a SQL table: case and Unicode form do not count."""
    return unicodedata.normalize("NFC", name).casefold()


def respelled(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Write names as they are known, where they differ only in case or Unicode form."""
    spelling = _spelling(known)
    return [spelling.get(fold(name), name) for name in names]


def _spelling(known: Iterable[str]) -> dict[str, str]:
    return {fold(name): name for name in reversed(list(known))}  # the first spelling counts


def column_names(header: Sequence[str], known: Collection[str] = ()) -> list[str]:
    """Name the columns as the header does, without byte-order mark and outer blanks.

    A column whose name differs from a known one only in case or Unicode form is that column. A name that is empty, or
    repeats another (in any case, because SQL tables ignore it), gets a suffix.
    """
    bases = list(map(_bare, header))
    spelling = _spelling(known)
    known = set(spelling.values())
    taken = {fold(name) for name in (*SDC_COLUMNS, DELETED_AT)}
    names: dict[int, str] = {}
    # A name goes to the column that has it in the known spelling, else to the first that has it.
    for position in sorted(range(len(bases)), key=lambda i: bases[i] not in known):
        base = bases[position]
        if base and fold(base) not in taken:
            taken.add(fold(base))
            names[position] = spelling.get(fold(base), base)
    suffixes: dict[str, Iterator[int]] = defaultdict(lambda: count(2))
    for position, base in enumerate(bases):
        if position not in names:
            name = stem = base or f"column_{position + 1}"
            while fold(name) in taken:
                name = f"{stem}_{next(suffixes[fold(stem)])}"
            taken.add(fold(name))
            names[position] = spelling.get(fold(name), name)
    return [names[position] for position in range(len(bases))]


def _bare(cell: str) -> str:
    return cell.replace("\ufeff", "").strip()


def choose_key(
    names: Collection[str],
    candidates: Iterable[Sequence[str]],
    *,
    of_user: Sequence[str] | None = None,
    of_table: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Choose the user's key; else the table's; else the first candidate of which a file has all columns.

    A table with the fallback key keeps it: with another, its rows would stay beside the new ones.
    """
    if of_table and (not of_user or tuple(of_table) == FALLBACK_KEY):
        return tuple(of_table)
    if of_user:
        return tuple(respelled(of_user, (*names, *SDC_COLUMNS)))
    return find_candidate(names, candidates) or FALLBACK_KEY


def find_candidate(names: Collection[str], candidates: Iterable[Sequence[str]]) -> tuple[str, ...] | None:
    """Return the first key whose columns are all in a file, as the file spells them."""
    keys = (tuple(respelled(candidate, names)) for candidate in candidates)
    return next((key for key in keys if set(key) <= set(names)), None)


def key_refusal(key: Sequence[str], problem: str) -> str:
    """Say that some columns can't be the key, and what to do."""
    return f"{', '.join(key)} can't be the key: {problem}. {KEY_ADVICE}."


def duplicate_key_problem(key: Sequence[str], first: int, second: int) -> str:
    """Say that two rows have the same key."""
    return f"{', '.join(key)} is the same in rows {first} and {second}"


def are_names(names: Collection[str], documented: Iterable[str], catalog: Collection[str] = ()) -> bool:
    """Whether a first row surely is a header, and not data, whose cells must not be logged.

    Two different names that are known prove it. One that is a word proves nothing, however often it is there: ID is
    the code of a country too. One like user_id does, unless another looks like data, or is empty or repeated.
    Names of the catalog are known if they surely are names: discovery takes them from a first row, too.
    """
    known, found = folded_names(documented), folded_names(names)
    if catalog and are_names(catalog, documented):
        known |= folded_names(catalog)
    if len(found & known) > 1 or (found and found <= known):
        return True
    bare = [_bare(name) for name in names if fold(_bare(name)) in found]
    is_doubtful = "" in found or len(found) < len(bare) or any(map(DATA_PATTERN.fullmatch, bare))
    return not is_doubtful and any(COMPOUND_PATTERN.fullmatch(name) for name in {*bare}.intersection(documented))


def folded_names(names: Iterable[str]) -> set[str]:
    """Return what differs of some names, without those that the tap adds."""
    return {fold(_bare(name)) for name in names}.difference(SDC_COLUMNS, [DELETED_AT])


def quoted(name: str) -> str:
    """Write the name of a column for messages: one line, not too long."""
    return repr("".join(c if c.isprintable() else "?" for c in name)[:60])


def listed(names: Collection[str]) -> str:
    """Write some names for the log, sorted, `MAX_LISTED` at most."""
    shown = ", ".join(quoted(name).strip("'\"") for name in sorted(names)[:MAX_LISTED])
    return shown + (f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else "")
