"""Virtual environments for the README's commands; needs only Python, pip and git.

`python -m sandbox.setup NAME REQUIREMENT...` installs one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
BIN = "Scripts" if os.name == "nt" else "bin"
MELTANO = ("meltano", "meltano>=4,<5")
"""Arguments of `install`."""


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
    stamp = Stamp(folder / ".installed", project_file("pyproject.toml"), *requirements)
    if stamp.is_current():
        return folder / BIN
    if not (folder / BIN / "pip").exists() and not (folder / BIN / "pip.exe").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        except subprocess.CalledProcessError:  # some distributions package venv separately; virtualenv needs only pip
            tools = ROOT / ".venv" / "tools"
            run(sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, "virtualenv")
            run(sys.executable, "-m", "virtualenv", "--quiet", folder, PYTHONPATH=str(tools))
        run(folder / BIN / "python", "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
    run(folder / BIN / "python", "-m", "pip", "install", "--quiet", *requirements)
    stamp.write()
    return folder / BIN


@contextlib.contextmanager
def announced(activity: str) -> Iterator[None]:
    """Print what begins, and every four seconds that it is not over."""
    print(f"{activity} ...", flush=True)  # noqa: T201 (a command)
    started_at, ended = time.monotonic(), threading.Event()

    def report() -> None:
        while not ended.wait(4):
            print(f"  {time.monotonic() - started_at:.0f} s", flush=True)  # noqa: T201 (a command)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def project_file(name: str) -> str:
    """Return the content of a file in the project root."""
    return (ROOT / name).read_text("utf-8")


class Stamp:
    """A file that records what was installed, so that the next run need not install it again.

    Args:
        path: The file, in the folder that is installed.
        inputs: All that the installation depends on.
    """

    def __init__(self, path: Path, *inputs: str) -> None:
        self.path = path
        self.digest = hashlib.sha256("\n".join([str(path), *inputs]).encode()).hexdigest()

    def is_current(self) -> bool:
        """Return whether exactly this was installed."""
        return self.path.exists() and self.path.read_text("utf-8") == self.digest

    def write(self) -> None:
        """Record that this is installed."""
        self.path.write_text(self.digest, "utf-8")


if __name__ == "__main__":
    install(*sys.argv[1:])
