"""Which steps of a stream Prism can carry out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

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
            _refuse_unique(job, step, path)
            for rule in cast("ValidateStep", step).foreign_keys:
                check_steps(job.side(reference_name(step.id, rule.id)))
        elif sided(step):
            message = f"the step {step.id!r} of type {step.type!r} takes rows of others, which Prism shows before they are there"
            raise refusal(path, message, "runner-refused", "use --runner=DirectRunner")


def _refuse_unique(job: Job, step: Any, path: str) -> None:
    """Refuse rules that compare all rows of a source beside the stream: what is remembered there are keys of the stream's own rows."""
    for at, rule in enumerate(step.rules):
        if job.path and rule.type == "unique":
            message = f"the rule {rule.id!r} of type {rule.type!r} compares all rows of the source of a step"
            raise refusal(f"{path}.rules[{at}]", message, "runner-refused", "use --runner=DirectRunner, or a deduplicate step")
