"""SQLite: source and target."""
