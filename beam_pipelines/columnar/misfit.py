"""What does not fit, before it is known where in the definition it stands; the steps turn it into a PlanError."""

from __future__ import annotations

__all__ = ["MisfitError"]


class MisfitError(ValueError):
    """A part of a step that does not fit its fields or arguments.

    Args:
        message: What was expected and what came.
        hint: What to do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint
