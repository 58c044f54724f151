"""Dead letters: a row that failed, with the reason, where it came from and everything it held, so that it can be replayed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.json_text import json_objects, json_texts, json_values
from beam_pipelines.columnar.plain import plain
from beam_pipelines.columnar.size import MAX_CELL_BYTES, cell_sizes

__all__ = ["HEAD_BYTES", "SCHEMA", "TRUNCATED", "letters", "payloads"]

SCHEMA = pa.schema(
    [
        pa.field("load", pa.string(), nullable=False),
        pa.field("step", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("payload", pa.string(), nullable=False),
    ]
)
HEAD_BYTES = 64 * 1024
TRUNCATED = "$truncated"


def letters(
    batch: pa.RecordBatch,
    rows: Sequence[int],
    *,
    load: str,
    step: str,
    codes: Sequence[str],
    messages: Sequence[str],
    at: dt.datetime,
    max_cell_bytes: int = MAX_CELL_BYTES,
    origins: Sequence[dict[str, Any]] | None = None,
) -> pa.RecordBatch:
    """Write the dead letters of some rows of a batch.

    Args:
        batch: As the step got it, with hidden columns.
        rows: Positions in the batch.
        load: Ledger key of the load.
        step: Id of the step; "" for the read.
        codes: One error code a row.
        messages: One message a row, without payload.
        at: When, aware.
        origins: One a row, where the batch has no hidden columns to tell.
        max_cell_bytes: A cell above it is kept as its first 64 KiB and its length: `{"$truncated": {"bytes": n, "head": text}}`.

    Returns:
        A batch of `SCHEMA`, one row for each of `rows`, in their order. `origin` and `payload` are JSON text.
    """
    if not len(rows) == len(codes) == len(messages):
        raise ValueError(f"expected one code and one message a row, got {len(rows)} rows, {len(codes)} codes and {len(messages)} messages")
    count = len(rows)
    columns = [
        pa.repeat(pa.scalar(load, pa.string()), count),
        pa.repeat(pa.scalar(step, pa.string()), count),
        pa.repeat(pa.scalar(at, SCHEMA.field("at").type), count),
        pa.array(list(codes), pa.string()),
        pa.array(list(messages), pa.string()),
        origin.json_origins(batch, rows) if origins is None else json_values(origins),
        payloads(take(origin.visible(batch), rows), max_cell_bytes),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def payloads(taken: pa.RecordBatch, max_cell_bytes: int = MAX_CELL_BYTES) -> pa.Array:
    """Write rows as JSON objects, without hidden columns; a cell above `max_cell_bytes` as `letters` says."""
    return json_objects(taken.schema.names, [_cells(column, max_cell_bytes) for column in taken.columns], taken.num_rows)


def _cells(column: pa.Array, max_cell_bytes: int) -> pa.Array:
    sizes = cell_sizes(column)
    if not len(sizes) or sizes.max() <= max_cell_bytes:
        return json_texts(column)
    # One row at a time: only the rows that are too large are cut, and only one of them is in memory twice.
    return json_values(
        [
            _head(column.slice(row, 1), int(size)) if size > max_cell_bytes else plain(column.slice(row, 1))[0]
            for row, size in enumerate(sizes)
        ]
    )


def _head(cell: pa.Array, size: int) -> dict[str, Any]:
    kind = cell.type
    storage = cell.storage if isinstance(cell, pa.ExtensionArray) else cell
    if pa.types.is_nested(kind):
        head = orjson.dumps(plain(cell)[0])[:HEAD_BYTES]
    else:
        value = storage[0]
        raw = value.as_buffer() if hasattr(value, "as_buffer") else pa.py_buffer(str(value.as_py()).encode())
        head = raw.slice(0, min(HEAD_BYTES, raw.size)).to_pybytes()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        text = plain(pa.array([head], pa.binary()))[0]
    else:
        text = head.decode("utf-8", "ignore")  # the cut may have split a character
    return {TRUNCATED: {"bytes": size, "head": text}}
