"""What steps put aside, staged by every target: rows of any type come back as they were, and nobody sweeps them before they are taken."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.engine import aside as module
from beam_pipelines.engine.aside import AsideBox, blocks
from beam_pipelines.errors import FatalError
from beam_pipelines.runs.facts import Aside, StepFact

ROWS = pa.RecordBatch.from_pydict(
    {
        "n": pa.array([1, None, -3, 2**40], pa.int64()),
        "text": ["a\0b", "", None, "Zoë"],
        "raw": [b"\0\xff", None, b"", b"x"],
        "price": pa.array([Decimal("1.50"), None, Decimal("-0.01"), Decimal(7)], pa.decimal128(30, 2)),
        "at": pa.array([dt.datetime(1, 1, 1), None, dt.datetime(9999, 12, 31), dt.datetime(2000, 1, 1)], pa.timestamp("us")),
        "tags": pa.array([["a", None], [], None, ["b"]], pa.list_(pa.string())),
        "more": pa.array([{"x": 1.5}, None, {"x": float("nan")}, {"x": None}], pa.struct([("x", pa.float64())])),
        "kind": pa.array(["u", "v", "u", None]).dictionary_encode(),
    }
)


def put(loading: Any, attempt: Any, *rows: pa.RecordBatch) -> Aside:
    box = AsideBox(loading.target, attempt.window.service, attempt.window.run, attempt.window.load, "check", "rejected")
    for batch in rows:
        box.add(batch)
    return box.finish()


def taken(loading: Any, aside: Aside) -> list[pa.RecordBatch]:
    return [block for packed in loading.target.read_staged(aside.staged) for block in blocks(packed)]


@pytest.mark.files_too
def test_rows_of_any_type_come_back_as_they_were(place: Any, loading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = loading.begin()
    aside = put(loading, attempt, ROWS.slice(0, 3), ROWS.slice(3))
    assert (aside.rows, aside.staged.rows) == (4, 1)  # small ones make one block
    (found,) = taken(loading, aside)
    assert found.schema.equals(ROWS.schema)
    assert repr(found.to_pylist()) == repr(ROWS.to_pylist())
    monkeypatch.setattr(module, "_ROWS", 3)
    for target in ("postgres.target", "sql.portable_target"):
        monkeypatch.setattr(f"beam_pipelines.io.{target}.MAX_BYTES", 1)  # each block is read by itself
    many = put(loading, attempt, *[ROWS.select(["n"])] * 5)
    assert (many.rows, many.staged.rows) == (20, 10)
    assert [row for block in taken(loading, many) for row in block.column("n").to_pylist()] == ROWS.column("n").to_pylist() * 5


@pytest.mark.files_too
def test_what_is_put_aside_stays_until_it_is_taken(loading: Any) -> None:
    attempt = loading.begin(store="there").stage([(1, "Ada", 1)])
    kept = put(loading, attempt, ROWS)
    put(loading, attempt, ROWS)  # of an attempt that does not count
    step = StepFact("customers", "check", records_in=1, records_out=1, asides=(replace(kept, output="violations"),))
    counts = loading.target.commit(attempt.window, attempt.policy, attempt.schema, replace(attempt.tally, steps=(step,)))
    assert (counts.kept, loading.target.staging("shop")) == ((kept.staged.name,), [kept.staged.name])
    loading.begin(store="here")  # another store's are not ours to sweep
    (row,) = loading.target.rows("shop", attempt.window.run)
    assert row.counts.tally.steps[0].asides == step.asides
    assert sum(block.num_rows for block in taken(loading, kept)) == 4
    loading.begin(store="there")
    assert loading.target.staging("shop") == []


@pytest.mark.files_too
def test_what_a_commit_of_a_stream_keeps_is_listed_with_whom_it_is_for_and_read_block_by_block(loading: Any) -> None:
    target = loading.target
    assert target.left("shop", "customers") == []
    windows = [replace(loading.begin().window, generation=generation) for generation in (9, 10)]
    with target.transaction() as tx:
        target.ledger.create_kept(tx)
    with target.transaction() as tx:
        for window in reversed(windows):
            for part in (1, 0):
                target.ledger.keep(tx, window, "pending", part, f"{part} of {window.run}")
            target.ledger.keep(tx, window, "pending 0b", 0, "sinks[2] 'b'")
        target.ledger.keep(tx, replace(windows[0], load="other"), "pending", 0, "x")
    first, second = (window.run for window in windows)
    there = [(run, kind, parts) for run in (first, second) for kind, parts in (("pending", 2), ("pending 0b", 1))]
    assert [(one.run, one.kind, one.parts) for one in target.left("shop", "customers")] == there
    assert [one.content for one in target.kept("shop", "customers", "pending 0b")] == ["sinks[2] 'b'"] * 2
    assert [target.kept_block("shop", "customers", "pending", second, part) for part in (0, 1)] == [f"0 of {second}", f"1 of {second}"]
    target.forget_kept("shop", "customers", "pending", first)
    with pytest.raises(FatalError, match=f"block 0 of the pending rows of commit {first}"):
        target.kept_block("shop", "customers", "pending", first, 0)
    assert [(one.run, one.kind, one.parts) for one in target.left("shop", "customers")] == there[1:]
