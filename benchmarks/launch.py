"""Run a command from a small process, and print its duration, CPU time and peak memory as JSON.

On Linux a forked child inherits its parent's peak memory, so a large process can't measure a small one.
"""

from __future__ import annotations

import json
import os
import sys
import time

started = time.monotonic()
process = os.fork()
if not process:
    os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
_, status, usage = os.wait4(process, 0)
usage_report = {
    "code": os.waitstatus_to_exitcode(status),
    "seconds": time.monotonic() - started,
    "cpu": usage.ru_utime + usage.ru_stime,
    "mib": usage.ru_maxrss / 1024,
}
print(json.dumps(usage_report))
