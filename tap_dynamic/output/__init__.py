"""Messages and BATCH files."""
