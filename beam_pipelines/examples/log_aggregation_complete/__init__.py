"""The parts of the packaged Log Aggregation."""
