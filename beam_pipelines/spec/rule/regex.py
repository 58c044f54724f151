"""Text by a pattern."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.rule.base import FieldRule
from beam_pipelines.spec.values import Text

__all__ = ["Regex"]


class Regex(FieldRule):
    """A pattern that must be found in the text; null and the empty text are not evaluated."""

    type: Literal["regex"] = Field(default="regex", description="A pattern that the field must match.")
    pattern: Text = Field(description="RE2 pattern.")
    match: Literal["search", "full"] = Field(
        default="search", description="search: anywhere in the text unless anchored with ^ and $; full: the whole text."
    )
