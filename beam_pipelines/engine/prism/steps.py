"""Which steps of a stream Prism can carry out."""

from __future__ import annotations

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import BY_GROUPS, sums_up, takes_others
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.spec.step.sided import sided

__all__ = ["check_steps"]


def check_steps(job: Job) -> None:
    """Refuse steps that take the rows of others: Prism shows these before they are there (`engine.noted`).

    Raises:
        PlanError: `runner-refused`.
    """
    for place, step in enumerate(job.definition.steps):
        if step.type == "union" or step.type in BY_GROUPS or sided(step) or takes_others(step) or (sums_up(step) and step.type != "window"):
            message = f"the step {step.id!r} of type {step.type!r} takes rows of others, which Prism shows before they are there"
            raise refusal(f"{job.definition.steps_path}[{place}]", message, "runner-refused", "use --runner=DirectRunner")
