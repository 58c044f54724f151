"""What DuckDB says of a row that it refuses, without the row's values."""

from __future__ import annotations

from unittest.mock import Mock

import duckdb
import pytest

from beam_pipelines.io.duckdb.session import DuckDbSession, translate

SECRET = "SSN 123-45"
QUOTED = SECRET + """ to "a" 'b'"""


@pytest.mark.parametrize(
    ("table", "value", "said"),
    [
        ("name TEXT CHECK (name::DATE IS NOT NULL)", SECRET, 'CHECK constraint failed on table "t" with expression CHECK'),
        ("name TEXT CHECK (strptime(name, '%Y') IS NOT NULL)", SECRET, "strptime"),
        ("name TEXT CHECK (json_extract(name, '$.a') IS NOT NULL)", SECRET, "json_extract"),
        ("name TEXT, y TIMESTAMP AS (strptime(name, '%Y'))", SECRET, "cannot be computed"),
        ("age INTEGER", SECRET, "Could not convert a value to INT32"),
        ("age INTEGER", QUOTED, "Could not convert a value to INT32"),
        ("price DECIMAL(4, 2)", "98765.4321", "DECIMAL(4,2)"),
        ("age TINYINT", 98765, "INT8"),
        ("kind ENUM ('good')", SECRET, "Could not convert a value to ENUM"),
        ("id TEXT NOT NULL", None, "NOT NULL constraint failed: t.id"),
    ],
)
def test_a_refusal_tells_the_rule_and_not_the_value(table: str, value: object, said: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({table})")
        with pytest.raises(duckdb.Error) as raised:
            connection.execute("INSERT INTO t VALUES (?)", [value])
    message = translate(raised.value).message
    assert said in message
    assert not any(part in message for part in ("SSN", "123-45", "98765"))


@pytest.mark.parametrize(("said", "raised"), [("Query interrupted", KeyboardInterrupt), ("something else", RuntimeError)])
def test_a_signal_to_stop_is_one_though_duckdb_takes_it(said: str, raised: type[BaseException]) -> None:
    connection = Mock(execute=Mock(side_effect=RuntimeError(said)))  # which is all that DuckDB leaves of the signal
    with pytest.raises(raised):
        DuckDbSession(connection).execute("SELECT 1")


def test_a_key_that_comes_twice_and_an_index_that_cannot_be_computed_show_no_value() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (id TEXT PRIMARY KEY)")
        connection.execute("CREATE TABLE u (name TEXT)")
        connection.execute("CREATE UNIQUE INDEX i ON u (strptime(name, '%Y'))")
        for statement, said in (("INSERT INTO t SELECT ? FROM range(2)", "violation: a key"), ("INSERT INTO u VALUES (?)", "")):
            with pytest.raises(duckdb.Error) as raised:
                connection.execute(statement, [SECRET])
            message = translate(raised.value).message
            assert said in message
            assert "SSN" not in message
