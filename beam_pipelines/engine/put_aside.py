"""What the steps of a run have put aside, as it is read from staging when the run has ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from beam_pipelines.engine.aside import blocks
from beam_pipelines.engine.outputs import Output
from beam_pipelines.errors import BeamPipelinesError
from beam_pipelines.io.connector import LedgerRow, Target
from beam_pipelines.runs.facts import Aside

__all__ = ["PutAside", "asides_of"]

_LOG = logging.getLogger(__name__)
_GONE = ("staging-lost", "table-missing")


def asides_of(row: LedgerRow) -> Iterator[tuple[str, Aside]]:
    """What the steps of a load have put aside, with the step's id."""
    for step in row.counts.tally.steps if row.counts else ():
        for aside in step.asides:
            yield step.step, aside


@dataclass(frozen=True)
class PutAside:
    """What is staged for one place of an output.

    Args:
        target: Where.
        output: What for.
        rows: Ledger rows that name it.
        missing_ok: Staging that is gone costs its rows and a line in the log.
    """

    target: Target
    output: Output
    rows: Sequence[LedgerRow]
    missing_ok: bool

    @property
    def asides(self) -> list[Aside]:
        mine = (self.output.step, self.output.kind)
        found = [aside for row in self.rows for step, aside in asides_of(row) if (step, aside.output) == mine]
        return sorted(found, key=lambda aside: aside.staged.name)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows, in blocks.

        Raises:
            FatalError: Staging is gone (`staging-lost`), and not `missing_ok`.
        """
        for aside in self.asides:
            found = 0
            try:
                for packed in self.target.read_staged(aside.staged):
                    for block in blocks(packed):
                        found += block.num_rows
                        yield block
            except BeamPipelinesError as gone:
                if not self.missing_ok or gone.code not in _GONE:
                    raise
                _LOG.error("%d of %s are lost: %s", aside.rows - found, self.output.what, gone)
                continue
            if found < aside.rows:
                # PostgreSQL empties unlogged tables when it recovers from a crash.
                _LOG.error("%d of %s are lost, though the run's record counts them", aside.rows - found, self.output.what)
