"""What each loader does when something goes wrong: tried, not claimed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.data import users
from benchmarks.loaders import Loader, digest, install_loaders, show_table
from sandbox.server import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 30_000
"""More than DuckDB and pyarrow look at when they guess types."""


def resumes(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether a download that is cut once ends in a complete table."""
    data = users(ROWS, 11)
    sandbox.add("users", data)
    sandbox.faults.append(Fault("file", after=len(data) // 2))
    return loader.load().returncode == 0 and show_table(loader.database).get("digest") == digest(data)


def refuses_damage(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether files with a short row, or that end within a row, are refused, and load nothing."""
    data = users(ROWS, 11)
    lines = data.splitlines(keepends=True)
    short = b"".join([*lines[:-10], lines[-10].rpartition(b",")[0] + b"\n", *lines[-9:]])
    for damaged in (short, data[: -len(lines[-1]) // 2]):
        sandbox.add("users", damaged)
        if loader.load().returncode == 0 or show_table(loader.database):
            return False
    return True


def checks_keys(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether an id that occurs twice stops the load, or is reported with the number of its row."""
    lines = users(ROWS, 11).splitlines(keepends=True)
    sandbox.add("users", b"".join([*lines, lines[7]]))
    loaded = loader.load()
    return loaded.returncode != 0 or f"{ROWS + 1}" in loaded.stderr.replace(",", "")


def keeps_types(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether `007` stays text, and the table keeps its types when a later file has letters in that column."""
    data = users(ROWS, 11)
    sandbox.add("users", data)
    loader.load()
    before = show_table(loader.database)
    sandbox.add("users", data.replace(b",007\n", b",A7\n"))
    loaded = loader.load()
    after = show_table(loader.database)
    return loaded.returncode == 0 and before.get("points") == "000" and before.get("types") == after.get("types")


def follows_drift(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether a later file with another column, in another order, is loaded whole, with that column."""
    data = users(ROWS, 11)
    sandbox.add("users", data)
    loader.load()
    before = show_table(loader.database)
    later = b"".join(
        (b"plan" if n == 0 else b"pro") + b"," + line for n, line in enumerate(data.splitlines(keepends=True))
    )
    sandbox.add("users", later)
    loaded = loader.load()
    after = show_table(loader.database)
    return (
        loaded.returncode == 0
        and after.get("digest") == digest(data)
        and len(after["types"]) == len(before["types"]) + 1
    )


def hides_secrets(loader: Loader, sandbox: Sandbox) -> bool:
    """Whether neither the signature of a URL that the store refuses nor a cell of a bad row is logged."""
    lines = users(ROWS, 11).splitlines(keepends=True)
    sandbox.add("users", b"".join([*lines, lines[-1].rpartition(b",")[0]]))
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
                gaps.setdefault(loader.name, []).extend([name] * failed)
    return gaps
