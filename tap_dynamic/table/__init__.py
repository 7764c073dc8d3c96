"""From cells to records: columns, keys, types."""
