"""What happens to rows between source and destination."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.aggregation import GroupEntry, Measure, check_group, check_window, group_measures, window_measures
from beam_pipelines.spec.condition import Condition
from beam_pipelines.spec.destination import Destination
from beam_pipelines.spec.mapping import FieldMapping
from beam_pipelines.spec.model import Model, by_type, mistake
from beam_pipelines.spec.source import ApiSource, DatabaseSource, FileSource, GcsSource, KafkaSource, S3Source, StreamSource
from beam_pipelines.spec.values import CodeRef, Count, Duration, Flag, Identifier, Text, parse_duration, shown
from beam_pipelines.spec.window import Window

__all__ = [
    "AggregateStep",
    "FilterStep",
    "FunctionStep",
    "JoinSource",
    "JoinStep",
    "MapStep",
    "Processor",
    "StepBase",
    "Transformation",
    "WindowStep",
    "every_step",
]


class StepBase(Model):
    """What every step has."""

    type: str = Field(description="What the step does.")
    id: Identifier = Field(description="Name of the step in results, unique in the definition.")
    description: str = Field(default="", description="For people.")
    required: Flag = Field(
        default=True, description="false: a row on which the step fails passes with the step's new columns null, and is counted."
    )


class _WholeStep(StepBase):
    """A step that needs every row of a group, so that none may be passed by."""

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Required is always true."""
        if raw.get("required") is False:
            yield mistake(f"expected true: a step of type {raw.get('type')!r} cannot pass failed rows on, got false", "required")


class FunctionStep(StepBase):
    """The user's own code, by row or by batch."""

    type: Literal["function"] = Field(default="function", description="A Python function, by row or by batch.")
    handler: CodeRef | None = Field(
        default=None,
        description="module:function; default: the one named like the step in functions.py beside the definition, else in `functions`.",
    )
    output: dict[Text, Text] | None = Field(
        default=None,
        min_length=1,
        description="Output columns with their types, such as {id: bigint, email: text}; default: sampled at the first run.",
    )
    concurrency: Annotated[Count, Field(le=1000)] | None = Field(
        default=None, description="Of an async function: rows under way at one time in each worker; default: 16."
    )


class MapStep(StepBase):
    """Fields renamed, nested, converted and computed."""

    type: Literal["map"] = Field(default="map", description="Rename, nest, convert and compute fields.")
    mappings: dict[Text, FieldMapping] = Field(min_length=1, description="By target field, nested by dots.")
    unmapped: Literal["drop", "keep"] = Field(default="drop", description="What becomes of fields that no mapping names.")
    on_error: Literal["deadletter", "null", "keep"] = Field(
        default="deadletter", description="A value that cannot be converted: deadletter the row, put null, or keep the value as it is."
    )


class FilterStep(StepBase):
    """Rows on which a condition is true; null is not true."""

    type: Literal["filter"] = Field(default="filter", description="Keep rows on which the condition is true.")
    condition: Condition = Field(description="SQL expression, or {field, operator, value}, {all: [...]}, {any: [...]}, {not: ...}.")


