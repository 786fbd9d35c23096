"""What lies at a destination: catalog, publish, retention, restore."""
