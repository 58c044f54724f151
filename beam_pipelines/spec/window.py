"""Windows of event time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import InitErrorDetails

from beam_pipelines.spec.model import Model, mistake
from beam_pipelines.spec.one_of import OneOf
from beam_pipelines.spec.values import Duration, parse_duration, shown

__all__ = ["SessionWindow", "SlidingWindow", "Span", "TumblingWindow", "Window"]


MOST = 2_000  # windows that an event may count in: each is a result, and a state while it is open


def _positive(value: timedelta) -> timedelta:
    if value == timedelta(0):
        raise ValueError("expected a duration above zero, got 0")
    return value


Span = Annotated[Duration, AfterValidator(_positive)]


class TumblingWindow(Model):
    """Windows of one size, one after the other."""

    type: Literal["tumbling"] = Field(default="tumbling", description="One after the other.")
    size: Span = Field(description="Length, such as 60000 (ms) or 1m.")


class SlidingWindow(Model):
    """Overlapping windows of one size."""

    type: Literal["sliding"] = Field(default="sliding", description="Overlapping.")
    size: Span = Field(description="Length, such as 10m.")
    slide: Span = Field(description="Distance between the starts of two windows, at most `size`.")

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Windows leave no gap: an event in it would be lost."""
        try:
            size, slide = parse_duration(raw.get("size")), parse_duration(raw.get("slide"))
        except ValueError:
            return  # the fields say so themselves
        if slide > size:
            yield mistake(
                f"expected at most the size ({shown(raw['size'])}), got {shown(raw['slide'])}: events between windows would be lost",
                "slide",
            )
        elif slide and size / slide > MOST:
            yield mistake(
                f"expected at least {shown(raw['size'])} / {MOST:,}, got {shown(raw['slide'])}:"
                f" each event would count in {size / slide:,.0f} windows",
                "slide",
            )


class SessionWindow(Model):
    """Windows that end when nothing comes for a while."""

    type: Literal["session"] = Field(default="session", description="Ends when nothing comes for a while.")
    gap: Span = Field(description="How long nothing must come, such as 30m.")


Window = Annotated[TumblingWindow | SlidingWindow | SessionWindow, OneOf(TumblingWindow, SlidingWindow, SessionWindow)]
