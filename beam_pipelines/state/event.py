"""Events of a run as CloudEvents 1.0, with the seed's names. Pure; the outbox keeps them.

The id is derived from (run, type, sequence), so a state change that is tried again gives the same event, and `(source, id)` tells a
receiver what it has seen (https://github.com/cloudevents/spec, version 1.0.2; `sequence` is its documented extension).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from beam_pipelines.state.record import ChargeLike, Execution, Files, Metrics, Outcome, Step, moment_text, without_rows

__all__ = [
    "ALERT",
    "CHARGE",
    "CREATED",
    "DELIVER",
    "FAIL",
    "PROGRESS",
    "Event",
    "PhaseProgress",
    "alert_data",
    "charge_data",
    "created_data",
    "deliver_data",
    "event_id",
    "fail_data",
]

CREATED = "ServiceRequest.created"
PROGRESS = "PipelineProgress.updated"
DELIVER = "ServiceResult.deliver"
FAIL = "ServiceRequest.fail"
CHARGE = "Payment.charge"
ALERT = "Alert.create"

_NAMESPACE = uuid.UUID("5b0f6f0e-2f0b-5c55-9a55-7a1c0de1f3a4")  # made up once; every event id of this package hangs on it
_SEQUENCE_DIGITS = 10


@dataclass(frozen=True)
class Event:
    """One event of the outbox.

    Args:
        position: Order in the outbox.
        id: Stable over retries.
        service: Service id.
        run: Run id.
        type: One of the names above.
        sequence: Order within the run, from 1.
        time: Aware.
        data: Plain JSON.
        delivered_at: Aware; None while undelivered.
    """

    position: int
    id: str
    service: str
    run: str
    type: str
    sequence: int
    time: datetime
    data: dict[str, Any]
    delivered_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the event in CloudEvents' structured JSON form."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": f"/services/{quote(self.service, safe='')}",
            "subject": f"runs/{self.run}",
            "type": self.type,
            "time": moment_text(self.time),
            "sequence": f"{self.sequence:0{_SEQUENCE_DIGITS}d}",
            "datacontenttype": "application/json",
            "data": self.data,
        }


def event_id(run: str, kind: str, sequence: int) -> str:
    """Return the UUID (version 5) of an event."""
    return str(uuid.uuid5(_NAMESPACE, f"{run}/{kind}/{sequence}"))


def created_data(execution: Execution) -> dict[str, Any]:
    """`ServiceRequest.created`."""
    return {
        "requestId": execution.request,
        "serviceId": execution.service,
        "customerId": execution.customer,
        "runId": execution.run,
    }


@dataclass(frozen=True)
class PhaseProgress:
    """How far a phase of a run is.

    Args:
        phase: `extract`, `transform`, `load`, ...
        status: `running`, `completed`, ...
        records: Rows so far, None when not known.
        bytes: Bytes so far.
        total_bytes: Bytes to come in all.
        live: How a stream stands, as `Execution.live` tells it; its names stand beside the others, and in place of none.
    """

    phase: str
    status: str
    records: int | None = None
    bytes: int | None = None
    total_bytes: int | None = None
    live: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """`PipelineProgress.updated` without its `requestId`; what is not known is left out, `progress` is the share of the bytes."""
        data: dict[str, Any] = {"phase": self.phase, "status": self.status}
        counts = {"recordCount": self.records, "processedBytes": self.bytes, "totalBytes": self.total_bytes}
        data |= {name: count for name, count in counts.items() if count is not None}
        if self.bytes is not None and self.total_bytes:
            data["progress"] = min(1.0, self.bytes / self.total_bytes)
        elif self.total_bytes == 0 and self.status == "completed":
            data["progress"] = 1.0
        return {**data, **{name: value for name, value in (self.live or {}).items() if name not in data}}


def deliver_data(
    request: str | None, metrics: Metrics, duration: int, steps: tuple[Step, ...], files: Files | None = None
) -> dict[str, Any]:
    """`ServiceResult.deliver`; of a batch with what the seed's function returns of its files."""
    outputs = {
        "success": True,
        "recordsProcessed": metrics.records_loaded,
        "bytesProcessed": metrics.bytes_processed,
        "duration": duration,
        "steps": [without_rows(step.to_json()) for step in steps],
    }
    if files is not None:
        outputs |= {"filesProcessed": files.processed, "totalRecords": files.records, "totalBytes": files.bytes}
    return {"requestId": request, "outputs": outputs}


def fail_data(request: str | None, outcome: Outcome) -> dict[str, Any]:
    """`ServiceRequest.fail`; `execution` holds the steps, as the seed prints it."""
    return {
        "requestId": request,
        "error": outcome.error or outcome.status,
        "execution": [without_rows(step.to_json()) for step in outcome.steps],
        "metrics": outcome.metrics.to_json(),
    }


def charge_data(customer: str | None, charge: ChargeLike) -> dict[str, Any]:
    """`Payment.charge`; the amount is decimal text, with its currency beside."""
    return {
        "customerId": customer,
        "amount": format(charge.amount, "f"),
        "currency": charge.currency,
        "description": charge.description,
    }


def alert_data(severity: str, message: str) -> dict[str, Any]:
    """`Alert.create`."""
    return {"severity": severity, "message": message}
