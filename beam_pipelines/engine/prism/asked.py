"""The drains that are asked for, as the source of a pipeline without an end, whose workers are this process.

A drain is a window of the pipeline's time: the n-th one is from second n on, one second long. What groups by window so waits for all of a
drain, and for nothing else. A drain is asked for once the one before has ended.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.pvalue import PBegin, PCollection
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp

from beam_pipelines.engine.bundle import PlainFn

__all__ = ["Asked", "Ended", "Exchange", "exchange", "forget"]

_WAIT = 0.5  # seconds that a bundle of the source waits for somebody to ask
_LAST = 1 << 40  # number of the last drain: thousands of years away
_AT_ONCE = Duration(micros=1000)


@dataclass
class Exchange:
    """What passes between the one who asks for drains, and the pipeline.

    Args:
        asked: Runs of drains, and their numbers in the pipeline.
        ended: `(run, None)` of each drain that came to its end; `(run, error)` of what failed.
    """

    asked: queue.Queue[tuple[int, str]] = field(default_factory=queue.Queue)
    ended: queue.Queue[tuple[str, BaseException | None]] = field(default_factory=queue.Queue)


_exchanges: dict[str, Exchange] = {}


def exchange(job: str) -> Exchange:
    """The exchange of a job; what travels with the pipeline is the name."""
    return _exchanges.setdefault(job, Exchange())


def forget(job: str) -> None:
    """The job is over."""
    _exchanges.pop(job, None)


class _Numbers(RestrictionProvider):
    def initial_restriction(self, element: bytes) -> OffsetRange:  # noqa: ARG002 - there is one
        return OffsetRange(1, _LAST)

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def restriction_size(self, element: bytes, restriction: OffsetRange) -> int:  # noqa: ARG002 - all are alike
        return 1


_TRACKER = beam.DoFn.RestrictionParam(_Numbers())
_ESTIMATOR = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider())


class _AskedFn(beam.DoFn):
    def __init__(self, job: str) -> None:
        self._job = job

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(self, seed: bytes, tracker: Any = _TRACKER, estimator: Any = _ESTIMATOR) -> Iterator[TimestampedValue]:  # noqa: ARG002
        try:
            number, run = exchange(self._job).asked.get(timeout=_WAIT)
        except queue.Empty:
            tracker.defer_remainder(_AT_ONCE)
            return
        if tracker.try_claim(number):
            yield TimestampedValue(run, Timestamp(number))
            estimator.set_watermark(Timestamp(number + 1))
            tracker.defer_remainder(_AT_ONCE)


class Asked(beam.PTransform):
    """The run of each drain that is asked for, in its window.

    Args:
        job: Name of the exchange.
    """

    def __init__(self, job: str) -> None:
        super().__init__()
        self._job = job

    def expand(self, begin: PBegin) -> PCollection:
        runs = begin | "Seed" >> beam.Impulse() | "Runs" >> beam.ParDo(_AskedFn(self._job)).with_output_types(str)
        return runs | "Drains" >> beam.WindowInto(FixedWindows(1))


class _EndedFn(PlainFn):
    def __init__(self, job: str) -> None:
        self._job = job

    def process(self, run: str) -> Iterator[Any]:
        exchange(self._job).ended.put((run, None))
        yield from ()


class Ended(beam.PTransform):
    """Tell that drains have come to their end; takes their runs.

    Args:
        job: Name of the exchange.
    """

    def __init__(self, job: str) -> None:
        super().__init__()
        self._job = job

    def expand(self, runs: PCollection) -> PCollection:
        return runs | "Tell" >> beam.ParDo(_EndedFn(self._job))
