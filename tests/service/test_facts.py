"""What a run tells of each step: rows in and out, what it lost, its bytes and its time."""

from __future__ import annotations

from typing import Any

Desk = Any

ROWS = (
    "CREATE TABLE people (id INTEGER PRIMARY KEY, land TEXT)",
    *(f"INSERT INTO people VALUES ({n}, '{'aa' if n % 2 == 0 else 'b'}')" for n in range(1, 11)),
)
STEPS: list[dict[str, Any]] = [
    {"id": "some", "type": "filter", "condition": "id > 4"},
    {"id": "shape", "type": "map", "mappings": {"id": {"source": "id"}, "land": {"expression": "land || '!'"}}},
    {"id": "there", "type": "join", "how": "semi", "on": ["id"], "source": {"type": "database", "connection": "source", "table": "people"}},
    {"id": "odd", "type": "function", "output": {"id": "bigint", "land": "text"}},
    {"id": "totals", "type": "aggregate", "groupBy": ["land"], "aggregations": {"*": "count"}},
]
FUNCTIONS = """
def odd(row: dict) -> dict:
    if row["id"] == 6:
        raise ValueError("no")
    return row
"""
SIZE = 6 * 8 + 3 * 2 + 3 * 3  # ids 5 to 10, and three times each `b!` and `aa!`


def test_each_step_tells_rows_bytes_and_time(desk: Desk) -> None:
    desk.sqlite("source.db", *ROWS)
    desk.functions(FUNCTIONS)
    desk.etl({"table": "people"}, {"table": "out", "mode": "insert"}, STEPS, errorBudget={"max": 5})
    record = desk.ran()
    (steps,) = [phase["transformations"] for phase in record["steps"] if phase["phase"] == "transform"]
    counts = ("recordsIn", "recordsOut", "recordsFiltered", "recordsDeadLettered", "recordsAbsorbed", "bytesOut")
    assert {one["id"]: tuple(one[key] for key in counts) for one in steps} == {
        # The filter runs as one with the map, whose bytes they share.
        "some": (10, 6, 4, 0, 0, SIZE),
        "shape": (6, 6, 0, 0, 0, SIZE),
        "there": (6, 6, 0, 0, 0, SIZE),
        "odd": (6, 5, 0, 1, 0, SIZE - 8 - 3),
        "totals": (5, 2, 0, 0, 3, 2 * 8 + 2 + 3),
    }
    assert all(isinstance(one["duration"], int) for one in steps)
