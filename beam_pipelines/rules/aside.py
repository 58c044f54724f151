"""What is put aside of a batch that was held against rules: the rows that are rejected, and every violation, as rows of two tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from beam_pipelines.columnar import dead, origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.rules import violation
from beam_pipelines.rules.compiled import Compiled
from beam_pipelines.rules.judgement import Judgement

__all__ = ["ORIGIN", "RULES", "RUN", "VIOLATIONS", "rejected_rows", "rejected_schema", "violation_rows"]

# Columns beside those of rejected rows: the run, the rules that a row violates (a JSON list of their ids), and where it came from (JSON).
RUN, RULES, ORIGIN = "_run", "_rules", "_origin"
_OF_REJECTED = [pa.field(RULES, pa.string()), pa.field(ORIGIN, pa.string())]
# `rules.violation.SCHEMA` with the row's number in its file or range, where it has one; `origin` and `record` are JSON.
VIOLATIONS = pa.schema(
    [
        pa.field("recordIndex", pa.int64()),
        pa.field("origin", pa.string()),
        *(pa.field(field.name, pa.string()) for field in list(violation.SCHEMA)[1:]),
        pa.field("record", pa.string()),
    ]
)


def rejected_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of what `rejected_rows` gives of rows of a schema."""
    return pa.schema([*origin.visible_schema(schema), *_OF_REJECTED])


def rejected_rows(
    rejected: pa.RecordBatch,
    rejects: npt.NDArray[np.bool_],
    rules: Sequence[Compiled],
    judgements: Sequence[Judgement],
) -> pa.RecordBatch:
    """Return rejected rows with the ids of all rules that they violate, and where they came from.

    Args:
        rejected: Rows, with hidden columns.
        rejects: Of all rows of the batch, which these are.
        rules: In the order of the definition.
        judgements: What each rule says of the batch.
    """
    hits = np.zeros((len(rejects), len(rules)), dtype=np.bool_)
    for at, judgement in enumerate(judgements):
        hits[judgement.rows, at] = True
        hits[list(judgement.failed), at] = True
    kinds, which = np.unique(hits[rejects], axis=0, return_inverse=True)
    ids = [rule.model.id for rule in rules]
    texts = [orjson.dumps([ids[at] for at in np.flatnonzero(kind)]).decode() for kind in kinds]
    shown = origin.visible(rejected)
    names = pa.array(texts, pa.string()).take(pa.array(which.reshape(-1)))
    columns = [*shown.columns, names, origin.json_origins(rejected, range(rejected.num_rows))]
    return pa.RecordBatch.from_arrays(columns, schema=rejected_schema(shown.schema))


def violation_rows(batch: pa.RecordBatch, rules: Sequence[Compiled], judgements: Sequence[Judgement]) -> pa.RecordBatch | None:
    """Return every violation in a batch, in the schema `VIOLATIONS` but with dictionaries; None: there is none.

    Args:
        batch: Rows, with hidden columns.
        rules: In the order of the definition.
        judgements: What each rule says of the batch.
    """
    gathered = violation.Violations(rules)
    gathered.add(judgements, 0)
    found = gathered.table()
    if not found.num_rows:
        return None
    rows, which = np.unique(np.asarray(found.column("recordIndex")), return_inverse=True)
    taken = take(batch, rows)
    numbers = taken.column(origin.ROW) if origin.ROW in taken.schema.names else pa.nulls(len(rows), pa.int64())
    places = pa.array(which.astype(np.int32))
    told = found.combine_chunks().to_batches()[0]
    columns = [
        numbers.take(places),
        pa.DictionaryArray.from_arrays(places, origin.json_origins(batch, rows.tolist())),
        *told.columns[1:],
        pa.DictionaryArray.from_arrays(places, dead.payloads(origin.visible(taken))),
    ]
    return pa.RecordBatch.from_arrays(columns, names=VIOLATIONS.names)
