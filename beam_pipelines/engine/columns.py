"""Which columns of a source the steps use: of one that stores columns apart, no other is read."""

from __future__ import annotations

from collections.abc import Sequence

from beam_pipelines.transforms.aggregate import Aggregate
from beam_pipelines.transforms.enrich.api import Ask
from beam_pipelines.transforms.explode import Explode
from beam_pipelines.transforms.filter import Filter
from beam_pipelines.transforms.grouped import Grouped
from beam_pipelines.transforms.join import Join
from beam_pipelines.transforms.map import Map
from beam_pipelines.transforms.sample import Sample
from beam_pipelines.transforms.sql import Sql
from beam_pipelines.transforms.step import Step

__all__ = ["narrowing", "read_by"]


def narrowing(steps: Sequence[Step]) -> Sequence[Step]:
    """Return the steps up to the first that names all it takes; none when code, which may take anything, stands before it."""
    for place, step in enumerate(steps):
        if isinstance(step, Aggregate) or (isinstance(step, (Map, Sql)) and step.drops):
            return steps[: place + 1]
        if isinstance(step, Sample) and step.by_origin:
            return ()  # which rows are kept must not hang on whether later steps use the key
        if not (isinstance(step, (Filter, Map, Join, Ask, Explode, Sample)) or (isinstance(step, Grouped) and not step.whole)):
            return ()
    return ()


def read_by(steps: Sequence[Step]) -> frozenset[str]:
    """Return the columns of the source that `narrowing` steps use, each open for its input."""
    read: frozenset[str] = frozenset()
    for step in reversed(steps):
        if isinstance(step, Join):
            read = step.left_columns(read)
        elif isinstance(step, Ask):
            read = (read - step.makes) | step.columns
        elif isinstance(step, Explode):
            read = step.before(read)
        elif isinstance(step, Sql):
            read = step.reads
        elif isinstance(step, Map):
            read = step.reads if step.drops else read | step.reads
        else:
            assert isinstance(step, (Filter, Sample, Aggregate, Grouped))
            read = step.columns if isinstance(step, Aggregate) else read | step.columns
    return read
