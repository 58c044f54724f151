"""Avro files, block by block."""
