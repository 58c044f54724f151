"""What a user writes: the models of a service definition, its reader and its JSON Schema.

Nothing here imports Beam, Arrow or a client, and the YAML parser is imported when a file is read. Names are loaded on first use, so that a
start imports only the models that its definition has.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from beam_pipelines.spec.load import Loaded, load, loads, parse
from beam_pipelines.spec.render import render

if TYPE_CHECKING:
    from beam_pipelines.spec.aggregation import Aggregation, Measure
    from beam_pipelines.spec.case import Case, DeadRow, Expectation, MockedRows
    from beam_pipelines.spec.condition import AllOf, AnyOf, Comparison, Condition, Negation, Operator
    from beam_pipelines.spec.definition import Batch, Definition, ErrorBudget, Kind, Pipeline, Processing, Retention, Stream, Validation
    from beam_pipelines.spec.destination import (
        ApiDestination,
        BucketDestination,
        DatabaseDestination,
        Destination,
        FileDestination,
        GcsDestination,
        KafkaDestination,
        Mode,
        S3Destination,
        TableDestination,
        WarehouseDestination,
    )
    from beam_pipelines.spec.mapping import Converter, FieldMapping
    from beam_pipelines.spec.model import Model
    from beam_pipelines.spec.output import FileOutput, Output, TableOutput, WarehouseOutput
    from beam_pipelines.spec.position import Position, Positions
    from beam_pipelines.spec.pricing import MeteredPricing, PerGbPricing, PerHourPricing, PerRecordPricing, Pricing, Tier, TierMode
    from beam_pipelines.spec.rule import Action, Actions, Rule, RuleBase, Severity
    from beam_pipelines.spec.rule.columns import SchemaRule
    from beam_pipelines.spec.rule.compare import CompareColumns
    from beam_pipelines.spec.rule.dataset import SetRule
    from beam_pipelines.spec.rule.drift import Drift
    from beam_pipelines.spec.rule.expression import ExpressionRule
    from beam_pipelines.spec.rule.form import Email, Ip, Url, Uuid
    from beam_pipelines.spec.rule.freshness import Freshness
    from beam_pipelines.spec.rule.json_schema import JsonSchemaRule
    from beam_pipelines.spec.rule.length import Length
    from beam_pipelines.spec.rule.member import InSet, NotInSet
    from beam_pipelines.spec.rule.moment import DateFormat, DateRange
    from beam_pipelines.spec.rule.number import NumericRange
    from beam_pipelines.spec.rule.order import Monotonic
    from beam_pipelines.spec.rule.ratio import DistinctRatio, NullRatio
    from beam_pipelines.spec.rule.reference import ForeignKey, Reference
    from beam_pipelines.spec.rule.regex import Regex
    from beam_pipelines.spec.rule.required import RequiredFields
    from beam_pipelines.spec.rule.statistic import Statistic
    from beam_pipelines.spec.rule.unique import Unique
    from beam_pipelines.spec.rule.value_type import TypeRule
    from beam_pipelines.spec.rule.volume import DistinctCount, RowCount
    from beam_pipelines.spec.schedule import Schedule
    from beam_pipelines.spec.schema import json_schema
    from beam_pipelines.spec.source import (
        ApiSource,
        BatchSource,
        BucketSource,
        Compression,
        Cursor,
        DatabaseSource,
        EventSource,
        FileFormat,
        FileSource,
        GcsSource,
        KafkaSource,
        S3Source,
        Source,
        StreamSource,
        TopicSource,
    )
    from beam_pipelines.spec.step import Processor, StepBase, Transformation, every_step
    from beam_pipelines.spec.step.aggregate import AggregateStep
    from beam_pipelines.spec.step.deduplicate import DeduplicateStep
    from beam_pipelines.spec.step.enrich import EnrichStep
    from beam_pipelines.spec.step.explode import ExplodeStep
    from beam_pipelines.spec.step.filter import FilterStep
    from beam_pipelines.spec.step.function import FunctionStep
    from beam_pipelines.spec.step.join import JoinSource, JoinStep
    from beam_pipelines.spec.step.limit import LimitStep
    from beam_pipelines.spec.step.map import MapStep
    from beam_pipelines.spec.step.pivot import PivotStep
    from beam_pipelines.spec.step.sample import SampleStep
    from beam_pipelines.spec.step.sort import SortStep
    from beam_pipelines.spec.step.sql import SqlStep
    from beam_pipelines.spec.step.top import TopStep
    from beam_pipelines.spec.step.union import UnionStep
    from beam_pipelines.spec.step.validate import ValidateStep
    from beam_pipelines.spec.step.window import WindowStep
    from beam_pipelines.spec.values import parse_duration, parse_size, slug
    from beam_pipelines.spec.window import SessionWindow, SlidingWindow, TumblingWindow, Window

__all__ = [
    "Action",
    "Actions",
    "AggregateStep",
    "Aggregation",
    "AllOf",
    "AnyOf",
    "ApiDestination",
    "ApiSource",
    "Batch",
    "BatchSource",
    "BucketDestination",
    "BucketSource",
    "Case",
    "CompareColumns",
    "Comparison",
    "Compression",
    "Condition",
    "Converter",
    "Cursor",
    "DatabaseDestination",
    "DatabaseSource",
    "DateFormat",
    "DateRange",
    "DeadRow",
    "DeduplicateStep",
    "Definition",
    "Destination",
    "DistinctCount",
    "DistinctRatio",
    "Drift",
    "Email",
    "EnrichStep",
    "ErrorBudget",
    "EventSource",
    "Expectation",
    "ExplodeStep",
    "ExpressionRule",
    "FieldMapping",
    "FileDestination",
    "FileFormat",
    "FileOutput",
    "FileSource",
    "FilterStep",
    "ForeignKey",
    "Freshness",
    "FunctionStep",
    "GcsDestination",
    "GcsSource",
    "InSet",
    "Ip",
    "JoinSource",
    "JoinStep",
    "JsonSchemaRule",
    "KafkaDestination",
    "KafkaSource",
    "Kind",
    "Length",
    "LimitStep",
    "Loaded",
    "MapStep",
    "Measure",
    "MeteredPricing",
    "MockedRows",
    "Mode",
    "Model",
    "Monotonic",
    "Negation",
    "NotInSet",
    "NullRatio",
    "NumericRange",
    "Operator",
    "Output",
    "PerGbPricing",
    "PerHourPricing",
    "PerRecordPricing",
    "Pipeline",
    "PivotStep",
    "Position",
    "Positions",
    "Pricing",
    "Processing",
    "Processor",
    "Reference",
    "Regex",
    "RequiredFields",
    "Retention",
    "RowCount",
    "Rule",
    "RuleBase",
    "S3Destination",
    "S3Source",
    "SampleStep",
    "Schedule",
    "SchemaRule",
    "SessionWindow",
    "SetRule",
    "Severity",
    "SlidingWindow",
    "SortStep",
    "Source",
    "SqlStep",
    "Statistic",
    "StepBase",
    "Stream",
    "StreamSource",
    "TableDestination",
    "TableOutput",
    "Tier",
    "TierMode",
    "TopStep",
    "TopicSource",
    "Transformation",
    "TumblingWindow",
    "TypeRule",
    "UnionStep",
    "Unique",
    "Url",
    "Uuid",
    "ValidateStep",
    "Validation",
    "WarehouseDestination",
    "WarehouseOutput",
    "Window",
    "WindowStep",
    "every_step",
    "json_schema",
    "load",
    "loads",
    "parse",
    "parse_duration",
    "parse_size",
    "render",
    "slug",
]

_NAMES = {
    "beam_pipelines.spec.aggregation": ("Aggregation", "Measure"),
    "beam_pipelines.spec.case": ("Case", "DeadRow", "Expectation", "MockedRows"),
    "beam_pipelines.spec.condition": ("AllOf", "AnyOf", "Comparison", "Condition", "Negation", "Operator"),
    "beam_pipelines.spec.definition": (
        "Batch",
        "Definition",
        "ErrorBudget",
        "Kind",
        "Pipeline",
        "Processing",
        "Retention",
        "Stream",
        "Validation",
    ),
    "beam_pipelines.spec.destination": (
        "ApiDestination",
        "BucketDestination",
        "DatabaseDestination",
        "Destination",
        "FileDestination",
        "GcsDestination",
        "KafkaDestination",
        "Mode",
        "S3Destination",
        "TableDestination",
        "WarehouseDestination",
    ),
    "beam_pipelines.spec.mapping": ("Converter", "FieldMapping"),
    "beam_pipelines.spec.model": ("Model",),
    "beam_pipelines.spec.output": ("FileOutput", "Output", "TableOutput", "WarehouseOutput"),
    "beam_pipelines.spec.position": ("Position", "Positions"),
    "beam_pipelines.spec.pricing": ("MeteredPricing", "PerGbPricing", "PerHourPricing", "PerRecordPricing", "Pricing", "Tier", "TierMode"),
    "beam_pipelines.spec.rule": ("Action", "Actions", "Rule", "RuleBase", "Severity"),
    "beam_pipelines.spec.rule.columns": ("SchemaRule",),
    "beam_pipelines.spec.rule.dataset": ("SetRule",),
    "beam_pipelines.spec.rule.drift": ("Drift",),
    "beam_pipelines.spec.rule.freshness": ("Freshness",),
    "beam_pipelines.spec.rule.order": ("Monotonic",),
    "beam_pipelines.spec.rule.ratio": ("DistinctRatio", "NullRatio"),
    "beam_pipelines.spec.rule.statistic": ("Statistic",),
    "beam_pipelines.spec.rule.volume": ("DistinctCount", "RowCount"),
    "beam_pipelines.spec.rule.compare": ("CompareColumns",),
    "beam_pipelines.spec.rule.expression": ("ExpressionRule",),
    "beam_pipelines.spec.rule.form": ("Email", "Ip", "Url", "Uuid"),
    "beam_pipelines.spec.rule.json_schema": ("JsonSchemaRule",),
    "beam_pipelines.spec.rule.length": ("Length",),
    "beam_pipelines.spec.rule.member": ("InSet", "NotInSet"),
    "beam_pipelines.spec.rule.moment": ("DateFormat", "DateRange"),
    "beam_pipelines.spec.rule.number": ("NumericRange",),
    "beam_pipelines.spec.rule.reference": ("ForeignKey", "Reference"),
    "beam_pipelines.spec.rule.regex": ("Regex",),
    "beam_pipelines.spec.rule.required": ("RequiredFields",),
    "beam_pipelines.spec.rule.unique": ("Unique",),
    "beam_pipelines.spec.rule.value_type": ("TypeRule",),
    "beam_pipelines.spec.schedule": ("Schedule",),
    "beam_pipelines.spec.schema": ("json_schema",),
    "beam_pipelines.spec.source": (
        "ApiSource",
        "BatchSource",
        "BucketSource",
        "Compression",
        "Cursor",
        "DatabaseSource",
        "EventSource",
        "FileFormat",
        "FileSource",
        "GcsSource",
        "KafkaSource",
        "S3Source",
        "Source",
        "StreamSource",
        "TopicSource",
    ),
    "beam_pipelines.spec.step": ("Processor", "StepBase", "Transformation", "every_step"),
    "beam_pipelines.spec.step.aggregate": ("AggregateStep",),
    "beam_pipelines.spec.step.enrich": ("EnrichStep",),
    "beam_pipelines.spec.step.explode": ("ExplodeStep",),
    "beam_pipelines.spec.step.filter": ("FilterStep",),
    "beam_pipelines.spec.step.function": ("FunctionStep",),
    "beam_pipelines.spec.step.join": ("JoinSource", "JoinStep"),
    "beam_pipelines.spec.step.map": ("MapStep",),
    "beam_pipelines.spec.step.sample": ("SampleStep",),
    "beam_pipelines.spec.step.sql": ("SqlStep",),
    "beam_pipelines.spec.step.deduplicate": ("DeduplicateStep",),
    "beam_pipelines.spec.step.limit": ("LimitStep",),
    "beam_pipelines.spec.step.pivot": ("PivotStep",),
    "beam_pipelines.spec.step.sort": ("SortStep",),
    "beam_pipelines.spec.step.top": ("TopStep",),
    "beam_pipelines.spec.step.union": ("UnionStep",),
    "beam_pipelines.spec.step.validate": ("ValidateStep",),
    "beam_pipelines.spec.step.window": ("WindowStep",),
    "beam_pipelines.spec.values": ("parse_duration", "parse_size", "slug"),
    "beam_pipelines.spec.window": ("SessionWindow", "SlidingWindow", "TumblingWindow", "Window"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
