"""Messages and BATCH files."""

from __future__ import annotations
