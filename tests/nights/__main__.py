"""Play thousands of histories: `python3 -m tests.nights 2000 --seed 1`."""

from __future__ import annotations

import sys

from sandbox.setup import install, run

commands = install("dev", "--editable", ".", "--group", "dev")
run(commands / "python", "-m", "tests.nights.search", *sys.argv[1:])
