"""Dead letters of a run: how many, why, and where they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from beam_pipelines.state.record.moment import moment_text

__all__ = ["FailedRecord", "Failure"]


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
class FailedRecord:
    """Index entry of dead letters: `Failure` of a run, and of a stream the drain that it is of."""

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
    drain: str | None = None

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
            **({"drainId": self.drain} if self.drain is not None else {}),
        }
