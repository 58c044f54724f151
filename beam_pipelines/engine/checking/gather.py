"""Bring a batch that waits together with all that is told of it, and back into its window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import BytesCoder, Coder, VarIntCoder
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec
from apache_beam.transforms.window import BoundedWindow, NonMergingWindowFn, SlidingWindows, TimestampedValue, WindowFn
from apache_beam.utils.timestamp import Timestamp

from beam_pipelines.columnar import ipc
from beam_pipelines.engine.checking.message import Answer, Stamp, last_instant, read_span
from beam_pipelines.engine.checking.stateful import StatefulFn

__all__ = ["GATHERED", "GatherFn", "in_windows_of"]

GATHERED = tuple[pa.RecordBatch, list[bytes]]


class GatherFn(StatefulFn):
    """Yields a batch and its answers when all are there; keyed by the name of the batch, in the global window.

    Args:
        answers: How many there are for each batch.
        at_end: What waited for the end of its window gets the last instant of it as its time, as from a GroupByKey: before, it would be
            late.
    """

    PARTS = BagStateSpec("parts", BytesCoder())
    CAME = ReadModifyWriteStateSpec("came", VarIntCoder())

    def __init__(self, answers: int, *, at_end: bool) -> None:
        self._answers, self._at_end = answers, at_end

    def process(
        self,
        element: tuple[str, bytes],
        parts: Any = beam.DoFn.StateParam(PARTS),
        came: Any = beam.DoFn.StateParam(CAME),
    ) -> Iterator[TimestampedValue]:
        parts.add(element[1])
        number = (came.read() or 0) + 1
        if number <= self._answers:
            came.write(number)
            return
        every = list(parts.read())
        parts.clear()
        came.clear()
        (packed,) = (part for part in every if not Answer.is_one(part))
        batch = ipc.decode(packed)
        stamp = Stamp.of(batch)
        time = last_instant(stamp.span) if self._at_end else stamp.time
        yield TimestampedValue((batch, [part for part in every if Answer.is_one(part)]), Timestamp(micros=time))


class _Stamped(NonMergingWindowFn):
    """The window that a batch is stamped with: of several that it was in, each has a copy."""

    def __init__(self, given: WindowFn) -> None:
        self._given = given

    def assign(self, context: WindowFn.AssignContext) -> list[BoundedWindow]:
        return [read_span(Stamp.of(context.element[0]).span)]

    def get_window_coder(self) -> Coder:
        return self._given.get_window_coder()


def in_windows_of(rows: beam.PCollection) -> beam.WindowInto:
    """Return what puts gathered batches back into the windows of the rows that they were."""
    given = rows.windowing
    windowfn = _Stamped(given.windowfn) if isinstance(given.windowfn, SlidingWindows) else given.windowfn
    return beam.WindowInto(
        windowfn,
        trigger=given.triggerfn,
        accumulation_mode=given.accumulation_mode,
        timestamp_combiner=given.timestamp_combiner,
        allowed_lateness=given.allowed_lateness,
    )
