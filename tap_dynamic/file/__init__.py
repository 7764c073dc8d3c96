"""From bytes to rows."""

from __future__ import annotations
