"""Values of a type, and text that can be read as one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.rule.base import FieldRule

__all__ = ["TypeRule"]


class TypeRule(FieldRule):
    """A value of a type, or text that can be read as one; null, and where text is read the empty text, are not evaluated."""

    type: Literal["type"] = Field(default="type", description="A value of a type, or text that can be read as one.")
    kind: Literal["int", "number", "text", "boolean", "date", "timestamp", "time", "uuid", "json"] = Field(
        validation_alias="is",
        serialization_alias="is",
        description="int (64 bits), number, text, boolean, date, timestamp, time, uuid or json.",
    )
