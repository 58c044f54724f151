"""From which offset each partition is read, and how many messages of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from beam_pipelines.errors import FatalError
from beam_pipelines.io.kafka.consumer import Reader
from beam_pipelines.runs.offsets import Offsets

if TYPE_CHECKING:
    from beam_pipelines.runs.context import RunContext
    from beam_pipelines.spec.source import TopicSource

__all__ = ["Starts", "shares"]

_LOG = logging.getLogger(__name__)


class Starts:
    """Knows where reading starts.

    Args:
        model: The source of the definition.
        reader: Asks the brokers.
        context: The run; it may say that lost messages are accepted.
    """

    def __init__(self, model: TopicSource, reader: Reader, context: RunContext | None) -> None:
        self._model, self._reader = model, reader
        self._accepts = context is not None and (context.keep_watermark or context.full_refresh)

    def of(self, topic: str, ends: Mapping[int, tuple[int, int]], before: Offsets | None) -> dict[int, int]:
        """The first offset to read of each partition.

        Args:
            topic: Its topic.
            ends: Of each partition the first offset that is there, and the one behind the last.
            before: How far the service has read; None: nothing yet. A partition that is not in it is new, and read from its beginning.

        Raises:
            FatalError: What was not read yet is gone, or the topic ends before what was read, or lacks a partition (`read-failed`).
        """
        if before is None:
            return self._first(topic, ends)
        places = {number: place.next for number, place in before.partitions.items()}
        found = {number: places.get(number, low) for number, (low, _) in ends.items()}
        self._tell_missing(topic, ends, places)
        self._refuse_shorter(topic, ends, found)
        lost = {number: ends[number][0] - at for number, at in found.items() if at < ends[number][0]}
        if lost:
            self._tell_lost(topic, lost)
        return {number: max(at, ends[number][0]) for number, at in found.items()}

    def _first(self, topic: str, ends: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        moment = self._model.start_time
        if moment is not None:
            found = self._reader.at_time(topic, sorted(ends), round(moment.timestamp() * 1000))
            return {number: min(high, high if (at := found[number]) is None else max(at, low)) for number, (low, high) in ends.items()}
        return {number: high if self._model.start_from == "latest" else low for number, (low, high) in ends.items()}

    def _tell_missing(self, topic: str, ends: Mapping[int, tuple[int, int]], places: Mapping[int, int]) -> None:
        missing = sorted(places.keys() - ends.keys())
        if not missing:
            return
        told = ", ".join(map(str, missing))
        message = f"topic {topic!r}: the stored offsets name partition {told}, and the topic has {', '.join(map(str, sorted(ends)))} only"
        if not self._accepts:
            raise FatalError(
                f"{message}; was the topic made anew? Then start once with --full-refresh, which reads it from its beginning, or with"
                " --keep-watermark to go on with the partitions that are there",
                code="read-failed",
                details={"topic": topic, "partitions": missing},
            )
        # Such a partition would hold up the watermark for ever: `engine.reached` leaves it out.
        _LOG.error("%s; going on with those that are there, as was asked for", message)

    def _refuse_shorter(self, topic: str, ends: Mapping[int, tuple[int, int]], found: Mapping[int, int]) -> None:
        beyond = {number: at for number, at in found.items() if at > ends[number][1]}
        if beyond:
            told = ", ".join(
                f"partition {number} ends at {ends[number][1]} and was read up to {at}" for number, at in sorted(beyond.items())
            )
            raise FatalError(
                f"topic {topic!r}: expected the messages behind those that the service has read, and there are fewer than that: {told};"
                " was the topic made anew? Then start once with --full-refresh, which reads it from its beginning",
                code="read-failed",
                details={"topic": topic, "partitions": sorted(beyond)},
            )

    def _tell_lost(self, topic: str, lost: Mapping[int, int]) -> None:
        told = ", ".join(f"{count} of partition {number}" for number, count in sorted(lost.items()))
        message = (
            f"topic {topic!r}: {sum(lost.values())} offsets that the service has not read are gone, for the topic keeps its messages"
            f" for less long than the service stood still: {told}"
        )
        if not self._accepts:
            raise FatalError(
                f"{message}; start once with --keep-watermark to go on with what is there, and let the topic keep messages for longer"
                " (retention.ms)",
                code="read-failed",
                details={"topic": topic, "lost": {str(number): count for number, count in sorted(lost.items())}},
            )
        _LOG.error("%s; going on with what is there, as was asked for", message)


def shares(waiting: Mapping[int, int], most: int) -> dict[int, int]:
    """How many messages of each partition are read, `most` in all: as many of each, but for those that have fewer.

    Every partition that has some gets one at least, so that none holds up the watermark.
    """
    taken = dict.fromkeys(waiting, 0)
    left, some = most, sorted((count, number) for number, count in waiting.items() if count)
    for at, (count, number) in enumerate(some):
        taken[number] = max(1, min(count, left // (len(some) - at)))
        left = max(0, left - taken[number])
    return taken
