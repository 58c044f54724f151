"""Which row failed a load: looked for after the load's transaction is undone, in one that is never committed.

A load that succeeds pays nothing for it. The search is one query a constraint of the catalog, and where these find nothing, half of the
rows, a quarter of them and so on, until one is left; 500,000 rows into PostgreSQL, the last but one refused: 0.4 s for a null and 2.4 s for
a text too long where they are inserted, 1.3 s and 6 s where they are merged. After `SECONDS` nothing more is begun.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import pyarrow as pa

from beam_pipelines.errors import DataError
from beam_pipelines.io.sql.halves import first_refused
from beam_pipelines.io.sql.merge import ROW
from beam_pipelines.io.sql.origins import origins
from beam_pipelines.io.sql.session import Session
from beam_pipelines.runs.facts import Staged
from beam_pipelines.runs.window import Window

if TYPE_CHECKING:
    from beam_pipelines.io.sql.target import MergePlan, SqlTarget

__all__ = ["SECONDS", "Blame", "FoundError", "LostError"]

SECONDS = 60.0  # a writer that waits for the search's locks waits as long itself (`io.postgres.target.LOCK_MS`)

_SHOWN = 500  # characters of an origin: a key may be a text of any length


class FoundError(Exception):
    """The row, on its way out of the transaction that is undone.

    Args:
        reason: Why the target refuses it, without values.
        origin: Where it came from, as dead letters show it.
    """

    def __init__(self, reason: str, origin: str) -> None:
        super().__init__(reason)
        self.reason, self.origin = reason, origin


class LostError(Exception):
    """The row is not found; the text says why."""


class Blame:
    """The search for the first row that fails a load.

    Args:
        target: Of the load.
        window: Of the load.
        schema: Of the staged rows.
        staged: The staging objects, in the order of their rows.
    """

    def __init__(self, target: SqlTarget, window: Window, schema: pa.Schema, staged: Sequence[Staged]) -> None:
        self._target, self._window, self._schema, self._staged = target, window, schema, staged
        self._until = time.monotonic() + SECONDS

    def row(self, tx: Session, plan: MergePlan) -> NoReturn:
        """Find the row that the merge of a plan fails by.

        Raises:
            FoundError: This one.
            LostError: None is found, or not in time.
        """
        self._by_constraints(tx, plan)

        def take(low: int, high: int) -> None:
            nonlocal plan
            part = self._target.part(tx, plan, low, high)
            if part.rows:
                with self._target.savepoint(tx):
                    self._target.apply(tx, part)
                plan = replace(plan, empty=False)

        self._by_halves(tx, plan, take)

    def key(self, tx: Session, plan: MergePlan) -> NoReturn:
        """Find the row whose key will not cast to the target's type.

        Raises:
            FoundError: This one.
            LostError: None is found, or not in time.
        """

        def take(low: int, high: int) -> None:
            with self._target.savepoint(tx):
                tx.execute(plan.sql.part(low, high).cast_keys())

        self._by_halves(tx, plan, take)

    def _by_constraints(self, tx: Session, plan: MergePlan) -> None:
        first: tuple[int, str] | None = None
        for reason, query in self._target.refusal_queries(tx, plan):
            self._hurry()
            with contextlib.suppress(DataError) if self._target.savepoints else contextlib.nullcontext(), self._tried(tx):
                row = tx.execute(f"SELECT min({ROW}) FROM ({query}) AS q").rows[0][0]
                if row is not None and (first is None or row < first[0]):
                    first = int(row), reason
        if first is not None:
            self._found(tx, plan, *first)

    def _tried(self, tx: Session) -> AbstractContextManager[None]:
        return self._target.savepoint(tx) if self._target.savepoints else contextlib.nullcontext()

    def _by_halves(self, tx: Session, plan: MergePlan, take: Callable[[int, int], None]) -> NoReturn:
        if not self._target.savepoints:
            raise LostError(f"no constraint tells, and {self._target.traits.system} undoes no part of a transaction")

        def in_time(low: int, high: int) -> None:
            self._hurry()
            take(low, high)

        bounds = self._target.row_bounds(tx, plan)
        refused = first_refused(*bounds, in_time) if bounds else None
        if refused is None:
            raise LostError("no row is refused when they are tried again")
        row, refusal = refused
        self._found(tx, plan, row, self._target.reason(tx, plan, row, refusal))

    def _hurry(self) -> None:
        if time.monotonic() > self._until:
            raise LostError(f"the search was given up after {SECONDS:.0f} s")

    def _found(self, tx: Session, plan: MergePlan, row: int, reason: str) -> NoReturn:
        rows = self._target.fetch(tx, plan.sql.staged, [row], self._schema)
        origin = origins(self._window, rows, [row - self._target.numbered_from], self._staged)[0]
        text = json.dumps(origin, ensure_ascii=False)
        raise FoundError(reason, text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
