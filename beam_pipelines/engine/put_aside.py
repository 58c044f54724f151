"""What the steps of a run have put aside, as it is read from staging when the run has ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson
import pyarrow as pa

from beam_pipelines.engine.aside import blocks
from beam_pipelines.engine.numbers import Numbers
from beam_pipelines.engine.outputs import Output
from beam_pipelines.errors import BeamPipelinesError
from beam_pipelines.io.connector import LedgerRow, Target
from beam_pipelines.runs.facts import KEPT, Aside

__all__ = ["PutAside", "asides_of"]

_LOG = logging.getLogger(__name__)
_GONE = ("staging-lost", "table-missing")


def asides_of(row: LedgerRow) -> Iterator[tuple[str, Aside]]:
    """What the steps of a load have put aside, with the step's id."""
    for step in row.counts.tally.steps if row.counts else ():
        for aside in step.asides:
            if aside.output not in KEPT:
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
    def asides(self) -> list[tuple[Aside, LedgerRow]]:
        mine = (self.output.step, self.output.kind)
        found = [(aside, row) for row in self.rows for step, aside in asides_of(row) if (step, aside.output) == mine]
        return sorted(found, key=lambda one: one[0].staged.name)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows, in blocks.

        Raises:
            FatalError: Staging is gone (`staging-lost`), and not `missing_ok`.
        """
        for aside, row in self.asides:
            found, numbers, failed = 0, Numbers.of(row), _failed(row)
            try:
                for block in blocks(self.target.read_staged(aside.staged)):
                    found += block.num_rows
                    block = _without(block, failed) if failed else block
                    yield block if numbers is None else _numbered(block, numbers)
            except BeamPipelinesError as gone:
                if not self.missing_ok or gone.code not in _GONE:
                    raise
                _LOG.error("%d of %s are lost: %s", aside.rows - found, self.output.what, gone)
                continue
            if found < aside.rows:
                # PostgreSQL empties unlogged tables when it recovers from a crash.
                _LOG.error("%d of %s are lost, though the run's record counts them", aside.rows - found, self.output.what)


def _failed(row: LedgerRow) -> set[str]:
    """Files of which nothing is loaded, for they cannot be read: their rows come again once they are mended."""
    return {file.name for file in row.counts.merged.files if file.error} if row.counts else set()


def _without(block: pa.RecordBatch, files: set[str]) -> pa.RecordBatch:
    """The rows of a block that are of none of some files."""
    origins = [orjson.loads(text or "{}") for text in block.column(_origin_of(block)).to_pylist()]
    return block.filter(pa.array([origin.get("source") not in files for origin in origins], pa.bool_()))


def _origin_of(block: pa.RecordBatch) -> int:
    from beam_pipelines.rules.aside import ORIGIN, VIOLATIONS

    return int(block.schema.get_field_index("origin" if block.schema.names == VIOLATIONS.names else ORIGIN))


def _numbered(block: pa.RecordBatch, numbers: Numbers) -> pa.RecordBatch:
    """Rows with the numbers that those of their origins have in their files: the columns of `rules.aside`."""
    from beam_pipelines.rules.aside import VIOLATIONS

    violations, at = block.schema.names == VIOLATIONS.names, _origin_of(block)
    block = numbers.told(block, at)
    if not violations:
        return block
    return block.set_column(0, block.schema.field(0), numbers.column(block.column(0), block.column(at)))
