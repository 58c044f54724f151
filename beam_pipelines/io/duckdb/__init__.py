"""DuckDB: the embedded warehouse, and the default target."""
