"""Adjacent filters and maps carried out as one: a batch is looked at once, and columns that no later step reads are not copied.

What comes out, what each step counts and what a dead letter holds is as if the steps ran one after the other: a filter hands on only the
columns that are read behind it, and a row that dies there is shown as it was, with all its columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import cast, size
from beam_pipelines.runs.example import Examples
from beam_pipelines.runs.facts import add_rules
from beam_pipelines.spec.step import StepBase
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.spec.step.map import MapStep
from beam_pipelines.transforms.filter import Filter
from beam_pipelines.transforms.map import Map
from beam_pipelines.transforms.step import Applied, DeadRows, Step

__all__ = ["Fused", "groups"]


def groups(models: Sequence[StepBase]) -> list[range]:
    """Return the positions of steps that run as one: adjacent filters and maps together, any other step by itself.

    >>> groups([])
    []
    """
    declarative = [isinstance(model, (FilterStep, MapStep)) for model in models]
    edges = [0] + [at for at in range(1, len(models)) if not (declarative[at - 1] and declarative[at])] + [len(models)]
    return [range(first, last) for first, last in itertools.pairwise(edges) if last > first]


@dataclass(frozen=True)
class _Rows:
    """Rows between two steps.

    Args:
        batch: What the next step gets.
        whole: Rows that `batch` is some of, with all their columns; None: `batch` has all there are.
        masks: Which of them, filter after filter.
    """

    batch: pa.RecordBatch
    whole: pa.RecordBatch | None = None
    masks: tuple[pa.Array, ...] = ()

    def shown(self, dead: DeadRows) -> DeadRows:
        """Return dead rows of `batch` with all their columns."""
        if self.whole is None:
            return dead
        places = np.arange(self.whole.num_rows)
        for mask in self.masks:
            places = places[mask.to_numpy(zero_copy_only=False)]
        return replace(dead, batch=self.whole, rows=places[dead.rows].tolist())


class Fused:
    """Steps as one; each is open, and none but a filter or a map may stand beside others.

    Args:
        steps: In their order.
        schemas: Planned visible schema after each.
    """

    def __init__(self, steps: Sequence[Step], schemas: Sequence[pa.Schema]) -> None:
        self._steps, self._schemas = list(steps), list(schemas)
        self._columns = [self._read_behind(position) for position in range(len(steps))]

    def _read_behind(self, position: int) -> frozenset[str] | None:
        """The columns that steps behind a filter read, up to the map that makes new ones; None: all of them are needed."""
        if not isinstance(self._steps[position], Filter):
            return None
        read: frozenset[str] = frozenset()
        for step in self._steps[position + 1 :]:
            if isinstance(step, Map):
                return None if step.columns is None else read | step.columns
            assert isinstance(step, Filter)
            read |= step.columns
        return None

    def pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Return what `apply` may take at one time of a batch: all of it, but where a row becomes many."""
        first = self._steps[0]
        pieces: Callable[[pa.RecordBatch], Iterator[pa.RecordBatch]] | None = getattr(first, "pieces", None)
        return pieces(batch) if pieces else iter((batch,))

    def apply(self, batch: pa.RecordBatch) -> list[Applied]:
        """Return what each step did with one batch; what goes on is with the last. Every `Applied` counts its own rows."""
        rows = [_Rows(batch)]
        results = []
        for step, schema, columns in zip(self._steps, self._schemas, self._columns, strict=True):
            done = [self._through(step, schema, columns, one) for one in rows]
            rows = [after for _, behind in done for after in behind]
            results.append(_added(applied for applied, _ in done))
        results[-1] = replace(results[-1], batches=tuple(part for one in rows for part in size.split(one.batch)))
        return results

    def _through(self, step: Step, schema: pa.Schema, columns: frozenset[str] | None, rows: _Rows) -> tuple[Applied, list[_Rows]]:
        if isinstance(step, Filter) and columns is not None:
            # The types are the planned ones: a filter changes no value.
            applied = step.apply(rows.batch, columns)
            whole = rows.batch if rows.whole is None else rows.whole
            masks = rows.masks if applied.kept is None else (*rows.masks, applied.kept)
            behind = [_Rows(out, whole, masks) for out in applied.batches]
            died = [rows.shown(dead) for dead in applied.dead]
        else:
            applied = step.apply(rows.batch)
            died = [rows.shown(dead) for dead in applied.dead]
            conformed = [cast.conform(out, schema) for out in applied.batches]
            for out, found in zip(applied.batches, conformed, strict=True):
                if found.bad:
                    died.append(DeadRows(out, found.bad, ["cast-failed"] * len(found.bad), found.reasons))
            behind = [_Rows(found.batch) for found in conformed if found.batch.num_rows]
        return replace(applied, batches=tuple(one.batch for one in behind), dead=tuple(died)), behind


def _added(parts: Iterable[Applied]) -> Applied:
    """Return the counts of a step over the parts of one batch."""
    every = list(parts)
    return Applied(
        tuple(batch for one in every for batch in one.batches),
        filtered=sum(one.filtered for one in every),
        nulled=sum(one.nulled for one in every),
        made=sum(one.made for one in every),
        dead=tuple(dead for one in every for dead in one.dead),
        rejects=tuple(rows for one in every for rows in one.rejects),
        rules=add_rules(*(one.rules for one in every)),
        failed=sum(one.failed for one in every),
        warned=sum(one.warned for one in every),
        asides=tuple(aside for one in every for aside in one.asides),
        examples=sum((one.examples for one in every), Examples()),
    )
