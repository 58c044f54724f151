"""Joins by time in real runs, near and far: 60 sales of three goods, each with the price that held when it was made."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.engine import join as module

Desk = Any
OUT = {"table": "out", "mode": "upsert"}
# Sales at minute 0, 10, ... of a day; prices of good 0 from minute 100 and 300, of good 1 from minute 5, twice, of good 2 never.
PRICES = [(1, 0, 100, 7), (2, 0, 300, 8), (3, 1, 5, 1), (4, 1, 5, 2), (5, None, 0, 9)]
MINUTE = "strftime('%Y-%m-%d %H:%M:%S', '2024-05-01', '+' || ({}) || ' minutes')"


@pytest.fixture
def sales(desk: Desk) -> Desk:
    desk.sqlite("source.db", "CREATE TABLE sales (id INTEGER PRIMARY KEY, good INTEGER, sold_at TIMESTAMP)")
    rows = ", ".join(f"({i}, {i % 3}, {MINUTE.format(i * 10)})" for i in range(60))
    desk.sqlite("source.db", f"INSERT INTO sales VALUES {rows}")
    desk.sqlite("source.db", "CREATE TABLE prices (number INTEGER PRIMARY KEY, good INTEGER, valid_from TIMESTAMP, price INTEGER)")
    for number, good, minute, price in PRICES:
        good = "NULL" if good is None else good
        desk.sqlite("source.db", f"INSERT INTO prices VALUES ({number}, {good}, {MINUTE.format(minute)}, {price})")
    return desk


def step(**more: Any) -> dict[str, Any]:
    source = {"type": "database", "connection": "source", "table": "prices"}
    by = {"left": "sold_at", "right": "valid_from", **more.pop("by", {})}
    return {"id": "price", "type": "join", "how": "left", "on": ["good"], "asOf": by, "source": source, **more}


def price(i: int, hours: int = 1000) -> int | None:
    """Of sale `i`, with a price no older than so many hours."""
    held = [
        (minute, number, price)
        for number, good, minute, price in PRICES
        if good == i % 3 and minute <= i * 10 and i * 10 - minute <= hours * 60
    ]
    return max(held)[2] if held else None


@pytest.mark.parametrize(("how", "near"), [("left", module.NEAR), ("inner", -1)])
def test_each_row_meets_the_one_that_counts_at_its_time(sales: Desk, monkeypatch: pytest.MonkeyPatch, how: str, near: int) -> None:
    monkeypatch.setattr(module, "NEAR", near)
    # The key of the source names the rows still: each comes out at most once.
    sales.etl({"table": "sales"}, OUT, [step(how=how, by={"tolerance": "3h"})])
    record = sales.ran()
    wanted = [(i, i % 3, price(i, 3)) for i in range(60)]
    wanted = [row for row in wanted if how == "left" or row[2] is not None]
    assert sales.duckdb("target.duckdb", "SELECT id, good, price FROM out ORDER BY id") == wanted
    (phase,) = [phase for phase in record["steps"] if phase["phase"] == "transform"]
    (told,) = phase["transformations"]
    names = ("recordsIn", "recordsOut", "recordsRight", "recordsMade", "recordsFiltered")
    assert tuple(told[name] for name in names) == (60, len(wanted), 5, 0, 60 - len(wanted))


@pytest.mark.long
def test_two_workers_give_the_same(sales: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEAR", -1)
    sales.etl({"table": "sales"}, OUT, [step()])
    sales.ran(options=("--direct_running_mode=multi_processing", "--direct_num_workers=2"))
    assert sales.duckdb("target.duckdb", "SELECT id, price FROM out ORDER BY id") == [(i, price(i)) for i in range(60)]


def test_by_time_alone_all_workers_hold_the_right_side_or_the_run_says_what_to_do(sales: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = step(suffix="_of_price", by={"direction": "forward"})
    del alone["on"]
    sales.etl({"table": "sales"}, OUT, [alone])
    sales.ran()
    wanted = [(i, min(((m, -n, p) for n, _, m, p in PRICES if m >= i * 10), default=(0, 0, None))[2]) for i in range(60)]
    assert sales.duckdb("target.duckdb", "SELECT id, price FROM out ORDER BY id") == wanted
    monkeypatch.setattr(module, "NEAR", 10)
    assert sales.run().execution.error_code == "key-missing"
