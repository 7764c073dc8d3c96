"""Run a command from a small process, and tell what it cost.

Linux carries the peak memory of whoever forks over into the child, so a large process can't measure a small one.
"""

from __future__ import annotations

import json
import os
import sys
import time

began = time.monotonic()
process = os.fork()
if not process:
    os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
_, status, usage = os.wait4(process, 0)
cost = {
    "code": os.waitstatus_to_exitcode(status),
    "seconds": time.monotonic() - began,
    "cpu": usage.ru_utime + usage.ru_stime,
    "mib": usage.ru_maxrss / 1024,
}
print(json.dumps(cost))
