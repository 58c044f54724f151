"""How far a drain of a topic has come, once its ranges are read."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.offsets import Offsets, watermark
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.source import TopicSource

__all__ = ["reached"]


def reached(source: TopicSource, window: Window, newest: Mark | None) -> Offsets:
    """How far a topic is read, with the watermark up to which windows are closed: the same for whoever asks.

    Args:
        source: Of the definition.
        window: Of the load.
        newest: What was reached of the ranges that were read.
    """
    before = Offsets.of(window.low) if window.low is not None else None
    there = {part.bounds["partition"] for part in window.ranges}
    if before is not None and there:
        # A topic that was made anew with fewer partitions: those that are gone would hold up the watermark for ever.
        before = replace(before, partitions={number: place for number, place in before.partitions.items() if number in there})
    after = (Offsets.of(newest) if newest is not None else Offsets()).merged(before)
    ends = {part.bounds["partition"]: part.bounds["end"] for part in window.ranges}
    now = round(datetime.fromisoformat(window.started_at).timestamp() * 1000)
    idle = None if source.idle_timeout is None else round(source.idle_timeout.total_seconds() * 1000)
    behind = round(source.out_of_orderness.total_seconds() * 1000)
    return after.closed_at(watermark(before, after, ends, now, behind, idle))
