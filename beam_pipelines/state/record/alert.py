"""What a person is told of: incidents that runs meet, and the alerts made of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from beam_pipelines.state.record.moment import moment_text

__all__ = ["Alert", "Incident"]


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
