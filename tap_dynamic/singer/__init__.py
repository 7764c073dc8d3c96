"""What the SDK sees: streams, catalog, discovery."""
