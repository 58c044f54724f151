"""No target: rows are counted and not kept, for services that only hold them against rules. What dies or is rejected is kept as ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar import dead
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import Described, Policy, Stager, TargetTraits
from beam_pipelines.io.files.home import HomedTarget
from beam_pipelines.io.files.stage import FOLDER, RowStaging
from beam_pipelines.io.sql.session import Session
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.counts import Merged, Tally
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.window import Window

__all__ = ["NowhereTarget"]


class NowhereTarget(HomedTarget):
    """Counts rows; the ledger and the dead letters are those of any other target.

    Args:
        model: The destination of the definition; it says nothing.
        connection: None.
        folder: The definition's, beside which dead letters are staged.
        context: The run, whose state store holds the ledger.
    """

    def __init__(self, model: Any, connection: Connection | None, folder: Path | None = None, context: RunContext | None = None) -> None:
        del model, connection
        self.traits = TargetTraits("nowhere", transactional=False, local=True, modes=("insert",), keeps=False)
        base = (folder or Path.cwd()).absolute()
        self.place = base.as_uri()
        super().__init__(context, RowStaging(base / FOLDER))

    def describe(self, table: str) -> Described | None:
        del table
        return None  # nothing is there

    def stored(self, schema: pa.Schema) -> pa.Schema:
        return schema

    def check(self) -> str:
        return "nowhere: rows are counted and not kept"

    def stager(self, name: str, schema: pa.Schema, order: int) -> Stager:
        return super().stager(name, schema, order) if schema.equals(dead.SCHEMA) else _Counter(name, order)

    def merge(self, tx: Session, window: Window, policy: Policy, schema: pa.Schema, tally: Tally) -> Merged:  # noqa: ARG002
        return Merged(unchanged=tally.staged_rows, method="counting them alone")


class _Counter:
    """A staging object that holds nothing but the number of its rows."""

    def __init__(self, name: str, order: int) -> None:
        self._name, self._order, self._rows = name, order, 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows

    def finish(self) -> Staged:
        return Staged(self._name, self._rows, order=self._order)

    def abort(self) -> None:
        """There is nothing to drop."""
