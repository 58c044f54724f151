"""What stands beside the Data Quality Checker."""
