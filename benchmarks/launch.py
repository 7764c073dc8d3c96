"""Run a command from a small process, and print its duration, CPU time and peak memory as JSON.

The peak is that of all processes of the command together: their sum, sampled, or the largest one's if that is more. On
Linux a forked child inherits its parent's peak memory, so a large process can't measure a small one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

SAMPLE_INTERVAL = 0.1
MIB = 1 << 20


def resident_bytes(session: int) -> int:
    """Return the resident memory of the processes of a session."""
    total = 0
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 (start-up counts)
        try:
            with open(f"/proc/{name}/stat") as file:  # noqa: PTH123 (start-up counts)
                fields = file.read().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session:
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total


def sample_memory(session: int, ended: threading.Event, samples: list[int]) -> None:
    """Append the memory of a session's processes until they have ended."""
    while os.path.isdir("/proc/self") and not ended.wait(SAMPLE_INTERVAL):  # noqa: PTH112 (start-up counts)
        samples.append(resident_bytes(session))


def main() -> None:
    """Run the command of the arguments; the first one is the file that its output goes to."""
    started, samples, ended = time.monotonic(), [0], threading.Event()
    process = os.fork()
    if not process:
        os.setsid()
        os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
    threading.Thread(target=sample_memory, args=(process, ended, samples), daemon=True).start()
    try:
        _, status, usage = os.wait4(process, 0)
    except KeyboardInterrupt:
        os.killpg(process, signal.SIGTERM)  # a session of its own does not get the terminal's
        raise
    seconds = time.monotonic() - started
    ended.set()
    usage_report = {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "mib": max(usage.ru_maxrss / 1024, max(samples) / MIB),
    }
    print(json.dumps(usage_report))


main()
