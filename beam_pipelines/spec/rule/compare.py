"""One column held against another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.condition import SYMBOLS
from beam_pipelines.spec.model import mistake
from beam_pipelines.spec.rule.base import FieldRule
from beam_pipelines.spec.values import Text

__all__ = ["CompareColumns", "Order"]

Order = Literal["lt", "lte", "gt", "gte", "eq", "ne"]


class CompareColumns(FieldRule):
    """A value that is less than, equal to or greater than that of another field of the row; null on either side is not evaluated."""

    type: Literal["compare-columns"] = Field(default="compare-columns", description="A value compared with another field's.")
    operator: Order = Field(
        description="How `field` compares with `other`; < <= > >= = != stand for lt lte gt gte eq ne.",
        json_schema_extra={"enum": [*get_args(Order), *SYMBOLS]},
    )
    other: Text = Field(description="Field to compare with.")

    @field_validator("operator", mode="before")
    @classmethod
    def _name_symbol(cls, value: Any) -> Any:
        return SYMBOLS.get(value, value) if isinstance(value, str) else value

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Two fields."""
        field = raw.get("field")
        if isinstance(field, str) and field == raw.get("other"):
            yield mistake(f"expected another field than {field!r}", "other")
