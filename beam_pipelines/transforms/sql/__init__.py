"""A SELECT over the rows that come to a step."""

from __future__ import annotations

from beam_pipelines.transforms.sql.query import renamed
from beam_pipelines.transforms.sql.step import Sql

__all__ = ["Sql", "renamed"]
