"""Rows grouped and summed up: states of groups that combine in any order, and what becomes of them in the end."""

from __future__ import annotations

from beam_pipelines.transforms.aggregate.step import Aggregate

__all__ = ["Aggregate"]
