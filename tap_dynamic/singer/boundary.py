"""The last error boundary: no exception leaves the tap as a traceback."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tap_dynamic.errors import TapError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGER = logging.getLogger("tap-dynamic")
STDOUT_ERRORS = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""What remains for stdout: failures of files and sockets are `TapError`s."""


@contextlib.contextmanager
def error_boundary() -> Iterator[None]:
    """End the process with exit code 1 on any failure, with one ERROR line for each.

    Whatever the command line enters runs inside it. The exceptions of click pass: click reports them itself.

    Raises:
        SystemExit: After a failure.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        report(error)
        sys.exit(1)


def report(error: Exception) -> None:
    """Log a failure, one ERROR line for each of its lines."""
    LOGGER.disabled = False  # a logging configuration disables existing loggers unless it says otherwise
    for line in lines_of(error):
        LOGGER.error("%s", line)


def lines_of(error: Exception) -> tuple[str, ...]:
    """Say what failed; of an unexpected error only its kind and place, because its text can hold cells."""
    if isinstance(error, TapError):
        return error.lines
    if isinstance(error, OSError) and error.errno in STDOUT_ERRORS:
        return (f"Stdout can't be written ({os.strerror(error.errno).lower()}).",)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return (f"The run failed unexpectedly ({type(error).__name__} at {place}). No data was lost; please report this.",)
