"""The columns of each stream as JSON schemas, and the candidates of its key.

Dynamic documents neither. Both are what public sources show: exports that customers described
column by column, and the scripts with which they import them.
"""

from __future__ import annotations

import sys

from singer_sdk.schema.source import SchemaDirectory

SCHEMAS = SchemaDirectory(sys.modules[__name__])
KEY_CANDIDATES: dict[str, tuple[tuple[str, ...], ...]] = {
    # A row is a verified credential; a user without any has a row with an empty one.
    "users": (("user_id", "verified_credential_id"), ("id",), ("user_id",)),
    "visits": (("id",),),
}
"""Keys in order of preference: the first whose columns are all in a file."""
