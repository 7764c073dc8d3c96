"""Runs the commands of docs/bulk.md against the sandbox, a real object store and real engines."""
