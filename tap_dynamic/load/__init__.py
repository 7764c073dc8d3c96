"""One run, and one load."""

from __future__ import annotations
