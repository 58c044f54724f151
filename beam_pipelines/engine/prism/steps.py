"""Which steps of a stream Prism can carry out."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.engine.sides import reference_name
from beam_pipelines.spec.step.sided import sided

if TYPE_CHECKING:
    from beam_pipelines.spec.step.validate import ValidateStep

__all__ = ["check_steps"]


def check_steps(job: Job) -> None:
    """Refuse steps that take the rows of others: Prism shows these before they are there (`engine.noted`).

    Raises:
        PlanError: `runner-refused`.
    """
    for place, step in enumerate(job.definition.steps):
        path = f"{job.path or job.definition.steps_path}[{place}]"
        if sided(step) and step.keys_left_right:
            check_steps(job.side(step.id))  # its rows go to shards by their keys
        elif step.type == "validate":
            for rule in cast("ValidateStep", step).foreign_keys:
                check_steps(job.side(reference_name(step.id, rule.id)))
        elif sided(step):
            message = f"the step {step.id!r} of type {step.type!r} takes rows of others, which Prism shows before they are there"
            raise refusal(path, message, "runner-refused", "use --runner=DirectRunner")
