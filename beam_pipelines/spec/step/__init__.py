"""What happens to rows between source and destination: a module for each type of step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from beam_pipelines.spec.step.base import StepBase
from beam_pipelines.spec.step.kinds import Processor, Transformation

__all__ = ["Processor", "StepBase", "Transformation", "every_step"]


def every_step(steps: Sequence[StepBase]) -> Iterator[StepBase]:
    """Yield steps with those of their joins' sources and of what their rules refer to, in the order of the definition."""
    for step in steps:
        yield step
        yield from every_step(getattr(getattr(step, "source", None), "transformations", ()))
        references = [rule.reference.source for rule in getattr(step, "rules", ()) if rule.type == "foreign-key"]
        for source in references:
            yield from every_step(getattr(source, "transformations", ()))
