"""What steps put aside, staged by every target: rows of any type come back as they were, and nobody sweeps them before they are taken."""

from __future__ import annotations

import datetime as dt
import random
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import packed
from beam_pipelines.engine import aside as module
from beam_pipelines.engine.aside import AsideBox, blocks
from beam_pipelines.errors import DataError, FatalError
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
    return list(blocks(loading.target.read_staged(aside.staged)))


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
            target.ledger.keep(tx, window, "pending", 1, [f"1 of {window.run}"])
            target.ledger.keep(tx, window, "pending", 0, [f"0 of {window.run}"])
            target.ledger.keep(tx, window, "pending 0b", 0, ["sinks[2] 'b'"])
        target.ledger.keep(tx, replace(windows[0], load="other"), "pending", 0, ["x"])
    first, second = (window.run for window in windows)
    there = [(run, kind, parts) for run in (first, second) for kind, parts in (("pending", 2), ("pending 0b", 1))]
    assert [(one.run, one.kind, one.parts) for one in target.left("shop", "customers")] == there
    assert [one.content for one in target.kept("shop", "customers", "pending 0b")] == ["sinks[2] 'b'"] * 2
    assert [target.kept_block("shop", "customers", "pending", second, part) for part in (0, 1)] == [f"0 of {second}", f"1 of {second}"]
    known = {(first, 0), (first, 1), (second, 1), ("gone", 0)}
    found = [(one.run, one.part, one.content) for one in target.kept("shop", "customers", "pending", known)]
    assert found == [(first, 0, ""), (first, 1, ""), (second, 0, f"0 of {second}"), (second, 1, "")]
    target.forget_kept("shop", "customers", "pending", first)
    with pytest.raises(FatalError, match=f"block 0 of the pending rows of commit {first}"):
        target.kept_block("shop", "customers", "pending", first, 0)
    assert [(one.run, one.kind, one.parts) for one in target.left("shop", "customers")] == there[1:]


# What is staged is read beside the transaction that commits it: of portable databases, in those that let others read meanwhile.
STREAMS = ("duckdb", "sqlite", "postgresql", "portable-postgresql", "parquet")


def opened(loading: Any, put: Any, *, message: str = "") -> Any:
    """A run of a stream whose windows step has put something aside for the commits to come."""
    attempt = loading.begin()
    attempt = replace(attempt, window=replace(attempt.window, live=True))
    with loading.target.transaction() as tx:
        loading.target.ledger.create_kept(tx)
    box = AsideBox(loading.target, "shop", attempt.window.run, "customers", "sum", "open")
    put(box)
    step = StepFact("customers", "sum", asides=(box.finish(),))
    counts = loading.target.commit(attempt.window, attempt.policy, attempt.schema, replace(attempt.tally, steps=(step,)))
    assert re.search(message, counts.message) if message else not counts.message
    return attempt.window


def states_of(loading: Any) -> list[int]:
    texts = [one.content for one in loading.target.kept("shop", "customers", "open")]
    return sorted(n for block in packed.unpack(texts) for n in block.column("n").to_pylist())


def numbers(*values: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": list(values)})


@pytest.mark.only(*STREAMS)
def test_states_that_are_as_they_were_stay_and_the_others_are_replaced(loading: Any) -> None:
    first = opened(loading, lambda box: [box.block(numbers(value)) for value in (1, 2, 3)])
    second = opened(loading, lambda box: (box.stays(first.run, 0), box.block(numbers(20)), box.stays(first.run, 2)))
    assert states_of(loading) == [1, 3, 20]
    opened(loading, lambda box: (box.stays(second.run, 0), box.stays(first.run, 2)))
    assert states_of(loading) == [3, 20]
    assert {(one.run, one.part) for one in loading.target.kept("shop", "customers", "open")} == {(first.run, 2), (second.run, 0)}
    refused = "expected 2 blocks .* found 1: the target was restored or changed by hand"
    opened(loading, lambda box: (box.stays(second.run, 0), box.stays(first.run, 1)), message=refused)
    assert states_of(loading) == [3, 20]  # nothing of that commit
    opened(loading, lambda box: box.block(numbers(5)))
    assert states_of(loading) == [5]


@pytest.mark.only(*STREAMS)
def test_a_state_of_any_size_is_kept_in_rows_that_a_statement_takes(loading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "PIECE", 2_000)
    large = [numbers(*random.Random(seed).sample(range(1 << 40), 2_000)) for seed in (1, 2)]
    first = opened(loading, lambda box: [box.block(block) for block in large])
    kept = loading.target.kept("shop", "customers", "open")
    assert len(kept) > 10
    assert max(len(one.content) for one in kept) < 2_020
    assert states_of(loading) == sorted(n for block in large for n in block.column("n").to_pylist())
    half = len(packed.pack(large[0]))
    opened(loading, lambda box: [box.stays(first.run, part) for part in range(half)])
    assert states_of(loading) == sorted(large[0].column("n").to_pylist())


@pytest.mark.only(*STREAMS[:-1])
def test_a_table_of_before_that_has_no_key_is_used_as_it_is_and_a_new_one_has_its_key(place: Any, loading: Any) -> None:
    ledger = loading.target.ledger
    with loading.target.transaction() as tx:
        tx.execute(re.sub(r", PRIMARY KEY \(.*\)\)$", ")", ledger.kept_statement()))
    first = opened(loading, lambda box: [box.block(numbers(1)), box.block(numbers(2))])
    opened(loading, lambda box: box.stays(first.run, 1))
    assert states_of(loading) == [2]
    place.sql("DROP TABLE _beam_pipelines_kept")
    third = opened(loading, lambda box: box.block(numbers(3)))
    with pytest.raises(DataError), loading.target.transaction() as tx:
        ledger.keep(tx, third, "open", 0, ["again"])
