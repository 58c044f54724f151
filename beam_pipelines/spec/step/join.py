"""Rows joined with those of another source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainValidator, Tag, WithJsonSchema
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.one_of import OneOf
from beam_pipelines.spec.source import ApiSource, DatabaseSource, FileSource, GcsSource, KafkaSource, S3Source, StreamSource
from beam_pipelines.spec.step.base import WholeStep
from beam_pipelines.spec.step.kinds import Transformation
from beam_pipelines.spec.values import Duration, Flag, Text, parse_duration, shown
from beam_pipelines.spec.window import TumblingWindow

__all__ = ["AsOf", "JoinSource", "JoinStep"]


class _Stepped(Model):
    """A source with steps of its own, as the right side of a join may be."""

    transformations: tuple[Transformation, ...] = Field(default=(), description="Steps on the joined rows before the join.")
    refresh: Duration | None = Field(
        default=None, description="Of streams: how old the rows may be that were read, 10m; else each drain reads them."
    )


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
    DatabaseJoin | ApiJoin | FileJoin | KafkaJoin | StreamJoin | S3Join | GcsJoin,
    OneOf(DatabaseJoin, ApiJoin, FileJoin, KafkaJoin, StreamJoin, S3Join, GcsJoin),
]


def _tolerance(value: object) -> str | int | float:
    """Return a distance as it is written: a duration in text, or a number of at least 0.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return value
    if isinstance(value, str):
        parse_duration(value)
        return value
    raise ValueError(f"expected a duration such as 1h, or a number of at least 0, got {shown(value)}")


Tolerance = Annotated[
    str | int | float,
    PlainValidator(_tolerance),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}),
]


class AsOf(Model):
    """The one right row that counts at the time of a left one."""

    column: Text | None = Field(default=None, description="Column of the time where both sides call it the same; the left one comes out.")
    left: Text | None = Field(default=None, description="Column of the time on the left side.")
    right: Text | None = Field(default=None, description="Column of the time on the right side.")
    direction: Literal["backward", "forward", "nearest"] = Field(
        default="backward", description="backward: the newest right row up to the time of the left one; forward: the oldest from then on."
    )
    tolerance: Tolerance | None = Field(default=None, description="How far the two may be apart: 1h; of numbers a number.")
    allow_equal: Flag = Field(default=True, description="Whether a right row of the very same time counts.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """The time is named once, or on each side."""
        given = sorted({"column", "left", "right"} & {key for key, value in raw.items() if value is not None})
        if given not in (["column"], ["left", "right"]):
            told = " and ".join(map(repr, given)) or "neither"
            yield mistake(f"expected 'column', or 'left' and 'right', got {told}", at="key", wants=("column", "left", "right"))

    @property
    def within(self) -> timedelta | int | float | None:
        """How far the two may be apart: of times a duration, of numbers a number; None: any distance."""
        return parse_duration(self.tolerance) if isinstance(self.tolerance, str) else self.tolerance

    @property
    def left_right(self) -> tuple[str, str]:
        """The columns of the time, left and right."""
        return self.left or self.column or "", self.right or self.column or ""


class JoinStep(WholeStep):
    """Rows joined with those of another source."""

    type: Literal["join"] = Field(default="join", description="Join with another source.")
    source: JoinSource = Field(description="The right side: a whole source, with its own `transformations` if wanted.")
    on: Annotated[
        Annotated[tuple[Text, ...], Tag("type: same"), Field(min_length=1)]
        | Annotated[dict[Text, Text], Tag("type: pairs"), Field(min_length=1)],
        Discriminator(lambda value: "type: pairs" if isinstance(value, Mapping) else "type: same"),
    ] = Field(default=(), description="Keys: [name] where both sides call them the same, else {left: right}; only with asOf none.")
    as_of: AsOf | None = Field(default=None, description="Meet at most one right row, by time: {left: sold_at, right: valid_from}.")
    how: Literal["inner", "left", "right", "full", "semi", "anti"] = Field(default="inner", description="Which rows come out.")
    window: TumblingWindow | None = Field(
        default=None, description="Of two streams: rows meet that are in one window, {type: tumbling, size: 10m}."
    )
    within: Duration | None = Field(default=None, description="Of two streams: rows meet whose times are no further apart than this, 10m.")
    suffix: Text | None = Field(default=None, description="Appended to right columns that clash; without it a clash is an error.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """There are keys, or a time to join by; by time rows of the left side come out."""
        yield from super().laws(raw)
        by_time = raw.get("asOf") is not None
        if raw.get("on") is None and not by_time:
            yield mistake("expected 'on' or 'asOf', got neither", at="key", hint="on: [name], or {left: right}", wants=("on", "asOf"))
        if by_time and raw.get("how", "inner") in ("right", "full", "semi", "anti"):
            yield mistake(f"expected inner or left beside asOf, got {shown(raw['how'])}", "how")
        yield from cls._time_laws(raw)

    @classmethod
    def _time_laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Rows of two streams meet within a time, those of others do not."""
        source = raw.get("source")
        if not isinstance(source, Mapping) or not isinstance(source.get("type"), str):
            return  # the field says so itself
        given = [key for key in ("window", "within") if raw.get(key) is not None]
        topic = source["type"] in ("kafka", "stream")
        if topic and len(given) != 1:
            told = " and ".join(map(repr, given)) or "neither"
            hint = "within: 10m, or window: {type: tumbling, size: 10m}: a row of a stream does not wait for ever"
            yield mistake(f"expected 'window' or 'within' beside a topic, got {told}", at="key", hint=hint, wants=("window", "within"))
        if topic and raw.get("asOf") is not None:
            yield mistake("expected keys (on) and a time to meet within: topics are not joined by asOf", "asOf")
        if topic and source.get("refresh") is not None:
            yield mistake("expected no `refresh` of a topic: each of its messages is read once", "source")
        if given and not topic:
            yield mistake(f"expected {given[0]!r} only beside a topic (type kafka or stream), got {shown(source['type'])}", given[0])

    @property
    def live(self) -> bool:
        """Whether both sides are streams."""
        return self.source.type in ("kafka", "stream")

    @property
    def keys_left_right(self) -> tuple[tuple[str, str], ...]:
        """Pairs of key columns, left and right."""
        return tuple(self.on.items()) if isinstance(self.on, dict) else tuple((name, name) for name in self.on)
