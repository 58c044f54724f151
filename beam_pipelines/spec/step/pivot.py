"""Rows grouped and summed up, with a column for each value of a field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.aggregation import group_names
from beam_pipelines.spec.model import mistake
from beam_pipelines.spec.step.base import WholeStep
from beam_pipelines.spec.values import Scalar, Text, shown

__all__ = ["PivotStep"]

PivotFunction = Literal["count", "count_distinct", "sum", "avg", "min", "max", "first", "last", "median", "stddev", "collect"]


class PivotStep(WholeStep):
    """Rows grouped and summed up, with a column for each value of a field."""

    type: Literal["pivot"] = Field(default="pivot", description="Group rows and sum them up, in a column for each value of a field.")
    group_by: tuple[Text, ...] = Field(description="Fields that make a group; [] gives one row.")
    column: Text = Field(description="The field whose values become columns.")
    values: Annotated[
        Annotated[tuple[Scalar, ...], Tag("type: listed"), Field(min_length=1)]
        | Annotated[dict[Text, Scalar], Tag("type: named"), Field(min_length=1)],
        Discriminator(lambda value: "type: named" if isinstance(value, Mapping) else "type: listed"),
    ] = Field(description="Its values: a list, each the name of its column, or {name: value}.")
    value: Text | None = Field(default=None, description="The field that is summed up; `function: count` needs none.")
    function: PivotFunction = Field(default="sum", description="What is computed; count counts rows, the others skip null.")
    other: Literal["ignore", "deadletter"] = Field(
        default="ignore", description="A row with another value: ignore it but for its group, or deadletter it."
    )

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """There is something to sum up, and each value has a column of its own."""
        yield from super().laws(raw)
        if raw.get("value") is None and raw.get("function") != "count":
            yield mistake("expected the field that is summed up", "value", hint="function: count alone needs none", wants=("value",))
        values = raw.get("values")
        if isinstance(values, Mapping):
            for name in [name for name, value in values.items() if value is None]:
                yield mistake("expected a value, got null, which is like no value", "values", name)
        elif isinstance(values, (list, tuple)):
            names = Counter(map(_name, values))
            for at, value in enumerate(values):
                if value is None or not _name(value).strip():
                    yield mistake(f"expected a value that names a column, got {shown(value)}", "values", at, hint="write {name: value}")
                elif names[_name(value)] > 1:
                    yield mistake(f"expected each value once, got {shown(value)} again", "values", at)
                    names[_name(value)] = 0

    @property
    def columns(self) -> dict[str, Any]:
        """The values by the names of their columns."""
        return dict(self.values) if isinstance(self.values, dict) else {_name(value): value for value in self.values}

    @property
    def group_names(self) -> tuple[str, ...]:
        """What the fields of `groupBy` are called in the result."""
        return group_names(self.group_by)


def _name(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
