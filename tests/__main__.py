"""Install the test dependencies and run the tests: `python3 -m tests`."""

from __future__ import annotations

import sys

from sandbox.setup import MELTANO, announced, install, run

with announced("Test dependencies in .venv/dev: a minute the first time"):
    commands = install("dev", "--editable", ".", "--group", "dev")
with announced("Meltano in .venv/meltano: half a minute the first time"):
    install(*MELTANO)
print("Tests: about three minutes with two cores.", flush=True)
run(commands / "python", "-m", "pytest", *sys.argv[1:])
