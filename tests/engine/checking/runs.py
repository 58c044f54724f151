"""Pipelines with `CheckRows` in them, and what came out, as plain values."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import IntervalWindow, TimestampedValue

from beam_pipelines.columnar.coder import RecordBatchCoder
from beam_pipelines.engine.bundle import PlainFn
from beam_pipelines.quality import CheckRows

CAME: dict[str, list[tuple[str, Any, Any, float]]] = defaultdict(list)  # by run; pipelines run in this process


class _Keep(PlainFn):
    def __init__(self, run: str, name: str) -> None:
        self._run, self._name = run, name

    def process(self, element: Any, window: Any = beam.DoFn.WindowParam, time: Any = beam.DoFn.TimestampParam) -> None:
        CAME[self._run].append((self._name, element, window, float(time.micros) / 1e6))


@dataclass
class Came:
    """What came out of a run.

    Args:
        valid: Rows, each with the window that it is in and its time.
        rejected: Likewise.
        violations: As mappings.
        counts: As mappings.
    """

    valid: list[tuple[dict[str, Any], Any, float]] = field(default_factory=list)
    rejected: list[tuple[dict[str, Any], Any, float]] = field(default_factory=list)
    violations: list[dict[str, Any]] = field(default_factory=list)
    counts: list[dict[str, Any]] = field(default_factory=list)

    def ids(self, name: str) -> list[int]:
        return sorted(row["id"] for row, _, _ in getattr(self, name))

    def summed(self, rule: str) -> dict[str, int]:
        """Counts of a rule, added over all that was told."""
        total: dict[str, int] = defaultdict(int)
        for counts in self.counts:
            (told,) = (one for one in counts["rules"] if one["rule"] == rule)
            for name in ("evaluated", "violated", "notEvaluated"):
                total[name] += told[name]
        return dict(total)


def _came(run: str) -> Came:
    came = Came()
    for name, element, window, time in CAME.pop(run, []):
        if name == "counts":
            came.counts.append(element)
        elif name == "violations":
            came.violations += element.to_pylist()
        else:
            span = (float(window.start), float(window.end)) if isinstance(window, IntervalWindow) else None
            getattr(came, name).extend((row, span, time) for row in element.to_pylist())
    return came


def _kept(checked: Any, run: str) -> None:
    for name in checked._fields:
        getattr(checked, name) | f"Keep {name}" >> beam.ParDo(_Keep(run, name))


def bounded(
    batches: Iterable[pa.RecordBatch], check: CheckRows, window: Any = None, times: Sequence[float] = (), options: Sequence[str] = ()
) -> Came:
    """Run over rows that have an end, on Beam's in-process runner."""
    run = uuid.uuid4().hex
    pipeline = beam.Pipeline(runner="FnApiRunner", options=PipelineOptions(list(options)))
    given = list(batches)
    if times:
        made = pipeline | beam.Create(list(zip(given, times, strict=True)), reshuffle=False)
        rows = made | beam.MapTuple(TimestampedValue).with_output_types(pa.RecordBatch)
    else:
        rows = pipeline | beam.Create(given, reshuffle=False).with_output_types(pa.RecordBatch)
    if window is not None:
        rows = rows | "Into windows" >> beam.WindowInto(window)
    _kept(rows | check, run)
    pipeline.run().wait_until_finish()
    return _came(run)


def stream(events: Iterable[Any], check: CheckRows, window: Any = None) -> Came:
    """Run over rows without an end.

    Args:
        events: Numbers, to which the watermark goes; or lists of pairs of a time and a batch, which arrive in one bundle.
        check: The transform.
        window: Of the rows.
    """
    run = uuid.uuid4().hex
    script = TestStream(coder=RecordBatchCoder())
    for event in events:
        if isinstance(event, list):
            script.add_elements([TimestampedValue(batch, time) for time, batch in event])
        else:
            script.advance_watermark_to(event)
    script.advance_watermark_to_infinity()
    pipeline = beam.Pipeline(runner=BundleBasedDirectRunner(), options=PipelineOptions(["--streaming"]))
    rows = pipeline | script
    if window is not None:
        rows = rows | "Into windows" >> beam.WindowInto(window)
    _kept(rows | check, run)
    pipeline.run().wait_until_finish()
    return _came(run)
