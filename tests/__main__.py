"""Install the test dependencies and run the tests: `python3 -m tests`."""

from __future__ import annotations

import sys

from sandbox.setup import install, run

commands = install("dev", "--editable", ".", "--group", "dev")
install("meltano", "meltano>=4,<5")
run(commands / "python", "-m", "pytest", *sys.argv[1:])