class AggregateStep(_WholeStep):
    """Rows grouped and summed up."""

    type: Literal["aggregate"] = Field(default="aggregate", description="Group rows and sum them up.")
    group_by: tuple[Text, ...] = Field(description="Fields that make a group; [] gives one row.")
    aggregations: dict[Text, GroupEntry] = Field(
        min_length=1, description="By field: a function, a list of functions, or a list of {function, as, args}."
    )
    having: Condition | None = Field(default=None, description="Which groups to keep.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Aggregations are written by field."""
        yield from super().laws(raw)
        yield from _check_entries(raw, check_group)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The results, in the order of the definition."""
        return group_measures(self.aggregations)

    @property
    def group_names(self) -> tuple[str, ...]:
        """What the fields of `groupBy` are called in the result: as they are written, with dots and brackets of a path as `_`."""
        return tuple(text.replace("[", ".").replace("]", "").replace(".", "_") for text in self.group_by)


class WindowStep(_WholeStep):
    """Events of a stream summed up by windows of time."""

    type: Literal["window"] = Field(default="window", description="Sum events up by windows of time.")
    window: Window = Field(description="{type: tumbling, size}, {type: sliding, size, slide} or {type: session, gap}.")
    aggregations: dict[Text, str] = Field(min_length=1, description='By output name: "function:field"; "count" alone counts events.')
    group_by: tuple[Text, ...] = Field(default=(), description="Fields that make a group; default: the whole stream.")
    allowed_lateness: Duration = Field(default=timedelta(0), description="How long after its end a window still takes late events.")
    emit: Annotated[str, AfterValidator(lambda value: _check_emit(value))] = Field(
        default="onClose", description="onClose, or `every 10s`: early results, replaced by later ones in order."
    )
    late: Annotated[
        Annotated[Literal["deadletter"], Tag("type: deadletter")] | Annotated[Destination, Tag("type: destination")],
        Discriminator(lambda value: "type: deadletter" if isinstance(value, str) else "type: destination"),
    ] = Field(default="deadletter", description="Where events go that come too late: deadletter, or a destination of their own.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Aggregations are written by output name."""
        yield from super().laws(raw)
        yield from _check_entries(raw, check_window)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The results beside windowStart, windowEnd and eventCount, in the order of the definition."""
        return window_measures(self.aggregations)

    @property
    def emit_every(self) -> timedelta | None:
        """The interval of early results; None when windows are emitted once they close."""
        return None if self.emit == "onClose" else parse_duration(self.emit.removeprefix("every "))


def _check_emit(value: str) -> str:
    match = re.fullmatch(r"every (\S+)", value)
    if value != "onClose" and not match:
        raise ValueError(f"expected onClose or 'every 10s', got {shown(value)}")
    if match and parse_duration(match[1]) == timedelta(0):
        raise ValueError(f"expected an interval above zero, got {shown(value)}")
    return value


def _check_entries(raw: Mapping[str, Any], check: Any) -> Iterator[InitErrorDetails]:
    entries = raw.get("aggregations")
    for name, value in entries.items() if isinstance(entries, Mapping) else ():
        try:
            check(name, value)
        except ValueError as error:
            yield mistake(str(error), "aggregations", name)


class _Stepped(Model):
    """A source with steps of its own, as the right side of a join may be."""

    transformations: tuple[Transformation, ...] = Field(default=(), description="Steps on the joined rows before the join.")


class DatabaseJoin(DatabaseSource, _Stepped):
    """A database as the right side of a join."""


class ApiJoin(ApiSource, _Stepped):
    """An HTTP API as the right side of a join."""


class FileJoin(FileSource, _Stepped):
    """Files as the right side of a join."""


class KafkaJoin(KafkaSource, _Stepped):
    """A topic as the right side of a join."""


class StreamJoin(StreamSource, _Stepped):
    """A topic as the right side of a join, `type: stream`."""


class S3Join(S3Source, _Stepped):
    """Objects of an S3 bucket as the right side of a join."""


class GcsJoin(GcsSource, _Stepped):
    """Objects of a Google Cloud Storage bucket as the right side of a join."""


JoinSource = Annotated[
    Annotated[DatabaseJoin, Tag("type: database")]
    | Annotated[ApiJoin, Tag("type: api")]
    | Annotated[FileJoin, Tag("type: file")]
    | Annotated[KafkaJoin, Tag("type: kafka")]
    | Annotated[StreamJoin, Tag("type: stream")]
    | Annotated[S3Join, Tag("type: s3")]
    | Annotated[GcsJoin, Tag("type: gcs")],
    by_type("database", "api", "file", "kafka", "stream", "s3", "gcs"),
]


class JoinStep(_WholeStep):
    """Rows joined with those of another source."""

    type: Literal["join"] = Field(default="join", description="Join with another source.")
    source: JoinSource = Field(description="The right side: a whole source, with its own `transformations` if wanted.")
    on: Annotated[
        Annotated[tuple[Text, ...], Tag("type: same"), Field(min_length=1)]
        | Annotated[dict[Text, Text], Tag("type: pairs"), Field(min_length=1)],
        Discriminator(lambda value: "type: pairs" if isinstance(value, Mapping) else "type: same"),
    ] = Field(description="Keys: [name] where both sides call them the same, else {left: right}.")
    how: Literal["inner", "left", "right", "full", "semi", "anti"] = Field(default="inner", description="Which rows come out.")
    suffix: Text | None = Field(default=None, description="Appended to right columns that clash; without it a clash is an error.")

    @property
    def keys_left_right(self) -> tuple[tuple[str, str], ...]:
        """Pairs of key columns, left and right."""
        return tuple(self.on.items()) if isinstance(self.on, dict) else tuple((name, name) for name in self.on)


Transformation = Annotated[
    Annotated[FunctionStep, Tag("type: function")]
    | Annotated[MapStep, Tag("type: map")]
    | Annotated[FilterStep, Tag("type: filter")]
    | Annotated[AggregateStep, Tag("type: aggregate")]
    | Annotated[JoinStep, Tag("type: join")],
    by_type("function", "map", "filter", "aggregate", "join"),
]
Processor = Annotated[
    Annotated[FunctionStep, Tag("type: function")]
    | Annotated[MapStep, Tag("type: map")]
    | Annotated[FilterStep, Tag("type: filter")]
    | Annotated[WindowStep, Tag("type: window")]
    | Annotated[JoinStep, Tag("type: join")],
    by_type("function", "map", "filter", "window", "join"),
]


def every_step(steps: tuple[StepBase, ...]) -> Iterator[StepBase]:
    """Yield steps with those of their joins' sources, in the order of the definition."""
    for step in steps:
        yield step
        if isinstance(step, JoinStep):
            yield from every_step(step.source.transformations)
