"""Rows by group: one of those that are alike, the first of each group, so many and no more, all in order."""

from __future__ import annotations

from beam_pipelines.transforms.grouped.deduplicate import Deduplicate
from beam_pipelines.transforms.grouped.sort import Sort
from beam_pipelines.transforms.grouped.step import Grouped
from beam_pipelines.transforms.grouped.top import Limit, Top

__all__ = ["Deduplicate", "Grouped", "Limit", "Sort", "Top"]
