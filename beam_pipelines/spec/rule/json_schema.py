"""JSON by a schema."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from beam_pipelines.spec.rule.base import RuleBase
from beam_pipelines.spec.values import Text

__all__ = ["JsonSchemaRule"]


class JsonSchemaRule(RuleBase):
    """A value, or the row as a whole, that fits a JSON Schema; null and the empty text are not evaluated, text that is no JSON violates."""

    type: Literal["json-schema"] = Field(default="json-schema", description="JSON that fits a schema.")
    field: Text | None = Field(default=None, description="Field of JSON text, JSON, structs, lists or maps; default: the whole row.")
    document: dict[str, Any] = Field(
        validation_alias="schema", serialization_alias="schema", description="JSON Schema; without `$schema` of draft 2020-12."
    )
