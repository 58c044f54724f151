"""Names of what a run leaves in a target before it commits: `_bp_<service hash 8>_<run 12>_<attempt 16>`.

PostgreSQL cuts identifiers at 63 bytes without a word, so the name is of fixed length (42), whatever the service is called.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass

__all__ = ["HEADS", "KEPT", "LEDGER", "PREFIX", "StagingName", "is_run", "new_attempt", "new_run", "service_prefix"]

PREFIX = "_bp_"
LEDGER = "_beam_pipelines_loads"
HEADS = "_beam_pipelines_heads"
KEPT = "_beam_pipelines_kept"
_RUN = re.compile(r"[0-9a-z]{12}")
_NAME = re.compile(r"_bp_([0-9a-f]{8})_([0-9a-z]{12})_([0-9a-f]{16})")


def new_run() -> str:
    """A run id: 12 hexadecimal digits, random."""
    return uuid.uuid4().hex[:12]


def is_run(text: str) -> bool:
    """Whether a text is of the form of a run id, so that what is staged under it is found again."""
    return bool(_RUN.fullmatch(text))


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
        """The name of what one attempt of a run stages.

        Raises:
            ValueError: `parse` would not know it again, so that nothing would ever drop what is staged under it.
        """
        name = cls(hashlib.sha256(service.encode()).hexdigest()[:8], run, attempt)
        if cls.parse(str(name)) != name:
            raise ValueError(
                f"expected a run of 12 letters and digits, and an attempt of 16 hexadecimal digits, got {run!r} and {attempt!r}"
            )
        return name

    @classmethod
    def parse(cls, name: str) -> StagingName | None:
        """The parts of `name`, or None when it is not a staging name of ours."""
        found = _NAME.fullmatch(name)
        return cls(*found.groups()) if found else None
