"""Run the sandbox with sample exports: `python -m sandbox --rows 500 --seconds 600`."""

from __future__ import annotations

import argparse
import json
import time

from sandbox.data import csv_file
from sandbox.server import Sandbox

parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
parser.add_argument("--rows", type=int, default=500, help="number of users; there are four times as many visits")
parser.add_argument("--seconds", type=float, default=600, help="stop after this many seconds")
options = parser.parse_args()
with Sandbox() as sandbox:
    sandbox.add("users", status="failed")
    for model, factor in (("users", 1), ("visits", 4)):
        sandbox.add(model, csv_file(model, options.rows * factor))
    print(json.dumps(sandbox.config), flush=True)  # noqa: T201 (the output is the tap's configuration)
    time.sleep(options.seconds)
