"""What the state store keeps, as plain values: an execution with its steps, the outcome that ends it, and what follows from it.

`to_json` gives the names of the product's seed document (`serviceId`, `recordsExtracted`, ...), ours stand beside them. Times are aware
UTC, durations whole milliseconds, sizes bytes, money decimal text.
"""

from __future__ import annotations

from beam_pipelines.state.record.advance import LIVE_COUNTERS, Advance
from beam_pipelines.state.record.alert import Alert, Incident
from beam_pipelines.state.record.charge import ChargeLike, ChargeRecord
from beam_pipelines.state.record.execution import ACTIVE, FINAL, STREAM, Execution, Status
from beam_pipelines.state.record.failure import FailedRecord, Failure
from beam_pipelines.state.record.files import KEPT_FILES, Files
from beam_pipelines.state.record.hour import StreamHour
from beam_pipelines.state.record.lease import Lease
from beam_pipelines.state.record.metrics import Metrics, PipelineMetric
from beam_pipelines.state.record.moment import aware, moment_text
from beam_pipelines.state.record.outcome import Outcome
from beam_pipelines.state.record.quality import QualityRecord
from beam_pipelines.state.record.request import ServiceRequest
from beam_pipelines.state.record.schedule import Schedule
from beam_pipelines.state.record.step import Step, Transformation, without_rows
from beam_pipelines.state.record.total import merged
from beam_pipelines.state.record.watermark import Watermark

__all__ = [
    "ACTIVE",
    "FINAL",
    "KEPT_FILES",
    "LIVE_COUNTERS",
    "STREAM",
    "Advance",
    "Alert",
    "ChargeLike",
    "ChargeRecord",
    "Execution",
    "FailedRecord",
    "Failure",
    "Files",
    "Incident",
    "Lease",
    "Metrics",
    "Outcome",
    "PipelineMetric",
    "QualityRecord",
    "Schedule",
    "ServiceRequest",
    "Status",
    "Step",
    "StreamHour",
    "Transformation",
    "Watermark",
    "aware",
    "merged",
    "moment_text",
    "without_rows",
]
