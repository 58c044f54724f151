"""A run of a service, and the statuses it goes through."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from beam_pipelines.runs.offsets import told
from beam_pipelines.state.record.files import Files
from beam_pipelines.state.record.hour import StreamHour
from beam_pipelines.state.record.metrics import Metrics
from beam_pipelines.state.record.moment import aware, moment_text
from beam_pipelines.state.record.step import Step

__all__ = ["ACTIVE", "FINAL", "STREAM", "Execution", "FinalStatus", "Status"]

Status = Literal["queued", "running", "committing", "success", "failed", "cancelled", "lost"]
FinalStatus = Literal["success", "failed", "cancelled", "lost"]
ACTIVE: tuple[Status, ...] = ("queued", "running", "committing")
FINAL: tuple[Status, ...] = ("success", "failed", "cancelled", "lost")
STREAM = "stream"  # kind of an execution that advances by many commits


@dataclass(frozen=True)
class Execution:
    """One run of a service, as it is recorded.

    Args:
        service: Service id.
        run: Run id.
        started_at: Aware.
        name: What people call the service; its id when empty.
        kind: `etl`, `stream`, `batch` or `quality`.
        status: One of `Status`.
        request: `--request`.
        customer: `--customer`.
        completed_at: Aware; None while it runs.
        duration: Milliseconds; None while it runs.
        metrics: Its counts.
        steps: Its phases, in order.
        guarantee: The guarantee that was derived, in words.
        watermark: Cursor value stored by it: of the one table, else a mapping by table.
        charge: `Charge.to_json()`; None when nothing was charged.
        error: Why it failed, without payload.
        error_code: A code of `beam_pipelines.errors`.
        place: Where the target was, without secrets; None: unknown.
        files: What became of its files, of services whose unit is the file.
        live: How a stream stands, or stood last: `Advance.live`, of its counters the sums, and `updatedAt`; None before the first commit.
        charges: Of a stream the clock hours that were charged to it, oldest first; `charge` holds their sum. None: not asked for.
    """

    service: str
    run: str
    started_at: datetime
    name: str = ""
    kind: str = "etl"
    status: Status = "running"
    request: str | None = None
    customer: str | None = None
    completed_at: datetime | None = None
    duration: int | None = None
    metrics: Metrics = field(default_factory=Metrics)
    steps: tuple[Step, ...] = ()
    guarantee: str | None = None
    watermark: Any = None
    charge: dict[str, Any] | None = None
    error: str | None = None
    error_code: str | None = None
    place: str | None = None
    files: Files | None = None
    live: dict[str, Any] | None = None
    charges: tuple[StreamHour, ...] | None = None

    def __post_init__(self) -> None:
        aware(self.started_at)

    def to_json(self) -> dict[str, Any]:
        """Return the record that `--output json` prints."""
        return {
            "serviceId": self.service,
            "requestId": self.request,
            "customerId": self.customer,
            "runId": self.run,
            "name": self.name or self.service,
            "kind": self.kind,
            "status": self.status,
            "startedAt": moment_text(self.started_at),
            "completedAt": moment_text(self.completed_at),
            "duration": self.duration,
            "durationSeconds": None if self.duration is None else self.duration / 1000,
            "metrics": self.metrics.to_json(),
            "steps": [step.to_json() for step in self.steps],
            "guarantee": self.guarantee,
            "watermark": told(self.watermark),
            "charge": self.charge,
            "error": self.error,
            "errorCode": self.error_code,
            **(self.files.to_json() if self.files is not None else {}),
            **(self._of_stream() if self.kind == STREAM else {}),
        }

    def _of_stream(self) -> dict[str, Any]:
        told = {} if self.charges is None else {"charges": [one.to_json() for one in self.charges]}
        return {"live": self.live, **told}
