"""What the state store keeps, as plain values: an execution with its steps, the outcome that ends it, and what follows from it.

`to_json` gives the names of the product's seed document (`serviceId`, `recordsExtracted`, ...), ours stand beside them. Times are aware
UTC, durations whole milliseconds, sizes bytes, money decimal text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Literal, Protocol

__all__ = [
    "ACTIVE",
    "FINAL",
    "Alert",
    "ChargeLike",
    "ChargeRecord",
    "Execution",
    "FailedRecord",
    "Failure",
    "Incident",
    "Lease",
    "Metrics",
    "Outcome",
    "PipelineMetric",
    "Schedule",
    "ServiceRequest",
    "Status",
    "Step",
    "Transformation",
    "Watermark",
    "aware",
    "moment_text",
]

Status = Literal["queued", "running", "committing", "success", "failed", "cancelled", "lost"]
FinalStatus = Literal["success", "failed", "cancelled", "lost"]
ACTIVE: tuple[Status, ...] = ("queued", "running", "committing")
FINAL: tuple[Status, ...] = ("success", "failed", "cancelled", "lost")


def aware(moment: datetime) -> datetime:
    """Return the time as it is.

    Raises:
        ValueError: It has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"expected a time with a zone, got {moment.isoformat()}")
    return moment


def moment_text(moment: datetime | None) -> str | None:
    """Return ISO 8601 in UTC with microseconds, as the store keeps times; None for None."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds") if moment else None


@dataclass(frozen=True)
class Metrics:
    """Counts of one run.

    Args:
        records_extracted: Rows read.
        records_transformed: Rows that left the last step.
        records_loaded: Rows that the target answers for.
        bytes_processed: Bytes, as billed.
        errors: Rows that could not be loaded.
        records_filtered: Rows that a filter dropped.
        records_rejected: Rows that a rule rejected.
        records_dead_lettered: Rows that an error sent to the dead letters.
        records_inserted: Of the loaded: new in the target.
        records_updated: Of the loaded: replaced an older version.
        records_unchanged: Of the loaded: equal to what was there, and not written.
        records_stale: Of the loaded: older than what was there, and not written.
        records_superseded: Of the loaded: of several rows with one key, all but the newest.
        records_deleted: Rows that a replace of the whole table removed; not part of the loaded.
    """

    records_extracted: int = 0
    records_transformed: int = 0
    records_loaded: int = 0
    bytes_processed: int = 0
    errors: int = 0
    records_filtered: int = 0
    records_rejected: int = 0
    records_dead_lettered: int = 0
    records_inserted: int = 0
    records_updated: int = 0
    records_unchanged: int = 0
    records_stale: int = 0
    records_superseded: int = 0
    records_deleted: int = 0

    def to_json(self) -> dict[str, int]:
        return {
            "recordsExtracted": self.records_extracted,
            "recordsTransformed": self.records_transformed,
            "recordsLoaded": self.records_loaded,
            "bytesProcessed": self.bytes_processed,
            "errors": self.errors,
            "recordsFiltered": self.records_filtered,
            "recordsRejected": self.records_rejected,
            "recordsDeadLettered": self.records_dead_lettered,
            "recordsInserted": self.records_inserted,
            "recordsUpdated": self.records_updated,
            "recordsUnchanged": self.records_unchanged,
            "recordsStale": self.records_stale,
            "recordsSuperseded": self.records_superseded,
            "recordsDeleted": self.records_deleted,
        }


@dataclass(frozen=True)
class Transformation:
    """What one step of the definition did.

    Args:
        id: Step id.
        success: False when the step failed as a whole.
        duration: Milliseconds.
        records_in: Rows in.
        records_out: Rows out.
        error: Why it failed, without payload.
        records_filtered: Rows it dropped on purpose.
        records_rejected: Rows its rules rejected.
        records_dead_lettered: Rows that failed in it.
        fused_with: Ids of the steps it ran as one with; they share the duration.
        records_nulled: Rows that failed in it and passed with its columns null (`required: false`, or a converter's `onError`).
        records_made: Rows it gave above one for one, from a function that returns several.
        records_absorbed: Rows that went on only as a part of another one: of a group all but one.
        records_right: Rows of the right side of a join, after its own steps.
    """

    id: str
    success: bool = True
    duration: int = 0
    records_in: int = 0
    records_out: int = 0
    error: str | None = None
    records_filtered: int = 0
    records_rejected: int = 0
    records_dead_lettered: int = 0
    fused_with: tuple[str, ...] = ()
    records_nulled: int = 0
    records_made: int = 0
    records_absorbed: int = 0
    records_right: int = 0

    def to_json(self) -> dict[str, Any]:
        data = {
            "id": self.id,
            "success": self.success,
            "duration": self.duration,
            "recordsIn": self.records_in,
            "recordsOut": self.records_out,
            "recordsFiltered": self.records_filtered,
            "recordsRejected": self.records_rejected,
            "recordsDeadLettered": self.records_dead_lettered,
            "recordsNulled": self.records_nulled,
            "recordsMade": self.records_made,
            "recordsAbsorbed": self.records_absorbed,
            "recordsRight": self.records_right,
        }
        return data | _given(error=self.error, fusedWith=list(self.fused_with) or None)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Transformation:
        return cls(
            id=data["id"],
            success=data["success"],
            duration=data["duration"],
            records_in=data["recordsIn"],
            records_out=data["recordsOut"],
            error=data.get("error"),
            records_filtered=data["recordsFiltered"],
            records_rejected=data["recordsRejected"],
            records_dead_lettered=data["recordsDeadLettered"],
            records_nulled=data.get("recordsNulled", 0),
            records_made=data.get("recordsMade", 0),
            records_absorbed=data.get("recordsAbsorbed", 0),
            records_right=data.get("recordsRight", 0),
            fused_with=tuple(data.get("fusedWith", ())),
        )


@dataclass(frozen=True)
class Step:
    """One phase of a run: `extract`, `transform` or `load`. Of what is None, the phase has none.

    Args:
        phase: Name of the phase.
        success: Whether it ended well.
        record_count: Rows it handled.
        transformations: Results of the definition's steps, in its order.
        loaded: Rows loaded.
        errors: Rows refused.
        method: The statements used (`merge`, `insert`, ...).
        duration: Milliseconds.
        table: The load it belongs to, where a run has several.
    """

    phase: str
    success: bool = True
    record_count: int | None = None
    transformations: tuple[Transformation, ...] = ()
    loaded: int | None = None
    errors: int | None = None
    method: str | None = None
    duration: int | None = None
    table: str | None = None

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"phase": self.phase, "success": self.success}
        data |= _given(recordCount=self.record_count, loaded=self.loaded, errors=self.errors, method=self.method)
        data |= _given(duration=self.duration, table=self.table)
        if self.transformations:
            data["transformations"] = [one.to_json() for one in self.transformations]
        return data


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
            "watermark": self.watermark,
            "charge": self.charge,
            "error": self.error,
            "errorCode": self.error_code,
        }


class ChargeLike(Protocol):
    """What the store needs of a charge; `beam_pipelines.pricing.Charge` has it."""

    @property
    def amount(self) -> Decimal:
        """Rounded amount."""

    @property
    def currency(self) -> str:
        """ISO 4217 code."""

    @property
    def description(self) -> str:
        """One line for the customer."""

    @property
    def price_version(self) -> str:
        """Names the price that was applied."""

    def to_json(self) -> dict[str, Any]:
        """The whole charge, with its lines."""


@dataclass(frozen=True)
class Failure:
    """Dead letters of one kind: how many, why, and where they are.

    Args:
        step: Step id, or `read`, `stage`, `load`.
        code: A code of `beam_pipelines.errors`.
        count: Rows.
        url: Where the dead letters are.
        message: The error's text, without payload.
        table: The load it belongs to.
    """

    step: str
    code: str
    count: int
    url: str
    message: str = ""
    table: str = ""


@dataclass(frozen=True)
class Incident:
    """Something that a person should look at, and is told of once, however many runs meet it.

    Args:
        key: The same for as long as it is the same incident.
        message: What it is, since when, and what to do.
        severity: `low`, `medium` or `high`.
    """

    key: str
    message: str
    severity: str = "medium"


@dataclass(frozen=True)
class Watermark:
    """Copy of a watermark; the truth is the target's ledger.

    Args:
        service: Service id.
        table: Ledger key of the load.
        value: Plain JSON (`Mark.to_json()`); None for a load without cursor.
        fingerprint: Of source, query, cursor and target.
        generation: Commits of the load; a copy of an older generation never replaces a newer one.
        run: Run that committed it; None when set by hand.
        updated_at: Set by the store.
    """

    service: str
    table: str
    value: Any
    fingerprint: str = ""
    generation: int = 0
    run: str | None = None
    updated_at: datetime | None = None


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

    def __post_init__(self) -> None:
        if self.status not in FINAL:
            raise ValueError(f"expected one of {', '.join(FINAL)} as the status that ends a run, got {self.status!r}")
        if self.completed_at is not None:
            aware(self.completed_at)


@dataclass(frozen=True)
class Lease:
    """The right to run a service, until a moment.

    Args:
        service: Service id.
        run: Run that holds it.
        token: Greater than every earlier one of the service.
        since: Aware.
        until: Aware; to be renewed before.
        ttl_seconds: What each renewal adds to the time of the renewal.
    """

    service: str
    run: str
    token: int
    since: datetime
    until: datetime
    ttl_seconds: float


@dataclass(frozen=True)
class FailedRecord:
    """Index entry of dead letters: `Failure` of a run."""

    service: str
    run: str
    position: int
    step: str
    code: str
    count: int
    url: str
    message: str
    table: str
    timestamp: datetime

    def to_json(self) -> dict[str, Any]:
        return {
            "pipelineId": self.service,
            "runId": self.run,
            "table": self.table,
            "step": self.step,
            "code": self.code,
            "count": self.count,
            "url": self.url,
            "error": self.message,
            "timestamp": moment_text(self.timestamp),
        }


@dataclass(frozen=True)
class PipelineMetric:
    """One row a run.

    Args:
        records_processed: Rows loaded.
        bytes_processed: Bytes, as billed.
        duration: Milliseconds.
        throughput: Rows loaded a second; None when the run took no time.
        error_rate: errors / rows read; None when nothing was read.
    """

    service: str
    run: str
    timestamp: datetime
    records_processed: int
    bytes_processed: int
    duration: int
    throughput: float | None
    error_rate: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "pipelineId": self.service,
            "runId": self.run,
            "timestamp": moment_text(self.timestamp),
            "metrics": {
                "recordsProcessed": self.records_processed,
                "bytesProcessed": self.bytes_processed,
                "duration": self.duration,
                "throughput": self.throughput,
                "errorRate": self.error_rate,
            },
        }


@dataclass(frozen=True)
class Alert:
    """Said once when the failures of the last hour pass the limit, and once of each incident.

    Args:
        failures: Of the last hour; 0 for an incident.
        incident: `Incident.key`; None for failures.
    """

    id: str
    service: str
    run: str
    severity: str
    message: str
    failures: int
    created_at: datetime
    incident: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "serviceId": self.service,
            "runId": self.run,
            "severity": self.severity,
            "message": self.message,
            "failures": self.failures,
            "createdAt": moment_text(self.created_at),
            "incident": self.incident,
        }


@dataclass(frozen=True)
class ChargeRecord:
    """A charge that was made; `key` is unique."""

    key: str
    service: str
    run: str
    request: str | None
    customer: str | None
    amount: Decimal
    currency: str
    description: str
    price_version: str
    data: dict[str, Any]
    charged_at: datetime

    def to_json(self) -> dict[str, Any]:
        ours = {"key": self.key, "serviceId": self.service, "runId": self.run, "requestId": self.request, "customerId": self.customer}
        return {**self.data, **ours, "chargedAt": moment_text(self.charged_at)}


@dataclass(frozen=True)
class ServiceRequest:
    """Who asked for a run, and what became of it: `created`, `delivered` or `failed`."""

    run: str
    service: str
    request: str | None
    customer: str | None
    status: str
    created_at: datetime
    completed_at: datetime | None

    def to_json(self) -> dict[str, Any]:
        return {
            "requestId": self.request,
            "customerId": self.customer,
            "serviceId": self.service,
            "runId": self.run,
            "status": self.status,
            "createdAt": moment_text(self.created_at),
            "completedAt": moment_text(self.completed_at),
        }


@dataclass(frozen=True)
class Schedule:
    """The schedule that a definition asks for, as recorded.

    Args:
        service: Service id.
        expression: Cron expression.
        timezone: IANA name.
        recorded_at: Set by the store.
    """

    service: str
    expression: str
    timezone: str = "UTC"
    recorded_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "serviceId": self.service,
            "type": "cron",
            "expression": self.expression,
            "timezone": self.timezone,
            "recordedAt": moment_text(self.recorded_at),
        }


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
