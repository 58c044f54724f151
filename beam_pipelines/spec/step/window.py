"""Events of a stream summed up by windows of time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.aggregation import Measure, check_entries, check_window, group_names, window_measures
from beam_pipelines.spec.destination import Destination
from beam_pipelines.spec.model import mistake
from beam_pipelines.spec.step.base import WholeStep
from beam_pipelines.spec.values import Duration, Text, parse_duration, shown
from beam_pipelines.spec.window import Window

__all__ = ["WindowStep"]


class WindowStep(WholeStep):
    """Events of a stream summed up by windows of time."""

    type: Literal["window"] = Field(default="window", description="Sum events up by windows of time.")
    window: Window = Field(description="{type: tumbling, size}, {type: sliding, size, slide} or {type: session, gap}.")
    aggregations: dict[Text, str] = Field(
        min_length=1,
        description='By output name: "function:field", such as "sum:value", "p99:ms", "approx_p99:ms"; "count" alone counts events.',
    )
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
        """Aggregations are written by output name, and sessions come out once."""
        yield from super().laws(raw)
        yield from check_entries(raw, check_window)
        window, emit = raw.get("window"), raw.get("emit")
        if isinstance(window, Mapping) and window.get("type") == "session" and isinstance(emit, str) and emit.startswith("every "):
            yield mistake(
                f"expected onClose, got {shown(emit)}: two sessions may become one, and an early result of the other would stay", "emit"
            )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The results beside windowStart, windowEnd and eventCount, in the order of the definition."""
        return window_measures(self.aggregations)

    @property
    def group_names(self) -> tuple[str, ...]:
        """What the fields of `groupBy` are called in the result."""
        return group_names(self.group_by)

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
