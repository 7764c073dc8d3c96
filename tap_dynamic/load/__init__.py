"""One run, and one load."""
