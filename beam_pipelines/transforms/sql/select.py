"""WHERE and the select list over one batch."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.compact import kept_rows
from beam_pipelines.transforms.filter import narrowed
from beam_pipelines.transforms.sql.projection import Projection
from beam_pipelines.transforms.sql.where import Where
from beam_pipelines.transforms.step import Applied, dead_rows

__all__ = ["selected"]


def selected(batch: pa.RecordBatch, where: Where | None, projection: Projection, *, required: bool = True) -> Applied:
    """Return the rows on which a condition is true, with the columns of a select list.

    Args:
        batch: With hidden columns.
        where: Open; None: all rows.
        projection: Over the same schema.
        required: A row that fails is dead, shown as it came; else it goes on with null in all that is computed.
    """
    rows = narrowed(batch, projection.reads)
    places = np.arange(batch.num_rows)
    failed: dict[int, str] = {}
    if where is not None:
        mask, failed = where.judge(batch)
        if not pc.all(mask, min_count=0).as_py():
            rows, places = kept_rows(rows, mask), np.flatnonzero(mask)
    filtered = batch.num_rows - len(places) - (len(failed) if required else 0)
    passed = [] if required else np.flatnonzero(np.isin(places, list(failed))).tolist()
    out, wrong = projection.apply(rows, passed)
    failed |= {int(places[row]): why for row, why in wrong.items()}
    dead = dead_rows(batch, {row: ("expression-failed", why) for row, why in failed.items()} if required else {})
    return Applied((out,) if out.num_rows else (), filtered=filtered, nulled=0 if required else len(failed), dead=dead)
