"""What a sink of a stream is, beside the one whose transaction holds its offsets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.sinks.place import key_of
from beam_pipelines.engine.sinks.refused import Refused
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.facts import PENDING

if TYPE_CHECKING:
    pass

__all__ = ["Sink"]


@dataclass(frozen=True)
class Sink(ABC):
    """One of the other sinks.

    Args:
        id: `sinks[1]`, as it stands in the definition; `late` of rows that come too late.
        model: From the definition.
        path: Where it stands there.
        kind: What it gets: one of `runs.facts.KEPT`.
    """

    id: str
    model: Any
    path: str
    kind: str = PENDING

    @property
    def key(self) -> str:
        """Which sink it is, wherever it stands."""
        return key_of(self.model)

    @property
    def note(self) -> str:
        """Under which kind it is noted that rows are kept for it."""
        return f"{self.kind} {self.key}"

    @property
    @abstractmethod
    def what(self) -> str:
        """What messages call the place; no secrets."""

    @property
    def _where(self) -> str:
        return f"{self.what} ({self.id})"

    def again(self, job: Job) -> bool:  # noqa: ARG002 - of most it is the same whatever the job
        """Whether rows that are read again, as a full refresh does, come there again."""
        return True

    @property
    @abstractmethod
    def repeats(self) -> bool:
        """Whether a row may come twice when the service dies at the wrong moment."""

    @property
    @abstractmethod
    def promise(self) -> str:
        """What the guarantee says of it."""

    @property
    @abstractmethod
    def line(self) -> str:
        """What the plan says of it."""

    @abstractmethod
    def check(self, job: Job, context: RunContext) -> None:
        """Open it, and see that it answers.

        Raises:
            PlanError: It cannot be written to as asked.
        """

    @abstractmethod
    def write(self, job: Job, context: RunContext, run: str, batches: Iterator[pa.RecordBatch], letters: Refused) -> int:
        """Write the rows of one commit, all of them, or make dead letters of them; gives how many it refuses that are in no letter.

        Raises:
            BeamPipelinesError: It failed; perhaps some are written.
        """
