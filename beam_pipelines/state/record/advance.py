"""What one drain of a stream committed: a stream is one execution, in which many drains commit."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from beam_pipelines.state.record.alert import Incident
from beam_pipelines.state.record.failure import Failure
from beam_pipelines.state.record.metrics import Metrics
from beam_pipelines.state.record.moment import aware
from beam_pipelines.state.record.step import Step
from beam_pipelines.state.record.watermark import Watermark

__all__ = ["LIVE_COUNTERS", "Advance"]

LIVE_COUNTERS = ("late", "windowsWritten")  # of `live`: what a drain adds; the others say how things stand


@dataclass(frozen=True)
class Advance:
    """One commit of a stream.

    Args:
        drain: Run id of the drain in the target's ledger.
        generation: Commits of the load, this one included; what is there already is not added again.
        load: Ledger key of the load.
        committed_at: Aware; its UTC clock hour is the one that the events are counted in.
        metrics: Counts of the drain; they are added to the execution's.
        steps: Phases of the drain; they are merged into the execution's.
        failures: Index of the drain's dead letters.
        watermark: As committed in the target's ledger, of the same load and generation.
        events: Messages whose offsets were committed.
        incidents: What it met that a person should look at.
        live: How the stream stands, plain JSON: `eventsPerSecond`, `lag` (messages by partition), `watermark` (ISO 8601), `watermarkDelay`
            (milliseconds behind the clock), `openWindows`; and what this drain adds (`LIVE_COUNTERS`): `late` rows and
            `windowsWritten`. What is left out stays as it was.

    Raises:
        ValueError: A time without zone, fewer than 0 events, or a watermark of another load or generation.
    """

    drain: str
    generation: int
    load: str
    committed_at: datetime
    metrics: Metrics
    steps: tuple[Step, ...]
    failures: tuple[Failure, ...]
    watermark: Watermark
    events: int
    incidents: tuple[Incident, ...] = ()
    live: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        aware(self.committed_at)
        if self.events < 0:
            raise ValueError(f"expected 0 events or more, got {self.events}")
        if (self.watermark.table, self.watermark.generation) != (self.load, self.generation):
            raise ValueError(
                f"expected the watermark of {self.load!r} at generation {self.generation},"
                f" got that of {self.watermark.table!r} at {self.watermark.generation}"
            )
