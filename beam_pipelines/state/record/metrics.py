"""Counts of a run, and the row that is kept of them for each run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from beam_pipelines.state.record.moment import moment_text

__all__ = ["Metrics", "PipelineMetric"]


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
