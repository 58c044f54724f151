"""Refusals that name the key of the definition they are about; `Service` adds file, line and column."""

from __future__ import annotations

from beam_pipelines.errors import Code, PlanError, Problem

__all__ = ["refusal"]

_HEADLINE = "the service cannot be run as it is defined"


def refusal(path: str, message: str, code: Code, hint: str = "") -> PlanError:
    """Return the error for one key.

    Args:
        path: The key, such as `pipeline.source.cursor.overlap`.
        message: What was expected and what came.
        code: Of the error.
        hint: What to do.
    """
    return PlanError(_HEADLINE, problems=[Problem(message, path, hint=hint)], code=code)
