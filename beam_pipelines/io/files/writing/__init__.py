"""Writers of rows into files, one a format: each takes a binary sink and batches, and holds little more than a batch."""
