"""Temporary files without a name."""

from __future__ import annotations

import tempfile
from typing import IO

from tap_dynamic.errors import TapError


def new_temporary_file(label: str) -> IO[bytes]:
    """Open a temporary file without a name; a folder that can't be written is a `TapError`."""
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise disk_error(label, error) from None


def disk_error(label: str, error: OSError) -> TapError:
    """Make the error of a temporary file that can't be written."""
    reason = (error.strerror or type(error).__name__).lower()
    # TMPDIR is passed over where it can't be used. SQLite, whose errors have no number, then uses another folder.
    place = f" in {tempfile.tempdir}" if error.errno and tempfile.tempdir else ""
    return TapError(
        f"{label}: temporary files can't be written ({reason})."
        f" Make room{place}, or set TMPDIR to a folder on a larger disk."
    )
