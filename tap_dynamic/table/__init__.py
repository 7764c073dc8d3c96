"""From cells to records: columns, keys, types."""

from __future__ import annotations
