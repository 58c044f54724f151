"""Rows joined with those of another source: an index over one side, asked by whole batches of the other."""

from __future__ import annotations

from beam_pipelines.columnar.index import Index
from beam_pipelines.spec.step.join import JoinStep
from beam_pipelines.transforms.join.step import Join

__all__ = ["Index", "Join", "build_join"]


def build_join(model: JoinStep, path: str) -> Join:
    """The join of a definition: of two streams one that waits."""
    if not model.live:
        return Join(model, path)
    from beam_pipelines.transforms.join.live import LiveJoin  # few joins are of two streams

    return LiveJoin(model, path)
