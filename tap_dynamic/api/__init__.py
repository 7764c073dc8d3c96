"""Dynamic's exports API."""
