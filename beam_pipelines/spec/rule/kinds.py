"""The types of rules, and where the model of each is."""

from __future__ import annotations

from typing import Annotated

from beam_pipelines.spec.one_of import OneOf
from beam_pipelines.spec.rule.base import RuleBase

__all__ = ["Rule"]

_HOMES = {
    "required-fields": "beam_pipelines.spec.rule.required:RequiredFields",
    "regex": "beam_pipelines.spec.rule.regex:Regex",
    "numeric-range": "beam_pipelines.spec.rule.number:NumericRange",
    "unique": "beam_pipelines.spec.rule.unique:Unique",
    "foreign-key": "beam_pipelines.spec.rule.reference:ForeignKey",
    "in-set": "beam_pipelines.spec.rule.member:InSet",
    "monotonic": "beam_pipelines.spec.rule.order:Monotonic",
    # Of the data set as a whole.
    "row-count": "beam_pipelines.spec.rule.volume:RowCount",
    "distinct-count": "beam_pipelines.spec.rule.volume:DistinctCount",
    "null-ratio": "beam_pipelines.spec.rule.ratio:NullRatio",
    "distinct-ratio": "beam_pipelines.spec.rule.ratio:DistinctRatio",
    "statistic": "beam_pipelines.spec.rule.statistic:Statistic",
    "freshness": "beam_pipelines.spec.rule.freshness:Freshness",
    "schema": "beam_pipelines.spec.rule.columns:SchemaRule",
}

Rule = Annotated[RuleBase, OneOf(homes=_HOMES)]
