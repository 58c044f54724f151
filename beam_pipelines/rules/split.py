"""The rows of a batch told apart by what became of them: those that go on, marked or not, and those that are rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import kept_rows
from beam_pipelines.rules.compiled import Compiled
from beam_pipelines.rules.judgement import Judgement

__all__ = ["MARKS", "Split", "marks_rows", "split"]

MARKS = "_dq"  # column of the rules that a row violates and goes on with
_MARK_TYPE = pa.list_(pa.string())


@dataclass(frozen=True)
class Split:
    """What became of the rows of one batch.

    Args:
        valid: Those that go on; with the column `_dq` where a rule may flag rows: the rules' ids, null where there are none.
        rejected: Those that do not, as they came.
        rejects: Of the batch's rows, which are rejected.
        failed: How many violate a rule of severity error.
        warned: How many violate one of severity warning.
    """

    valid: pa.RecordBatch
    rejected: pa.RecordBatch
    rejects: npt.NDArray[np.bool_]
    failed: int
    warned: int


def marks_rows(rules: Sequence[Compiled]) -> bool:
    """Whether rows that go on have the column `_dq`."""
    return any(rule.action == "flag" for rule in rules)


def split(rules: Sequence[Compiled], batch: pa.RecordBatch, judgements: Sequence[Judgement]) -> Split:
    """Tell the rows of a batch apart.

    Args:
        rules: In the order of the definition.
        batch: Rows.
        judgements: What each rule says of them. A row on which a rule itself failed is rejected, and counts as failed.
    """
    rejects, failed, warned = (np.zeros(batch.num_rows, dtype=np.bool_) for _ in range(3))
    flagged: list[tuple[int, npt.NDArray[np.int64]]] = []
    for at, (rule, judgement) in enumerate(zip(rules, judgements, strict=True)):
        for row in judgement.failed:
            rejects[row] = failed[row] = True
        rows = judgement.rows
        if rule.action == "reject":
            rejects[rows] = True
        elif rule.action == "flag" and len(rows):
            flagged.append((at, rows))
        if rule.model.severity != "info":
            (failed if rule.model.severity == "error" else warned)[rows] = True
    valid, rejected = batch, batch.slice(0, 0)
    if rejects.any():
        valid, rejected = kept_rows(batch, pa.array(~rejects)), kept_rows(batch, pa.array(rejects))
    if marks_rows(rules):
        marks = _marks(rules, flagged, rejects)
        # Hidden columns stand last.
        place = sum(not name.startswith(origin.PREFIX) for name in batch.schema.names)
        valid = valid.add_column(place, pa.field(MARKS, _MARK_TYPE), marks)
    return Split(valid, rejected, rejects, int(failed.sum()), int(warned.sum()))


def _marks(rules: Sequence[Compiled], flagged: list[tuple[int, npt.NDArray[np.int64]]], rejects: npt.NDArray[np.bool_]) -> pa.Array:
    """Return of the rows that go on the rules that they violate, null where there are none."""
    going = int(len(rejects) - rejects.sum())
    if not flagged:
        return pa.nulls(going, _MARK_TYPE)
    places = np.cumsum(~rejects) - 1  # of each row among those that go on
    rows = np.concatenate([rows for _, rows in flagged])
    which = np.concatenate([np.full(len(rows), at) for at, rows in flagged])
    on = ~rejects[rows]
    rows, which = places[rows[on]], which[on]
    order = np.lexsort((which, rows))
    counts = np.bincount(rows, minlength=going)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    names = pa.array([rule.model.id for rule in rules]).take(pa.array(which[order]))
    return pa.ListArray.from_arrays(pa.array(offsets), names, mask=pa.array(counts == 0))
