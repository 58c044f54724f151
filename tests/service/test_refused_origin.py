"""Rows that the target refuses in the commit say where they came from, as all dead letters do."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Desk = Any
TARGET = {"duckdb": "target.duckdb", "sqlite": "target.db"}
SHAPE = {"id": "m", "type": "map", "unmapped": "keep", "mappings": {"number": {"source": "id"}}}


@pytest.fixture(params=["duckdb", "sqlite", "postgresql"])
def strict(request: pytest.FixtureRequest, desk: Desk) -> Desk:
    """A target whose table takes no negative amount."""
    url = TARGET.get(request.param) or request.getfixturevalue("postgres_database")
    desk.connect(target=url)
    made = "CREATE TABLE c (number BIGINT, name VARCHAR(20), amount BIGINT CHECK (amount >= 0))"
    {"duckdb": desk.duckdb, "sqlite": desk.sqlite, "postgresql": desk.postgres}[request.param](url, made)
    desk.sqlite(
        "source.db",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, name TEXT, amount INTEGER)",
        "INSERT INTO c SELECT value, 'n' || value, CASE WHEN value IN (3, 5) THEN -1 ELSE value END FROM json_each('[1,2,3,4,5,6]')",
    )
    return desk


INTO = {"table": "c", "mode": "insert", "errorHandling": "continue"}


def test_by_the_key_of_the_source_under_its_own_name(strict: Desk) -> None:
    strict.etl({"table": "c"}, INTO, [SHAPE, {"id": "most", "type": "filter", "condition": "number <> 1"}], errorBudget={"max": "100%"})
    strict.ran()
    assert [letter["origin"] for letter in strict.letters()] == [{"source": "c", "key": {"id": 3}}, {"source": "c", "key": {"id": 5}}]
    assert [letter["record"]["number"] for letter in strict.letters()] == [3, 5]


def test_a_key_that_a_step_changed_is_not_the_sources(strict: Desk) -> None:
    changed = {**SHAPE, "mappings": {"number": {"expression": "id + 100"}}, "unmapped": "drop"}
    changed["mappings"] |= {"name": {"source": "name"}, "amount": {"source": "amount"}}
    strict.etl({"table": "c"}, INTO, [changed], errorBudget={"max": "100%"})
    strict.ran()
    assert [letter["origin"] for letter in strict.letters()] == [{"source": "c"}] * 2


def test_by_the_file_they_were_read_from(strict: Desk) -> None:
    (strict.folder / "in").mkdir()
    for name, amounts in (("a", [1, 2]), ("b", [-1, 4])):
        pq.write_table(pa.table({"number": [1, 2], "name": [name, name], "amount": amounts}), strict.folder / "in" / f"{name}.parquet")
    strict.define(
        {
            "name": "Desk",
            "errorBudget": {"max": "100%"},
            "pipeline": {
                "source": {"type": "file", "path": "in/*.parquet"},
                "destination": {"type": "database", "connection": "target", **INTO},
            },
        }
    )
    strict.ran()
    (letter,) = strict.letters()
    assert (letter["record"]["name"], letter["record"]["amount"]) == ("b", -1)
    # The two files were perhaps staged together: then it is one of them.
    assert letter["origin"] in ({"source": "in/b.parquet", "range": 1}, {"source": "in/*.parquet", "ranges": [0, 1]})
