"""How far a drain of a topic has come, and of those that it is joined with, once its ranges are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from beam_pipelines.engine.job import Job
from beam_pipelines.runs.facts import ReadFact
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.offsets import Offsets, Place, Reading, watermark
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.source import TopicSource

__all__ = ["ends_of", "reached", "watermark_of", "windows_by_topic"]


def reached(job: Job, window: Window, newest: Mark | None) -> Offsets:
    """How far the topics are read, with the watermark up to which windows are closed: the same for whoever asks.

    Args:
        job: The service.
        window: Of the load.
        newest: What was reached of the ranges that were read.
    """
    before = Offsets.of(window.low) if window.low is not None else Offsets()
    read = {topic: ends_of(one) for topic, one in windows_by_topic(job, window)}
    # A topic that was made anew with fewer partitions: those that are gone would hold up the watermark for ever. A join that is no more
    # has none at all.
    kept = {topic: _there(before.topic(topic), ends) for topic, ends in read.items()}
    before = replace(before, partitions=kept.pop(""), sides=kept)
    after = (Offsets.of(newest) if newest is not None else Offsets()).merged(before)
    now = round(datetime.fromisoformat(window.started_at).timestamp() * 1000)
    sources = _sources(job)
    topics = [_reading(sources[topic], after.topic(topic), ends) for topic, ends in read.items()]
    return after.closed_at(watermark(after.closed, topics, now))


def watermark_of(job: Job, window: Window, facts: Iterable[ReadFact]) -> int | None:
    """The watermark up to which a drain closes windows, ms.

    Args:
        job: The service.
        window: Of the load.
        facts: Of all reads, those of joined topics included.
    """
    newest: Mark | None = None
    for fact in facts:
        if fact.load == window.load and fact.newest is not None:
            newest = fact.newest.later(newest)
    return reached(job, window, newest).closed


def ends_of(window: Window) -> dict[int, int]:
    """Of each partition that a window reads the offset behind its last message, as it was when the window was fixed."""
    return {part.bounds["partition"]: part.bounds["end"] for part in window.ranges}


def windows_by_topic(job: Job, window: Window) -> Iterator[tuple[str, Window]]:
    """The windows of each topic, by its name: of the service's own, which is empty, and of those that it is joined with."""
    yield "", window
    yield from ((topic, window.sides[step]) for step, topic in job.live_joins.items() if step in window.sides)


def _sources(job: Job) -> dict[str, TopicSource]:
    """The source of each topic, by its name as of `windows_by_topic`."""
    return {"": job.definition.source, **{topic: job.side(step).definition.source for step, topic in job.live_joins.items()}}


def _there(places: Mapping[int, Place], ends: Mapping[int, int]) -> Mapping[int, Place]:
    return {number: place for number, place in places.items() if number in ends} if ends else places


def _reading(source: TopicSource, places: Mapping[int, Place], ends: Mapping[int, int]) -> Reading:
    return Reading(places, ends, _ms(source.out_of_orderness), None if source.idle_timeout is None else _ms(source.idle_timeout))


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)
