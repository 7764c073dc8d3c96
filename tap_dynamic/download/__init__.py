"""From a URL to a verified file."""

from __future__ import annotations
