"""Which columns there are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.rule.dataset import SetRule
from beam_pipelines.spec.values import Flag, Text

__all__ = ["SchemaRule"]


class SchemaRule(SetRule):
    """The columns and their types, as they come; how text and lists are stored makes no difference."""

    type: Literal["schema"] = Field(default="schema", description="Which columns there are.")
    columns: dict[Text, Text] = Field(min_length=1, description='Type of each column: `{id: bigint, name: text, amount: "decimal(10,2)"}`.')
    extra: Literal["allow", "refuse"] = Field(default="allow", description="Whether there may be other columns.")
    order: Flag = Field(default=False, description="Whether the columns must come in this order; others may stand between them.")
