"""A row that the target refuses under `errorHandling: stop`: the failure names column or constraint, and the first such row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.io.postgres.target import PostgresSession
from beam_pipelines.io.sql import blame
from beam_pipelines.runs.window import Range

ROWS = pa.schema([("id", pa.int64()), ("name", pa.string()), ("age", pa.int64())])
SECRET = "s3cr3t-value"
MODES = ("insert", "upsert", "replace", "whole")

# Each case: columns of the table, what SQLite and DuckDB need to refuse the same, rows it takes, rows it refuses, the column to be named.
CASES: dict[str, tuple[str, dict[str, str], list[Any], list[Any], str]] = {
    "not null": (
        "id BIGINT, name VARCHAR(40) NOT NULL, age BIGINT",
        {},
        [(1, "a", 1), (9, "i", None)],
        [(5, None, 5), (7, None, 7)],
        "name",
    ),
    "check": (
        "id BIGINT, name VARCHAR(40), age BIGINT, CHECK (age < 150)",
        {},
        [(1, "a", 149), (9, "i", None)],
        [(5, SECRET, 151), (7, "g", 9999)],
        "age",
    ),
    "unique": (
        "id BIGINT, name VARCHAR(40) UNIQUE, age BIGINT",
        {},
        [(1, SECRET, 1), (2, None, 2), (9, None, 9)],
        [(5, SECRET, 5), (7, SECRET, 7)],
        "name",
    ),
    "text too long": (
        "id BIGINT, name VARCHAR(3), age BIGINT",
        {"sqlite": ", CHECK (length(name) <= 3)", "duckdb": ", CHECK (length(name) <= 3)"},
        [(1, "abc", 1), (9, None, 9)],
        [(5, SECRET, 5), (7, "abcd", 7)],
        "name",
    ),
    "number out of range": (
        "id BIGINT, name VARCHAR(40), age SMALLINT",
        {"sqlite": ", CHECK (abs(age) <= 32767)"},
        [(1, "a", 32767), (9, "i", -32768)],
        [(5, "e", 32768), (7, "g", -40000)],
        "age",
    ),
}


def begin(loading: Any, mode: str, schema: pa.Schema = ROWS, **how: Any) -> Any:
    """A run whose source tells rows apart by `number`, which arrives as `id`."""
    keys = ("id",) if mode in ("upsert", "replace") else ()
    run = loading.begin(schema, load="people", mode="replace" if mode == "whole" else mode, whole=mode == "whole", keys=keys, **how)
    run.window = replace(run.window, origin_key=(("number", "id"),))
    return run


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_the_column_and_the_first_row_are_named(place: Any, loading: Any, case: str, mode: str) -> None:
    columns, extra, good, bad, named = CASES[case]
    if case == "number out of range" and place.system == "sqlite":
        good = [(1, "a", 32767), (9, "i", -32767)]
    place.sql(f"CREATE TABLE people ({columns}{extra.get(place.system, '')})", "INSERT INTO people VALUES (1, 'old', 0)")
    rows = sorted([*good, *bad])
    run = begin(loading, mode)
    counts = run.stage(rows[:2]).stage(rows[2:], order=1).commit()
    reason, _, rest = counts.message.partition('(row {"source": "source", "key": {"number": 5}})')
    assert counts.code == "target-refused"
    assert reason.startswith("'people' refuses a row: ")
    assert named in reason
    assert "errorHandling: continue" in rest
    assert rest.endswith("nothing is loaded")
    for value in (SECRET, "151", "32768", "abcd"):
        assert value not in counts.message
    # The search leaves nothing behind, and nothing in the way.
    assert place.rows("people", "id, name, age", "1") == [(1, "old", 0)]
    assert loading.target.standing("shop", "people").generation == 0
    assert run.commit() == counts
    assert [name for name in place.names() if name.startswith("_bp_") and name not in ("_bp_loads", "_bp_heads")] == []
    assert begin(loading, "whole").stage(good).commit().code == ""
    assert place.rows("people", "id, name, age", "1") == good


@pytest.mark.parametrize("swap", [False, True])
def test_what_stands_in_a_table_that_is_replaced_is_no_obstacle_to_the_search(place: Any, loading: Any, swap: bool) -> None:
    if swap and not loading.target.traits.swaps:
        return
    place.sql("CREATE TABLE people (id BIGINT, name VARCHAR(40) UNIQUE, age BIGINT)", "INSERT INTO people VALUES (1, 'a', 0)")
    counts = begin(loading, "whole", swap=swap).stage([(1, "a", 1), (2, "b", 2), (3, "b", 3)]).commit()
    assert '{"source": "source", "key": {"number": 3}}' in counts.message
    assert place.rows("people", "id, name, age", "1") == [(1, "a", 0)]


def test_a_row_that_only_the_whole_source_knows_is_told_by_its_source(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE people (id BIGINT, name VARCHAR(40) NOT NULL, age BIGINT)")
    counts = loading.load([(1, "a", 1), (2, None, 2)], ROWS, load="people")
    assert '(row {"source": "source"})' in counts.message


def test_a_row_without_a_key_is_told_by_the_range_it_was_read_in(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE people (id BIGINT, name VARCHAR(40) NOT NULL, age BIGINT)")
    run = loading.begin(ROWS, load="people")
    run.window = replace(run.window, ranges=tuple(Range("people", "source", index) for index in range(3)))
    run.stage([(1, "a", 1), (2, "b", 2)]).stage([(3, None, 3)], order=1).stage([(4, "d", 4)], order=2)
    assert '(row {"source": "source", "range": 1})' in run.commit().message


def test_a_key_that_does_not_cast_is_named(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE people (id BIGINT, name VARCHAR(40), age BIGINT)" if place.system != "sqlite" else
              "CREATE TABLE people (id BIGINT CHECK (typeof(id) = 'integer'), name VARCHAR(40), age BIGINT)")  # fmt: skip
    schema = pa.schema([("id", pa.string()), ("name", pa.string()), ("age", pa.int64())])
    counts = begin(loading, "upsert", schema).stage([("1", "a", 1), ("x5", "b", 2), ("9", "c", 3), ("x7", "d", 4)]).commit()
    reason, _, rest = counts.message.partition('{"source": "source", "key": {"number": "x5"}}')
    assert counts.code == "target-refused"
    assert "id" in reason.replace("'people' refuses", "")
    assert rest


@pytest.mark.only("sqlite", "postgresql", "portable-sqlite", "portable-postgresql")
def test_a_constraint_that_is_checked_at_the_end_names_its_row_too(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE names (name VARCHAR(40) PRIMARY KEY)", "INSERT INTO names VALUES ('a')")
    place.sql(
        "CREATE TABLE people (id BIGINT, name VARCHAR(40) REFERENCES names (name) DEFERRABLE INITIALLY DEFERRED, age BIGINT)",
    )
    counts = begin(loading, "insert").stage([(1, "a", 1), (2, SECRET, 2)]).commit()
    assert '(row {"source": "source", "key": {"number": 2}})' in counts.message
    assert SECRET not in counts.message


def test_a_search_that_takes_too_long_is_given_up(place: Any, loading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame, "SECONDS", -1.0)
    place.sql("CREATE TABLE people (id BIGINT, name VARCHAR(40) NOT NULL, age BIGINT)")
    run = begin(loading, "insert").stage([(1, "a", 1), (2, None, 2)])
    counts = run.commit()
    assert (counts.code, place.rows("people", "id, name, age", "1")) == ("target-refused", [])
    assert "which row is not known: the search was given up" in counts.message
    assert "name" in counts.message
    assert run.commit() == counts


def test_a_search_that_fails_leaves_the_verdict(place: Any, loading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(loading.target, "fetch", broken)
    place.sql("CREATE TABLE people (id BIGINT, name VARCHAR(40) NOT NULL, age BIGINT)")
    counts = begin(loading, "insert").stage([(1, "a", 1), (2, None, 2)]).commit()
    assert counts.code == "target-refused"
    assert "which row is not known: looking for it failed: RuntimeError" in counts.message
    assert SECRET not in counts.message


@pytest.mark.only("duckdb")
def test_what_no_constraint_tells_is_not_found_where_nothing_can_be_undone_in_part(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE people (id BIGINT, name VARCHAR(40), age BIGINT, born DATE AS (CAST(name AS DATE)))")
    counts = begin(loading, "insert").stage([(1, "2001-01-01", 1), (2, SECRET, 2)]).commit()
    assert counts.code == "target-refused"
    assert "which row is not known: no constraint tells" in counts.message
    assert SECRET not in counts.message


@pytest.mark.only("postgresql", "portable-postgresql")
def test_dead_letters_name_the_column_that_has_no_room(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE people (id BIGINT, name VARCHAR(3), age SMALLINT)")
    run = begin(loading, "insert", stop=False).stage([(1, "a", 1), (2, "abcd", 2), (3, "c", 40000)])
    (letters,) = run.commit().merged.letters
    found = [row["message"] for batch in loading.target.read_staged(letters.staged) for row in batch.to_pylist()]
    assert [message.split(" [")[0].lower() for message in found] == [
        f"column 'name' cannot hold this value as {'varchar(3)' if place.portable else 'character varying(3)'}",
        "column 'age' cannot hold this value as smallint",
    ]


@pytest.mark.only("sqlite", "postgresql", "portable-sqlite", "portable-postgresql")
def test_a_reason_that_cannot_be_looked_for_does_not_cost_the_run(place: Any, loading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tx: Any, *_: Any) -> str:
        tx.execute("SELECT no_such_column FROM people")  # PostgreSQL takes no further statement in this transaction
        raise AssertionError

    monkeypatch.setattr(loading.target, "reason", broken)
    place.sql("CREATE TABLE people (id BIGINT, name VARCHAR(40), age BIGINT)")
    place.sql("CREATE UNIQUE INDEX lone ON people (lower(name))")
    counts = begin(loading, "insert", stop=False).stage([(1, "a", 1), (2, "A", 2), (3, "c", 3)]).commit()
    assert (counts.code, counts.merged.inserted, counts.merged.dead) == ("", 2, 1)
    assert place.rows("people", "id, name, age", "1") == [(1, "a", 1), (3, "c", 3)]
    (letters,) = counts.merged.letters
    found = [row["message"] for batch in loading.target.read_staged(letters.staged) for row in batch.to_pylist()]
    assert found != [""]
    assert "no_such_column" not in found[0]


@pytest.mark.only("portable-postgresql")
def test_a_text_that_is_no_finite_number_is_a_refused_row_like_any_other(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE sums (id BIGINT, amount DECIMAL(10, 2), name VARCHAR(3))")
    schema = pa.schema([("id", pa.int64()), ("amount", pa.string()), ("name", pa.string())])
    rows = [(1, "1.50", "a"), (2, "nan", "abcd"), (3, "2.50", "c")]
    counts = loading.load(rows, schema, load="sums", stop=False)
    assert (counts.code, counts.merged.inserted, counts.merged.dead) == ("", 2, 1)
    (letters,) = counts.merged.letters
    (letter,) = [row for batch in loading.target.read_staged(letters.staged) for row in batch.to_pylist()]
    assert letter["message"] == "column 'name' cannot hold this value as VARCHAR(3)"  # NaN is a number of PostgreSQL


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("stop", [True, False])
def test_what_a_domain_forbids_is_not_blamed_for_a_value_that_does_not_fit(place: Any, loading: Any, stop: bool) -> None:
    place.sql("CREATE DOMAIN required AS BIGINT NOT NULL", "CREATE DOMAIN known AS VARCHAR(40) CHECK (VALUE IS NOT NULL)")
    place.sql("CREATE DOMAIN code AS known", "CREATE DOMAIN few AS required[]")
    place.sql("CREATE TABLE people (few few, id BIGINT, name VARCHAR(3), age required, town known, land code, more TEXT)")
    schema = pa.schema([*ROWS, *((name, pa.string()) for name in ("town", "land", "more", "few"))])
    rows = [(1, "a", 1, "t", "l", "m", "{1}"), (5, "abcd", 2, "t", "l", "m", "{2}")]
    counts = begin(loading, "insert", schema, stop=stop).stage(rows).commit()
    if stop:
        assert "column 'name' cannot hold this value as character varying(3) [SQLSTATE 22001]" in counts.message
        return
    (letters,) = counts.merged.letters
    found = [row["message"] for batch in loading.target.read_staged(letters.staged) for row in batch.to_pylist()]
    assert found == ["column 'name' cannot hold this value as character varying(3) [SQLSTATE 22001]"]


@pytest.mark.only("postgresql")
def test_each_row_has_the_column_of_its_own(place: Any, loading: Any) -> None:
    place.sql("CREATE DOMAIN short AS VARCHAR(3)", "CREATE TABLE people (id SMALLINT, name short NOT NULL, age SMALLINT)")
    rows = [(1, "a", 40000), (2, "b", 40001), (3, "abcd", 1), (4, "abcd", 40000), (40000, "d", 1), (6, "f", 6)]
    counts = begin(loading, "insert", stop=False).stage(rows).commit()
    (letters,) = counts.merged.letters
    found = [row["message"].split("'")[1] for batch in loading.target.read_staged(letters.staged) for row in batch.to_pylist()]
    assert (found[:3], found[3] in ("name", "age"), found[4:]) == (["age", "age", "name"], True, ["id"])
    assert counts.merged.inserted == 1


@pytest.mark.only("postgresql")
def test_rows_refused_by_the_same_column_are_tried_once_each(place: Any, loading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [f"c{number}" for number in range(16)]
    place.sql(f"CREATE TABLE people (id BIGINT, {', '.join(f'{column} VARCHAR(3)' for column in columns)}, age SMALLINT)")
    schema = pa.schema([ROWS.field("id"), *((column, pa.string()) for column in columns), ROWS.field("age")])
    statements: list[list[str]] = []
    reason, execute = loading.target.reason, PostgresSession.execute
    reasoning = False

    def counted(*given: Any) -> str:
        nonlocal reasoning
        statements.append([])
        reasoning = True
        try:
            return str(reason(*given))
        finally:
            reasoning = False

    def noted(session: Any, sql: str, parameters: Any = ()) -> Any:
        if reasoning:
            statements[-1].append(sql)
        return execute(session, sql, parameters)

    monkeypatch.setattr(loading.target, "reason", counted)
    monkeypatch.setattr(PostgresSession, "execute", noted)
    rows = [(number, *["x"] * 16, 40000) for number in range(6)]
    counts = loading.load(rows, schema, load="people", stop=False)
    assert counts.merged.dead == 6
    assert "pg_attribute" in " ".join(statements[0])
    assert [[sql.split()[0] for sql in row] for row in statements[1:]] == [["SAVEPOINT", "INSERT", "ROLLBACK", "RELEASE"]] * 5


@pytest.mark.only("postgresql", "portable-postgresql")
def test_what_cannot_be_set_aside_says_what_to_do(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE people (id BIGINT, name VARCHAR(40), age BIGINT, EXCLUDE (name WITH =) DEFERRABLE INITIALLY DEFERRED)")
    counts = begin(loading, "insert", stop=False).stage([(1, SECRET, 1), (2, SECRET, 2)]).commit()
    assert (counts.code, counts.merged.dead, place.rows("people", "id, name, age", "1")) == ("target-refused", 0, [])
    assert "(which row is not known: nothing told it when the rows went in)" in counts.message
    assert counts.message.endswith("; mend it in the source, or what the target forbids; nothing is loaded")
    assert SECRET not in counts.message


@pytest.mark.only("sqlite")
def test_a_key_of_any_length_does_not_fill_the_message(place: Any, loading: Any) -> None:
    place.sql("CREATE TABLE people (id BIGINT, name VARCHAR(40), age BIGINT NOT NULL)")
    run = begin(loading, "insert")
    run.window = replace(run.window, origin_key=(("name", "name"),))
    message = run.stage([(1, "x" * 100_000, None)]).commit().message
    assert len(message) < 1_000
    assert f'(row {{"source": "source", "key": {{"name": "{"x" * 100}' in message
