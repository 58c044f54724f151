"""Steps of a job, open for the batches of a load: what a worker does first, whatever the steps do then."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime

from beam_pipelines.columnar import expression
from beam_pipelines.engine import calls
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.prepare import TERMS
from beam_pipelines.engine.sides import acquainted
from beam_pipelines.runs.window import Window
from beam_pipelines.transforms.step import Step

__all__ = ["open_steps"]


def open_steps(job: Job, positions: Sequence[int], window: Window) -> list[Step]:
    """Return adjacent steps, each open for what the one before it gives; the caller closes them.

    Args:
        job: The service, or the side of a join.
        positions: Of the steps.
        window: Of the load, planned.

    Raises:
        BeamPipelinesError: One cannot be opened; those before it are closed again.
    """
    every = job.steps()
    steps = [every[position] for position in positions]
    acquainted(job, steps, window)
    calls.reach(job, steps, job.run_context)
    expression.recall(window.schemas.get(TERMS, "[]"))
    schema, now = job.schema_before(window, positions[0]), datetime.fromisoformat(window.started_at)
    with contextlib.ExitStack() as opened:
        for step in steps:
            after = window.schema(step.id)
            step.open(schema, after, now)
            opened.callback(step.close)
            schema = after
        opened.pop_all()
    return steps
