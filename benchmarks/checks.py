"""What each loader does when something goes wrong: tried, not claimed."""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.data import ACCOUNT, EMAIL, HEADER, digest, parse, users
from benchmarks.loaders import Loader, install_loaders, show_table
from sandbox.data import to_csv
from sandbox.server import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 22_000
"""More than DuckDB and pyarrow look at when they guess types."""


@functools.cache
def sample() -> tuple[bytes, list[list[str]]]:
    """Return a file and its rows."""
    data = users(ROWS, linked=True)
    return data, parse(data)


def resumes(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether a download that is cut once ends in a complete table."""
    data, _ = sample()
    sandbox.add("users", data)
    sandbox.faults.append(Fault("file", after=len(data) // 2))
    return loader.load().returncode == 0 and show_table(loader.database).get("digest") == digest(data)


def refuses_damage(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether files with a short row, or that end within a row, are refused, and load nothing."""
    data, rows = sample()
    short = to_csv([HEADER, *rows[:-10], rows[-10][:-1], *rows[-9:]])
    for damaged in (short, data[: -len(to_csv(rows[-1:])) // 2]):
        sandbox.add("users", damaged)
        if loader.load().returncode == 0 or show_table(loader.database):
            return False
    return True


def checks_keys(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether a key that occurs twice stops the load, or is reported with the number of its row."""
    _, rows = sample()
    sandbox.add("users", to_csv([HEADER, *rows, rows[7]]))
    loaded = loader.load()
    return loaded.returncode != 0 or f"{ROWS + 1}" in loaded.stderr.replace(",", "")


def keeps_types(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether a phone number keeps its leading zero, and the table its types when a numeric id gets letters."""
    data = sample()[0].replace(b"202555", b"020555")
    sandbox.add("users", data)
    loader.load()
    before = show_table(loader.database)
    rows = parse(data)
    next(row for row in reversed(rows) if row[ACCOUNT])[ACCOUNT] = "001234.5f0c.0815"  # as Apple writes them
    sandbox.add("users", to_csv([HEADER, *rows]))
    loaded = loader.load()
    after = show_table(loader.database)
    phone = str(before.get("phone"))
    return loaded.returncode == 0 and phone.startswith("020555") and before.get("types") == after.get("types")


def follows_drift(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether a later file with another column, in another order, is loaded whole, with that column."""
    data, rows = sample()
    sandbox.add("users", data)
    loader.load()
    before = show_table(loader.database)
    sandbox.add("users", to_csv([["user_plan", *HEADER], *(["pro", *row] for row in rows)]))
    loaded = loader.load()
    after = show_table(loader.database)
    return (
        loaded.returncode == 0
        and after.get("digest") == digest(data)
        and len(after["types"]) == len(before["types"]) + 1
    )


def hides_secrets(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether neither the signature of a URL that the store refuses nor a cell of a bad row is logged."""
    _, rows = sample()
    cut = next(row for row in reversed(rows) if row[EMAIL])[:-1]
    sandbox.add("users", to_csv([HEADER, *rows, cut]))
    damaged = loader.load()
    sandbox.faults.append(Fault("file", status=403))
    refused = loader.load()
    log = damaged.stdout + damaged.stderr + refused.stdout + refused.stderr
    signatures = {request.path.rpartition("=")[2] for request in sandbox.requests if request.kind == "file"}
    return "@example.com" not in log and not any(signature in log for signature in signatures)


CHECKS: dict[str, Callable[[Loader, Sandbox], bool]] = {
    "resume": resumes,
    "verify": refuses_damage,
    "keys": checks_keys,
    "types": keeps_types,
    "drift": follows_drift,
    "secrets": hides_secrets,
}


def find_gaps() -> dict[str, list[str]]:
    """Return the checks that each loader fails."""
    gaps: dict[str, list[str]] = {}
    for name, check in CHECKS.items():
        with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
            for loader in install_loaders(Path(folder), sandbox):
                sandbox.exports.clear()
                sandbox.faults.clear()
                sandbox.requests.clear()
                failed = not check(loader, sandbox)
                print(f"  {loader.name}: {name} {'not passed' if failed else 'passed'}", file=sys.stderr, flush=True)
                gaps.setdefault(loader.name, []).extend([name] * failed)
    return gaps
