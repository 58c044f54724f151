"""What a service remembers: executions, leases, watermarks, charges and events, in SQLite or PostgreSQL."""

from __future__ import annotations

from beam_pipelines.state.event import Event, PhaseProgress
from beam_pipelines.state.lease import this_process
from beam_pipelines.state.record import (
    ACTIVE,
    FINAL,
    Advance,
    Alert,
    ChargeRecord,
    Execution,
    FailedRecord,
    Failure,
    Incident,
    Lease,
    Metrics,
    Outcome,
    PipelineMetric,
    QualityRecord,
    Schedule,
    ServiceRequest,
    Status,
    Step,
    StreamHour,
    Transformation,
    Watermark,
)
from beam_pipelines.state.store import StateStore, default_url

__all__ = [
    "ACTIVE",
    "FINAL",
    "Advance",
    "Alert",
    "ChargeRecord",
    "Event",
    "Execution",
    "FailedRecord",
    "Failure",
    "Incident",
    "Lease",
    "Metrics",
    "Outcome",
    "PhaseProgress",
    "PipelineMetric",
    "QualityRecord",
    "Schedule",
    "ServiceRequest",
    "StateStore",
    "Status",
    "Step",
    "StreamHour",
    "Transformation",
    "Watermark",
    "default_url",
    "this_process",
]
