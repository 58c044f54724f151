"""Connectors, a folder a system: what reads, stages and commits. `connector` says what each must do."""
