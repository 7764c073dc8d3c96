"""The documented fields of each stream, as JSON schemas."""

from __future__ import annotations

import sys

from singer_sdk.schema.source import SchemaDirectory

SCHEMAS = SchemaDirectory(sys.modules[__name__])
