"""Which of its two forms an enrich step has."""

from __future__ import annotations

from beam_pipelines.spec.step.enrich import EnrichStep
from beam_pipelines.transforms.step import Step

__all__ = ["step_of"]


def step_of(model: EnrichStep, path: str) -> Step:
    """Return the step that looks up in a source, or asks an API.

    Args:
        model: From the definition.
        path: Where it stands in it.
    """
    if model.source is not None:
        from beam_pipelines.transforms.enrich.table import Lookup

        return Lookup(model, path)
    from beam_pipelines.transforms.enrich.api import Ask

    return Ask(model, path)
