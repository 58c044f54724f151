"""Rows that a target refuses in the commit: `stop` loads nothing, `continue` makes dead letters of exactly those rows."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.runs.balance import Budget

ROWS = pa.schema([("id", pa.int64()), ("name", pa.string()), ("age", pa.int64()), ("country", pa.string())])
COUNTRIES = ("CREATE TABLE countries (code VARCHAR(9) PRIMARY KEY)", "INSERT INTO countries VALUES ('CH'), ('DE')")
SECRET = "s3cr3t-value"

# Each case: constraint of the table, good rows, rows it refuses.
CASES: dict[str, tuple[str, list[Any], list[Any]]] = {
    "not null": (
        "id BIGINT, name VARCHAR(40) NOT NULL, age BIGINT, country VARCHAR(40)",
        [(1, "a", 1, "CH"), (3, "c", None, None)],
        [(2, None, 2, SECRET), (4, None, 4, "DE")],
    ),
    "check": (
        "id BIGINT, name VARCHAR(40), age BIGINT CHECK (age < 150), country VARCHAR(40)",
        [(1, "a", 149, "CH"), (3, "c", None, None)],
        [(2, SECRET, 150, "CH"), (4, "d", 9999, "DE")],
    ),
    "check of several": (
        "id BIGINT, name VARCHAR(40), age BIGINT, country VARCHAR(40), CHECK (age > id OR \"name\" = 'x?%')",
        [(1, "a", 2, "CH"), (9, "x?%", 0, None)],
        [(2, SECRET, 1, "CH")],
    ),
    "unique": (
        "id BIGINT, name VARCHAR(40) UNIQUE, age BIGINT, country VARCHAR(40)",
        [(1, "a", 1, "CH"), (3, None, 3, None), (5, None, 3, None)],
        [(2, "taken", 2, SECRET), (4, "a", 4, "DE")],
    ),
    "foreign key": (
        "id BIGINT, name VARCHAR(40), age BIGINT, country VARCHAR(40) REFERENCES countries (code)",
        [(1, "a", 1, "CH"), (3, "c", 3, None)],
        [(2, SECRET, 2, "XX"), (4, "d", 4, "YY")],
    ),
}


def make(place: Any, columns: str, key: str = "") -> None:
    place.sql(*COUNTRIES, f"CREATE TABLE people ({columns}{key})")
    place.sql("INSERT INTO people (id, name, age, country) VALUES (100, 'taken', 101, 'CH')")


def rows_of(place: Any) -> list[Any]:
    return place.rows("people", "id, name, age, country", "1")


def letters_of(loading: Any, counts: Any) -> list[dict[str, Any]]:
    return [row for letter in counts.merged.letters for batch in loading.target.read_staged(letter.staged) for row in batch.to_pylist()]


@pytest.mark.parametrize("mode", ["insert", "upsert"])
@pytest.mark.parametrize("case", CASES)
def test_stop_loads_nothing_and_says_why_without_values(place: Any, loading: Any, case: str, mode: str) -> None:
    columns, good, bad = CASES[case]
    make(place, columns)
    before = rows_of(place)
    run = loading.begin(ROWS, load="people", mode=mode, keys=("id",) if mode == "upsert" else ()).stage([*good, *bad])
    counts = run.commit()
    assert counts.code == "target-refused"
    assert "'people' refuses a row" in counts.message
    assert SECRET not in counts.message
    assert rows_of(place) == before
    assert loading.target.standing("shop", "people").generation == 0
    assert run.commit() == counts
    assert loading.target.staging("shop") == []
    # Nothing stands in the way of the next run.
    assert loading.load(good, ROWS, load="people", mode=mode, keys=("id",) if mode == "upsert" else ()).code == ""


@pytest.mark.parametrize("mode", ["insert", "upsert", "replace", "whole"])
@pytest.mark.parametrize("case", CASES)
def test_continue_makes_dead_letters_of_exactly_the_refused_rows(place: Any, loading: Any, case: str, mode: str) -> None:
    columns, good, bad = CASES[case]
    make(place, columns)
    whole = mode == "whole"
    if whole and case == "unique":
        bad, good = [row for row in bad if row[1] != "taken"], [*good, (2, "taken", 2, "CH")]  # what was there is gone
    keys = ("id",) if mode in ("upsert", "replace") else ()
    rows = sorted([*good, *bad])
    before = [] if whole else rows_of(place)
    run = loading.begin(
        ROWS, load="people", mode="replace" if whole else mode, whole=whole, keys=keys, stop=False, budget=Budget(rows=len(bad))
    )
    counts = run.stage(rows[:2]).stage(rows[2:], order=1).commit()

    assert rows_of(place) == sorted([*good, *before])
    assert (counts.code, counts.merged.inserted, counts.merged.dead) == ("", len(good), len(bad))
    assert counts.merged.codes == {"target-refused": len(bad)}
    letters = letters_of(loading, counts)
    assert [json.loads(letter["payload"]) for letter in letters] == [dict(zip(ROWS.names, row, strict=True)) for row in rows if row in bad]
    assert {(letter["load"], letter["step"], letter["code"]) for letter in letters} == {("people", "load", "target-refused")}
    assert not [letter for letter in letters if SECRET in letter["message"]]
    assert run.commit() == counts
    assert loading.target.staging("shop") == [counts.merged.letters[0].staged.name]


def test_upsert_refuses_what_the_update_would_break(place: Any, loading: Any) -> None:
    make(place, "id BIGINT, name VARCHAR(40) UNIQUE, age BIGINT CHECK (age < 150), country VARCHAR(40)", ", PRIMARY KEY (id)")
    place.sql("INSERT INTO people (id, name, age, country) VALUES (1, 'a', 1, 'CH'), (2, 'b', 2, 'CH'), (3, 'c', 3, 'CH')")
    rows = [(1, "a2", 1, "CH"), (2, "taken", 2, "CH"), (3, "c", 200, "CH"), (4, "d", 4, "CH"), (100, "taken", 102, "DE")]
    counts = loading.load(rows, ROWS, load="people", mode="upsert", keys=("id",), stop=False)
    assert rows_of(place) == [(1, "a2", 1, "CH"), (2, "b", 2, "CH"), (3, "c", 3, "CH"), (4, "d", 4, "CH"), (100, "taken", 102, "DE")]
    assert (counts.merged.inserted, counts.merged.updated, counts.merged.dead) == (1, 2, 2)
    assert [json.loads(letter["payload"])["id"] for letter in letters_of(loading, counts)] == [2, 3]


# Each: what is indexed, the systems that know such indexes, the rows that are refused of 1 to 6; 100 is there and named 'taken'.
UNIQUE_INDEXES = {
    "column": ("(name)", "all", [2, 4]),
    "columns": ("(country, name)", "all", [2, 6]),
    "expression": ("(lower(name))", "all", [2, 3, 4]),
    "expression and column": ("(country, lower(name))", "all", [2, 3, 6]),
    "partial": ("(name) WHERE age > 3", ("postgresql", "sqlite", "portable"), [2]),
}


@pytest.mark.parametrize("mode", ["insert", "upsert"])
@pytest.mark.parametrize("index", UNIQUE_INDEXES)
def test_continue_makes_dead_letters_of_the_rows_that_a_unique_index_refuses(place: Any, loading: Any, index: str, mode: str) -> None:
    indexed, systems, refused = UNIQUE_INDEXES[index]
    make(place, "id BIGINT, name VARCHAR(40), age BIGINT, country VARCHAR(40)")
    if systems != "all" and place.system not in systems:
        with pytest.raises(Exception, match=r"[Pp]artial"):
            place.sql(f"CREATE UNIQUE INDEX people_told_apart ON people {indexed}")
        return
    place.sql(f"CREATE UNIQUE INDEX people_told_apart ON people {indexed}")
    before = rows_of(place)
    rows = [(1, "a", 1, "DE"), (2, "taken", 4, "CH"), (3, "A", 3, "DE"), (4, "a", 4, SECRET), (5, None, 5, "DE"), (6, "taken", 1, "CH")]
    if index in ("column", "expression"):
        rows = rows[:5]
    counts = loading.load(rows, ROWS, load="people", mode=mode, keys=("id",) if mode == "upsert" else (), stop=False)
    assert (counts.code, counts.merged.dead) == ("", len(refused))
    assert rows_of(place) == sorted([*before, *(row for row in rows if row[0] not in refused)])
    letters = letters_of(loading, counts)
    assert [json.loads(letter["payload"])["id"] for letter in letters] == refused
    assert not [letter for letter in letters if SECRET in letter["message"]]
    if index in ("column", "columns"):
        # Found by one query, not one by one.
        assert [letter for letter in letters if not letter["message"].endswith(f"UNIQUE {indexed} is taken")] == []


def test_an_update_may_keep_the_value_that_a_unique_index_is_on(place: Any, loading: Any) -> None:
    make(place, "id BIGINT, name VARCHAR(40), age BIGINT, country VARCHAR(40)", ", PRIMARY KEY (id)")
    place.sql("CREATE UNIQUE INDEX told_apart ON people (lower(name))", "CREATE UNIQUE INDEX told_apart_too ON people (name, country)")
    rows = [(100, "Taken", 7, "CH"), (2, "TAKEN", 2, "CH"), (3, "c", 3, "CH")]
    counts = loading.load(rows, ROWS, load="people", mode="upsert", keys=("id",), stop=False)
    assert (counts.code, counts.merged.inserted, counts.merged.updated, counts.merged.dead) == ("", 1, 1, 1)
    assert rows_of(place) == [(3, "c", 3, "CH"), (100, "Taken", 7, "CH")]


def test_all_rows_refused_is_a_load_of_none(place: Any, loading: Any) -> None:
    make(place, CASES["check"][0])
    counts = loading.load(CASES["check"][2], ROWS, load="people", stop=False)
    assert (counts.merged.inserted, counts.merged.dead) == (0, 2)
    assert len(rows_of(place)) == 1


def test_refused_rows_spend_the_error_budget(place: Any, loading: Any) -> None:
    make(place, CASES["check"][0])
    before = rows_of(place)
    _, good, bad = CASES["check"]
    counts = loading.load([*good, *bad], ROWS, load="people", stop=False, budget=Budget(rows=1))
    assert counts.code == "budget-exceeded"
    assert rows_of(place) == before
    assert len(letters_of(loading, counts)) == len(bad)
    counts = loading.load([*good, *bad], ROWS, load="people", stop=False, budget=Budget(rows=1, fail=False))
    assert (counts.budget_exceeded, counts.merged.dead) == (True, 2)


def test_refused_rows_of_two_tables_of_a_run_are_kept_apart(place: Any, loading: Any) -> None:
    columns, good, bad = CASES["check"]
    make(place, columns)
    place.sql(f"CREATE TABLE others ({columns})")
    runs = [loading.begin(ROWS, load=load, run="a" * 12, stop=False) for load in ("others", "people")]
    runs[0].stage([*good, bad[0]])
    runs[1].stage([*good, *bad])
    counts = [run.commit() for run in runs]
    assert [[letter["load"] for letter in letters_of(loading, one)] for one in counts] == [["others"], ["people", "people"]]


@pytest.mark.parametrize("stop", [True, False])
def test_numbers_that_the_column_cannot_hold_are_refused(place: Any, loading: Any, stop: bool) -> None:
    place.sql("CREATE TABLE sums (id BIGINT, amount SMALLINT)" if place.system != "sqlite" else
              "CREATE TABLE sums (id BIGINT, amount SMALLINT CHECK (abs(amount) <= 32767))")  # fmt: skip
    schema = pa.schema([("id", pa.int64()), ("amount", pa.int64())])
    counts = loading.load([(1, 32767), (2, 32768), (3, -5)], schema, load="sums", stop=stop)
    if stop:
        assert counts.code == "target-refused"
        assert "32768" not in counts.message
        assert place.rows("sums", "id, amount", "1") == []
    else:
        assert place.rows("sums", "id, amount", "1") == [(1, 32767), (3, -5)]
        assert [json.loads(letter["payload"]) for letter in letters_of(loading, counts)] == [{"id": 2, "amount": 32768}]


@pytest.mark.parametrize("stop", [True, False])
def test_text_that_does_not_read_as_the_columns_number_is_refused(place: Any, loading: Any, stop: bool) -> None:
    place.sql("CREATE TABLE sums (id BIGINT PRIMARY KEY, amount BIGINT)" if place.system != "sqlite" else
              "CREATE TABLE sums (id BIGINT PRIMARY KEY, amount BIGINT CHECK (typeof(amount) = 'integer'))")  # fmt: skip
    schema = pa.schema([("id", pa.int64()), ("amount", pa.string())])
    counts = loading.load([(1, "12"), (2, SECRET), (3, "-5")], schema, load="sums", stop=stop, mode="upsert", keys=("id",))
    if stop:
        assert counts.code == "target-refused"
        assert SECRET not in counts.message
    else:
        assert place.rows("sums", "id, amount", "1") == [(1, 12), (3, -5)]
        letters = letters_of(loading, counts)
        assert [json.loads(letter["payload"])["amount"] for letter in letters] == [SECRET]
        assert SECRET not in letters[0]["message"]


def test_letters_hold_every_type_whole(place: Any, loading: Any) -> None:
    from datetime import date, datetime, timezone
    from decimal import Decimal

    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("amount", pa.decimal128(12, 2)),
            ("day", pa.date32()),
            ("at", pa.timestamp("us", "UTC")),
            ("raw", pa.binary()),
            ("on", pa.bool_()),
            ("share", pa.float64()),
        ]
    )
    types = ", ".join(f'"{field.name}" {loading.target.ddl(field.type)}' for field in schema)
    place.sql(f"CREATE TABLE odd ({types}, CHECK (id > 5))")
    row = (1, Decimal("1234567890.12"), date(2024, 2, 29), datetime(2024, 1, 2, 3, 4, 5, 678, timezone.utc), b"\x00\xff", True, 0.1)
    counts = loading.load([row, (6, *row[1:])], schema, load="odd", stop=False)
    assert [json.loads(letter["payload"]) for letter in letters_of(loading, counts)] == [
        {
            "id": 1,
            "amount": "1234567890.12",
            "day": "2024-02-29",
            "at": "2024-01-02T03:04:05.000678+00:00",
            "raw": "AP8=",
            "on": True,
            "share": 0.1,
        }
    ]


def test_many_refused_rows_are_found_in_reasonable_time(place: Any, loading: Any) -> None:
    make(place, CASES["foreign key"][0])
    rows = [(number, "n", 1, "XX" if number % 4 == 0 else "CH") for number in range(4000)]
    counts = loading.load(rows, ROWS, load="people", stop=False, budget=Budget(share=0.5))
    assert (counts.merged.inserted, counts.merged.dead) == (3000, 1000)
    assert len(rows_of(place)) == 3001


def test_a_constraint_that_is_checked_at_the_end_is_a_refusal_too(place: Any, loading: Any) -> None:
    deferred = "" if place.system == "duckdb" else " DEFERRABLE INITIALLY DEFERRED"  # DuckDB has no such thing
    make(place, f"id BIGINT, name VARCHAR(40), age BIGINT, country VARCHAR(40) REFERENCES countries (code){deferred}")
    before = rows_of(place)
    rows = [(1, "a", 1, "CH"), (2, SECRET, 1, "XX")]
    counts = loading.load(rows, ROWS, load="people")
    assert counts.code == "target-refused"
    assert rows_of(place) == before
    assert loading.target.standing("shop", "people").generation == 0
    counts = loading.load(rows, ROWS, load="people", stop=False)
    assert rows_of(place) == [(1, "a", 1, "CH"), *before]
    assert [json.loads(letter["payload"])["id"] for letter in letters_of(loading, counts)] == [2]


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("mode", ["insert", "upsert"])
def test_a_type_with_a_length_does_not_cut_what_is_too_long(place: Any, loading: Any, mode: str) -> None:
    place.sql("CREATE DOMAIN short AS VARCHAR(3)", "CREATE DOMAIN shorter AS short CHECK (VALUE <> 'x')")
    place.sql("CREATE DOMAIN flags AS BIT(3)", "CREATE DOMAIN padded AS CHAR(3)")
    place.sql("CREATE TABLE people (id BIGINT PRIMARY KEY, name short, nick shorter, code padded, bits flags, raw BIT(3))")
    place.sql("INSERT INTO people VALUES (1, 'old', 'old', 'old', '000', '000')")
    schema = pa.schema([("id", pa.int64()), *((name, pa.string()) for name in ("name", "nick", "code", "bits", "raw"))])
    good = (1, "abc", "abc", "abc", "101", "110")
    # One column after another holds what is too long; the last row holds what a CHECK forbids.
    bad = [(at + 1, *good[1:at], good[at] + "0", *good[at + 1 :]) for at in range(1, 6)] + [(7, "abc", "x", *good[3:])]
    rows = [good, *bad]
    counts = loading.load(rows if mode == "upsert" else rows[1:], schema, load="people", mode=mode, keys=("id",), stop=False)
    assert [json.loads(letter["payload"])["id"] for letter in letters_of(loading, counts)] == [2, 3, 4, 5, 6, 7]
    assert place.rows("people", "id, name, nick, code, bits, raw", "1") == [
        good if mode == "upsert" else (1, "old", "old", "old", "000", "000")
    ]
