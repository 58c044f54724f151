"""Who asked for a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from beam_pipelines.state.record.moment import moment_text

__all__ = ["ServiceRequest"]


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
