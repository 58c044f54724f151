"""What the rules of one step came to in one run, as it is kept to compare later runs with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from beam_pipelines.state.record.moment import moment_text

__all__ = ["QualityRecord"]


@dataclass(frozen=True)
class QualityRecord:
    """What came of the rows of one `validate` step.

    Args:
        service: Service id.
        run: Run id.
        step: Step id.
        table: Load that it belongs to, where a run has several.
        timestamp: When the run ended.
        status: How the run ended.
        total: Rows that the step looked at: passed + failed.
        passed: Rows that violate no rule of severity error.
        failed: The others.
        warnings: Rows that violate a rule of severity warning, whatever else they do.
        result: `rules`, what each came to, and `profile`, what columns were like, where it is known; no examples of rows.
    """

    service: str
    run: str
    step: str
    table: str | None
    timestamp: datetime
    status: str
    total: int
    passed: int
    failed: int
    warnings: int
    result: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "serviceId": self.service,
            "runId": self.run,
            "step": self.step,
            "table": self.table,
            "timestamp": moment_text(self.timestamp),
            "status": self.status,
            "total": self.total,
            "passed": self.passed,
            "failed": self.failed,
            "warnings": self.warnings,
            **self.result,
        }
