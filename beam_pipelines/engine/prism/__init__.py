"""Streams on Prism, Beam's local engine for pipelines without an end: one job, in which drains follow each other."""
