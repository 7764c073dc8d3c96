"""Virtual environments for the README's two commands; needs only Python, pip and git."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = "Scripts" if os.name == "nt" else "bin"


def run(*command: str | Path, **environment: str) -> None:
    """Run a command in the project root with extra environment variables; exit with its code if it fails."""
    completed = subprocess.run(
        [str(word) for word in command], cwd=ROOT, env={**os.environ, **environment}, check=False
    )
    if completed.returncode:
        sys.exit(completed.returncode)


def install(name: str, *requirements: str) -> Path:
    """Install requirements into a virtual environment, creating it if needed.

    Args:
        name: Its folder in `.venv`.
        requirements: Arguments of `pip install`.

    Returns:
        The folder of its executables.
    """
    if sys.version_info < (3, 10):  # noqa: UP036 (the interpreter that runs this may be older)
        sys.exit("tap-dynamic needs Python 3.10 or newer.")
    folder = ROOT / ".venv" / name
    if not (folder / BIN / "pip").exists() and not (folder / BIN / "pip.exe").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        except subprocess.CalledProcessError:  # some distributions package venv separately; virtualenv needs only pip
            tools = ROOT / ".venv" / "tools"
            run(sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, "virtualenv")
            run(sys.executable, "-m", "virtualenv", "--quiet", folder, PYTHONPATH=str(tools))
        run(folder / BIN / "python", "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
    run(folder / BIN / "python", "-m", "pip", "install", "--quiet", *requirements)
    return folder / BIN
