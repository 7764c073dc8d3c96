"""What the README's two commands need on a machine that has only Python, pip and git."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = "Scripts" if os.name == "nt" else "bin"


def run(*command: str | Path, **environment: str) -> None:
    """Run a command in the project's folder; if it fails, end with its exit code.

    Args:
        command: The command.
        environment: Variables beside those of this process.
    """
    done = subprocess.run([str(word) for word in command], cwd=ROOT, env={**os.environ, **environment}, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def install(name: str, *requirements: str) -> Path:
    """Make a virtual environment below `.venv`, where it is not there yet.

    Args:
        name: Its folder.
        requirements: Arguments of `pip install`.

    Returns:
        The folder of its commands.
    """
    if sys.version_info < (3, 10):  # noqa: UP036 (whoever runs this may have an older one)
        sys.exit("tap-dynamic needs Python 3.10 or newer.")
    place = ROOT / ".venv" / name
    if not (place / BIN / "pip").exists() and not (place / BIN / "pip.exe").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True)
        except subprocess.CalledProcessError:  # some systems ship venv apart, virtualenv needs only pip
            tools = ROOT / ".venv" / "tools"
            run(sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, "virtualenv")
            run(sys.executable, "-m", "virtualenv", "--quiet", place, PYTHONPATH=str(tools))
        run(place / BIN / "python", "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
    run(place / BIN / "python", "-m", "pip", "install", "--quiet", *requirements)
    return place / BIN
