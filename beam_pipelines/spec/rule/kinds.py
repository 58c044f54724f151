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
    "not-in-set": "beam_pipelines.spec.rule.member:NotInSet",
    "length": "beam_pipelines.spec.rule.length:Length",
    "date-range": "beam_pipelines.spec.rule.moment:DateRange",
    "compare-columns": "beam_pipelines.spec.rule.compare:CompareColumns",
    "expression": "beam_pipelines.spec.rule.expression:ExpressionRule",
    "email": "beam_pipelines.spec.rule.form:Email",
    "url": "beam_pipelines.spec.rule.form:Url",
    "uuid": "beam_pipelines.spec.rule.form:Uuid",
    "ip": "beam_pipelines.spec.rule.form:Ip",
    "type": "beam_pipelines.spec.rule.value_type:TypeRule",
    "date-format": "beam_pipelines.spec.rule.moment:DateFormat",
    "json-schema": "beam_pipelines.spec.rule.json_schema:JsonSchemaRule",
    "monotonic": "beam_pipelines.spec.rule.order:Monotonic",
    # Of the data set as a whole.
    "row-count": "beam_pipelines.spec.rule.volume:RowCount",
    "distinct-count": "beam_pipelines.spec.rule.volume:DistinctCount",
    "null-ratio": "beam_pipelines.spec.rule.ratio:NullRatio",
    "distinct-ratio": "beam_pipelines.spec.rule.ratio:DistinctRatio",
    "statistic": "beam_pipelines.spec.rule.statistic:Statistic",
    "freshness": "beam_pipelines.spec.rule.freshness:Freshness",
    "drift": "beam_pipelines.spec.rule.drift:Drift",
    "schema": "beam_pipelines.spec.rule.columns:SchemaRule",
}

Rule = Annotated[RuleBase, OneOf(homes=_HOMES)]
