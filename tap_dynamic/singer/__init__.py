"""What the SDK sees: streams, catalog, discovery."""

from __future__ import annotations
