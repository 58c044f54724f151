"""How a run ended, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from beam_pipelines.state.record.alert import Incident
from beam_pipelines.state.record.charge import ChargeLike
from beam_pipelines.state.record.execution import FINAL, FinalStatus
from beam_pipelines.state.record.failure import Failure
from beam_pipelines.state.record.files import Files
from beam_pipelines.state.record.metrics import Metrics
from beam_pipelines.state.record.moment import aware
from beam_pipelines.state.record.step import Step
from beam_pipelines.state.record.watermark import Watermark

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        status: A final status.
        metrics: Its counts.
        steps: Its phases, in order.
        completed_at: Aware; the store's clock when None.
        guarantee: Replaces the one given at the start, unless None.
        error: Why it failed, without payload.
        error_code: A code of `beam_pipelines.errors`.
        failures: Index of its dead letters.
        watermarks: As committed in the target's ledger (a run that failed may have committed some of its tables).
        charge: What it costs; charged on `success` only.
        incidents: What it met that a person should look at.
        files: What became of its files, of services whose unit is the file.
        to_read: Bytes of the files that it was to read, where its progress ends if it succeeds.
    """

    status: FinalStatus
    metrics: Metrics = field(default_factory=Metrics)
    steps: tuple[Step, ...] = ()
    completed_at: datetime | None = None
    guarantee: str | None = None
    error: str | None = None
    error_code: str | None = None
    failures: tuple[Failure, ...] = ()
    watermarks: tuple[Watermark, ...] = ()
    charge: ChargeLike | None = None
    incidents: tuple[Incident, ...] = ()
    files: Files | None = None
    to_read: int = 0

    def __post_init__(self) -> None:
        if self.status not in FINAL:
            raise ValueError(f"expected one of {', '.join(FINAL)} as the status that ends a run, got {self.status!r}")
        if self.completed_at is not None:
            aware(self.completed_at)
