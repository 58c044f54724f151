"""The schedule of a service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from beam_pipelines.state.record.moment import moment_text

__all__ = ["Schedule"]


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
