"""The choice of a Python interpreter for the demo's loader."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Version = tuple[int, int]
LOADER_VERSIONS: list[Version] = [(3, 13), (3, 12), (3, 11), (3, 10)]
"""Versions that the tap supports and for which DuckDB before 1.3 (see `meltano.yml`) has wheels, preferred first."""


class NoInterpreterError(Exception):
    """The loader can't be installed; the message says what to install."""


def choose_interpreter(own: Version, others: Mapping[Version, str]) -> str | None:
    """Choose the interpreter for the loader.

    Args:
        own: Version of the running interpreter.
        others: Paths of other interpreters, by version.

    Returns:
        The path of another interpreter, or None for the running one.

    Raises:
        NoInterpreterError: None is suitable.
    """
    if own in LOADER_VERSIONS:
        return None
    for version in LOADER_VERSIONS:
        if version in others:
            return others[version]
    message = f"DuckDB has no wheel for Python {own[0]}.{own[1]}: install Python 3.13, then run this again."
    raise NoInterpreterError(message)


def find_interpreters() -> dict[Version, str]:
    """Find the interpreters on the PATH that start; a shim of pyenv, for example, may not."""
    found: dict[Version, str] = {}
    for version in LOADER_VERSIONS:
        for folder in os.get_exec_path():
            path = shutil.which(f"python{version[0]}.{version[1]}", path=folder)
            if version not in found and path and _version_of(path) == version:
                found[version] = path
    return found


def loader_interpreter() -> str | None:
    """Return the path of the interpreter for the loader, or None for the running one."""
    own = sys.version_info[:2]
    return choose_interpreter(own, {} if own in LOADER_VERSIONS else find_interpreters())


def _version_of(path: str) -> Version | None:
    code = "import sys; print(*sys.version_info[:2])"
    try:
        out = subprocess.run([path, "-c", code], capture_output=True, check=True, timeout=10, text=True).stdout
        major, minor = out.split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return int(major), int(minor)
