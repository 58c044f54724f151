"""Steps between source and destination: pure functions on record batches."""
