"""From a URL to a verified file."""
