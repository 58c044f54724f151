"""Names of what a run leaves in a target before it commits: `_bp_<service hash 8>_<run 12>_<attempt 16>`.

PostgreSQL cuts identifiers at 63 bytes without a word, so the name is of fixed length (42), whatever the service is called.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass

__all__ = ["HEADS", "LEDGER", "PREFIX", "StagingName", "new_attempt", "new_run", "service_prefix"]

PREFIX = "_bp_"
LEDGER = "_beam_pipelines_loads"
HEADS = "_beam_pipelines_heads"
_NAME = re.compile(r"^_bp_([0-9a-f]{8})_([0-9a-z]{12})_([0-9a-f]{16})$")


def new_run() -> str:
    """A run id: 12 hexadecimal digits, random."""
    return uuid.uuid4().hex[:12]


def new_attempt() -> str:
    """An attempt id, made anew in every `start_bundle`: a retried bundle never writes where its first try wrote."""
    return uuid.uuid4().hex[:16]


def service_prefix(service: str) -> str:
    """The prefix of everything this service stages in a target."""
    return f"{PREFIX}{hashlib.sha256(service.encode()).hexdigest()[:8]}_"


@dataclass(frozen=True)
class StagingName:
    """The parts of a staging name."""

    service_hash: str
    run: str
    attempt: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.service_hash}_{self.run}_{self.attempt}"

    @classmethod
    def of(cls, service: str, run: str, attempt: str) -> StagingName:
        return cls(hashlib.sha256(service.encode()).hexdigest()[:8], run, attempt)

    @classmethod
    def parse(cls, name: str) -> StagingName | None:
        """The parts of `name`, or None when it is not a staging name of ours."""
        found = _NAME.match(name)
        return cls(*found.groups()) if found else None
