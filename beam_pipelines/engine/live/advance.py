"""What a drain adds to the record of its stream, worked out from its ledger row alone: the same for whoever lived to see it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.live.reached import ends_of, windows_by_topic
from beam_pipelines.engine.outcome import outcome_of
from beam_pipelines.io.connector import LedgerRow
from beam_pipelines.runs.offsets import Offsets, shown
from beam_pipelines.state.record import Failure
from beam_pipelines.state.record.advance import Advance

__all__ = ["advance_of", "live_figures"]


def advance_of(job: Job, row: LedgerRow, failures: tuple[Failure, ...], seconds: float | None) -> Advance:
    """What a drain adds.

    Args:
        job: The service.
        row: Its ledger row, committed.
        failures: Index of its exported dead letters.
        seconds: How long it took; None: nobody knows any more.
    """
    outcome = outcome_of(job, [row], failures)
    (watermark,) = outcome.watermarks
    committed = datetime.fromisoformat(row.ended_at) if row.ended_at else datetime.now(timezone.utc)
    return Advance(
        drain=row.run,
        generation=row.window.generation + 1,
        load=row.load,
        committed_at=committed,
        metrics=outcome.metrics,
        steps=outcome.steps,
        failures=failures,
        watermark=watermark,
        events=outcome.metrics.records_extracted,
        incidents=outcome.incidents,
        live=live_figures(job, row, seconds, committed),
    )


def live_figures(job: Job, row: LedgerRow, seconds: float | None, now: datetime) -> dict[str, Any]:
    """How a stream stands behind a drain: what its status shows."""
    assert row.counts is not None
    tally, mark = row.counts.tally, row.counts.watermark
    reached = Offsets.of(mark) if mark is not None else Offsets()
    ends = {shown(topic, number): end for topic, window in windows_by_topic(job, row.window) for number, end in ends_of(window).items()}
    lag = {name: max(0, ends[name] - place.next) for name, place in reached.named.items() if name in ends}
    delay = None if reached.closed is None else round(now.timestamp() * 1000) - reached.closed
    return {
        "eventsPerSecond": round(tally.read / seconds, 1) if seconds else None,
        "lag": lag,
        "watermark": reached.told()["closed"],
        "watermarkDelay": delay,
        "openWindows": sum(step.open_windows for step in tally.steps),
        "waitingRows": sum(step.waiting for step in tally.steps),
        "rememberedKeys": sum(step.remembered for step in tally.steps),
        "late": sum(step.late for step in tally.steps),
        "windowsWritten": sum(step.windows for step in tally.steps),
    }
