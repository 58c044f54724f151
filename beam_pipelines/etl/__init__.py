"""The ETL service: a source through transformations into a destination, incrementally."""
