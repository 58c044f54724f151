"""Rows joined with those of another source: an index over one side, asked by whole batches of the other."""

from __future__ import annotations

from beam_pipelines.columnar.index import Index
from beam_pipelines.transforms.join.step import Join

__all__ = ["Index", "Join"]
