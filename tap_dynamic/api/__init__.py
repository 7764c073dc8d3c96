"""Dynamic's exports API."""

from __future__ import annotations
