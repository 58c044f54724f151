"""The rows of a batch told apart by what became of them: those that go on, marked or not, and those that are rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import kept_rows
from beam_pipelines.rules.compiled import Compiled
from beam_pipelines.rules.judgement import Judgement, Positions

__all__ = ["MARKS", "Split", "marked", "split"]

MARKS = "_dq"  # column of the rules that a row violates and goes on with
MARKS_TYPE = pa.list_(pa.string())


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
        names = batch.schema.names
        before = valid.column(names.index(MARKS)) if MARKS in names else None
        marks = _marks(rules, flagged, rejects, before)
        field = pa.field(MARKS, MARKS_TYPE)
        if before is not None:
            valid = valid.set_column(names.index(MARKS), field, marks)
        else:
            # Hidden columns stand last.
            valid = valid.add_column(sum(not name.startswith(origin.PREFIX) for name in names), field, marks)
    return Split(valid, rejected, rejects, int(failed.sum()), int(warned.sum()))


def _marks(
    rules: Sequence[Compiled], flagged: list[tuple[int, Positions]], rejects: npt.NDArray[np.bool_], before: pa.Array | None
) -> pa.Array:
    """Return of the rows that go on the rules that they violate, null where there are none; behind those that stood there before."""
    going = int(len(rejects) - rejects.sum())
    if not flagged:
        return pa.nulls(going, MARKS_TYPE) if before is None else before
    places = np.cumsum(~rejects) - 1  # of each row among those that go on
    rows = np.concatenate([rows for _, rows in flagged])
    which = np.concatenate([np.full(len(rows), at) for at, rows in flagged])
    on = ~rejects[rows]
    rows, which = places[rows[on]], which[on]
    names = pa.array([rule.model.id for rule in rules]).take(pa.array(which))
    if before is not None:
        rows = np.concatenate([np.asarray(pc.list_parent_indices(before)), rows])
        which = np.concatenate([np.full(len(rows) - len(which), -1), which])  # a stable sort keeps them in their order
        names = pa.concat_arrays([before.flatten(), names])
    order = np.lexsort((which, rows))
    counts = np.bincount(rows, minlength=going)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(order)), mask=pa.array(counts == 0))


def marked(schema: pa.Schema, rules: Sequence[Compiled]) -> pa.Schema | None:
    """Return the schema of the rows that go on; None: a column of another kind is where flagged rows say what they violate."""
    if not marks_rows(rules):
        return schema
    if MARKS not in schema.names:
        return schema.append(pa.field(MARKS, MARKS_TYPE))
    return schema if schema.field(MARKS).type == MARKS_TYPE else None
