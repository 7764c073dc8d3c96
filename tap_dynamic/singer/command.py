"""The command line, from setting up logging to flushing stdout, inside the last error boundary."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING

from tap_dynamic.errors import TapError
from tap_dynamic.singer.boundary import error_boundary
from tap_dynamic.tap import TapDynamic

if TYPE_CHECKING:
    import click

LOGGING_VARIABLES = ("TAP_DYNAMIC_LOGLEVEL", "LOGLEVEL", "SINGER_SDK_LOG_CONFIG")


def run() -> None:
    """Run the command of `sys.argv`, and exit."""
    # Advice of the SDK to its own users: which versions of Python the tap supports is said by its package.
    warnings.filterwarnings("ignore", r"Python 3\.[0-9]+ (will reach|reached) its end of life", FutureWarning)
    with error_boundary():
        try:
            prepare_command()()
        finally:
            flush_stdout()


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
