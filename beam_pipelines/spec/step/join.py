"""Rows joined with those of another source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from beam_pipelines.spec.model import Model
from beam_pipelines.spec.source import ApiSource, DatabaseSource, FileSource, GcsSource, KafkaSource, S3Source, StreamSource
from beam_pipelines.spec.step.base import WholeStep
from beam_pipelines.spec.step.kinds import Transformation
from beam_pipelines.spec.union import OneOf
from beam_pipelines.spec.values import Text

__all__ = ["JoinSource", "JoinStep"]


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
    DatabaseJoin | ApiJoin | FileJoin | KafkaJoin | StreamJoin | S3Join | GcsJoin,
    OneOf(DatabaseJoin, ApiJoin, FileJoin, KafkaJoin, StreamJoin, S3Join, GcsJoin),
]


class JoinStep(WholeStep):
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
