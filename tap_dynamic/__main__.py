"""`python -m tap_dynamic`."""

from __future__ import annotations

from tap_dynamic.tap import TapDynamic

TapDynamic.cli()
