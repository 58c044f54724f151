"""Fields that must have a value."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.spec.rule.base import RuleBase
from beam_pipelines.spec.values import Flag, Text

__all__ = ["RequiredFields"]


class RequiredFields(RuleBase):
    """Fields that must have a value: 0 and false are values."""

    type: Literal["required-fields"] = Field(default="required-fields", description="Fields that must not be missing.")
    fields: tuple[Text, ...] = Field(min_length=1, description="Fields that must not be missing.")
    empty_is_missing: Flag = Field(default=True, description="The empty text is no value.")
    blank_is_missing: Flag = Field(default=False, description="Text of nothing but white space is no value.")
    nan_is_missing: Flag = Field(default=True, description="NaN is no value.")
    sentinels: tuple[str, ...] = Field(default=(), description="Texts that stand for no value, such as NA and ?.")
