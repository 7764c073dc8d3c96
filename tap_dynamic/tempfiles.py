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
    return TapError(f"{label}: temporary files can't be written ({reason}). Make room, or set TMPDIR to a larger disk.")
