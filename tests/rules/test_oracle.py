"""Counts of a larger table, held against those that SQL gives."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.rules import check
from tests.rules.tables import found, of

ROWS = 50_000


@pytest.fixture(scope="module")
def table() -> pa.Table:
    random = np.random.default_rng(5)

    def some(values: Any, share: float) -> pa.Array:
        return pa.array(values, mask=random.random(ROWS) < share)

    names = np.array([f"user{at}@example.org" for at in random.integers(0, 45_000, ROWS)], dtype=object)
    names[random.random(ROWS) < 0.02] = "broken"
    names[random.random(ROWS) < 0.01] = ""
    return pa.table(
        {
            "row": pa.array(np.arange(ROWS)),
            "email": some(names, 0.01),
            "age": some(random.integers(-5, 160, ROWS), 0.02),
            "score": some(np.round(random.normal(50, 20, ROWS), 1), 0.02),
            "customer": some(random.integers(0, 11_000, ROWS), 0.03),
            "region": some(random.choice(["north", "south", "east", "west", "?"], ROWS), 0.0),
        }
    )


RULES: list[dict[str, Any]] = [
    {"id": "present", "type": "required-fields", "fields": ["email", "customer"]},
    {"id": "mail", "type": "regex", "field": "email", "pattern": "^[^@]+@[^@]+$"},
    {"id": "age", "type": "numeric-range", "field": "age", "min": 0, "max": 150},
    {"id": "score", "type": "numeric-range", "field": "score", "min": 0.5, "max": 99.5},
    {"id": "first", "type": "unique", "field": "email"},
    {"id": "last", "type": "unique", "fields": ["customer", "region"], "keep": "last"},
    {"id": "none", "type": "unique", "field": "customer", "keep": "none"},
    {"id": "customer", "type": "foreign-key", "field": "customer", "reference": {"table": "customers", "field": "id"}},
    {"id": "region", "type": "in-set", "field": "region", "values": ["north", "south", "east", "west"]},
]
SQL = {
    "present": "coalesce(email, '') = '' OR customer IS NULL",
    "mail": "email <> '' AND NOT regexp_matches(email, '^[^@]+@[^@]+$')",
    "age": "age NOT BETWEEN 0 AND 150",
    "score": "score NOT BETWEEN 0.5 AND 99.5",
    "first": "email IS NOT NULL AND row_number() OVER (PARTITION BY email ORDER BY row) > 1",
    "last": "customer IS NOT NULL AND region IS NOT NULL AND row_number() OVER (PARTITION BY customer, region ORDER BY row DESC) > 1",
    "none": "customer IS NOT NULL AND count(*) OVER (PARTITION BY customer) > 1",
    "customer": "customer IS NOT NULL AND customer NOT IN (SELECT id FROM customers)",
    "region": "region NOT IN ('north', 'south', 'east', 'west')",
}


def test_the_rows_are_those_that_sql_finds(table: pa.Table) -> None:
    customers = pa.table({"id": pa.array(np.arange(10_000))})
    batches = pa.Table.from_batches(table.to_batches(max_chunksize=7_001))
    result = check(batches, RULES, references={"customers": customers})
    with duckdb.connect() as database:
        database.register("rows", table)
        database.register("customers", customers)
        bad: set[int] = set()
        for rule, condition in SQL.items():
            clause = "QUALIFY" if "OVER" in condition else "WHERE"
            rows = [row for (row,) in database.execute(f"SELECT row FROM rows {clause} {condition} ORDER BY row").fetchall()]
            assert rows, rule
            assert sorted(set(found(result, rule))) == rows, rule
            assert of(result, rule)["violated"] == len(rows)
            bad.update(rows)
        keys, members = database.execute(
            "SELECT count(*), sum(n) FROM (SELECT count(*) AS n FROM rows WHERE email IS NOT NULL GROUP BY email HAVING n > 1)"
        ).fetchall()[0]
    assert of(result, "first")["duplicates"] == {"laterRows": int(members) - keys, "keys": keys, "members": int(members)}
    assert (result.failed, result.passed) == (len(bad), ROWS - len(bad))
    assert set(result.rejected.column("row").to_pylist()) == bad
    assert result.valid.num_rows == ROWS - len(bad)
