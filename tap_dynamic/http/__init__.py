"""HTTP: sessions, retries."""
