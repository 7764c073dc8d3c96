"""The documented fields of each stream, as JSON schemas."""
