"""HTTP: sessions, retries."""

from __future__ import annotations
