"""The command line, from setting up logging to flushing stdout, inside the last error boundary."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tap_dynamic.errors import TapError
from tap_dynamic.tap import TapDynamic

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

LOGGER = logging.getLogger("tap-dynamic")
LOGGING_VARIABLES = ("TAP_DYNAMIC_LOGLEVEL", "LOGLEVEL", "SINGER_SDK_LOG_CONFIG")
STDOUT_ERRORS = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""What remains for stdout: failures of files and sockets are `TapError`s."""


def run() -> None:
    """Run the command of `sys.argv`, and exit."""
    # Advice of the SDK to its own users: which versions of Python the tap supports is said by its package.
    warnings.filterwarnings("ignore", r"Python 3\.[0-9]+ (will reach|reached) its end of life", FutureWarning)
    with error_boundary():
        try:
            prepare_command()()  # click reports its own exceptions, and exits
        finally:
            flush_stdout()


@contextlib.contextmanager
def error_boundary() -> Iterator[None]:
    """End the process with exit code 1 on any failure, with one ERROR line for each line of its text.

    Raises:
        SystemExit: After a failure.
    """
    try:
        yield
    except Exception as error:
        LOGGER.disabled = False  # a logging configuration disables existing loggers unless it says otherwise
        for line in lines_of(error):
            LOGGER.error("%s", line)  # noqa: TRY400 (a traceback can hold cells)
        sys.exit(1)


def lines_of(error: Exception) -> tuple[str, ...]:
    """Say what failed; of an unexpected error only its kind and place, because its text can hold cells."""
    if isinstance(error, TapError):
        return error.lines
    if isinstance(error, OSError) and error.errno in STDOUT_ERRORS:
        return (f"Stdout can't be written ({os.strerror(error.errno).lower()}).",)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return (f"The run failed unexpectedly ({type(error).__name__} at {place}). No data was lost; please report this.",)


def prepare_command() -> click.Command:
    """Let the SDK set up logging, and return the command.

    Raises:
        TapError: If the environment asks for a level or a configuration that can't be used.
    """
    for name in LOGGING_VARIABLES:
        if not os.environ.get(name, "set"):
            del os.environ[name]  # the SDK takes an empty one for a value
    try:
        return TapDynamic.cli
    except Exception:
        given = [name for name in LOGGING_VARIABLES if os.environ.pop(name, None)]
        logging.getLogger().handlers.clear()
        _ = TapDynamic.cli  # sets up the default, which reports the error
        msg = f"Logging can't be set up by {' and '.join(given)}: correct or unset it."
        raise TapError(msg) from None


def flush_stdout() -> None:
    """Write what is still buffered. Python would do it after the last handler of errors, and print a traceback."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        raise
