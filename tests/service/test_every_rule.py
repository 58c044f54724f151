"""Rules of every kind in real runs: however rows come to be spread, what is found is what SQL finds in the whole table."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.engine import read, shuffle, validate
from beam_pipelines.spec.rule.kinds import _HOMES

Desk = Any
FILES, IN_A_FILE = 3, 120
COUNT = FILES * IN_A_FILE
TWO = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


def some(value: Callable[[int], Any], otherwise: Any, one_in: int) -> list[Any]:
    """A value a row, every so many rows another one, and every 17th row none."""
    return [None if i % 17 == 0 else otherwise if i % one_in == 0 else value(i) for i in range(COUNT)]


ROWS = pa.table(
    {
        "id": pa.array(range(COUNT)),
        "email": some(lambda i: f"p{i - 5 if i % 40 == 7 else i}@example.org", "nobody", 11),
        "age": some(lambda i: i % 90, 200, 13),
        "country": some(lambda i: ("DE", "FR", "IT")[i % 3], "XX", 19),
        "born": pa.array(some(lambda i: dt.date(1950 + i % 50, 1, 1), dt.date(2090, 1, 1), 23), pa.date32()),
        "died": pa.array(some(lambda i: dt.date(2000 + i % 20, 1, 1), dt.date(1900, 1, 1), 29), pa.date32()),
        "day": some(lambda i: f"2024-01-{1 + i % 28:02d}", "2024-13-01", 31),
        "home": some(lambda i: f"https://example.org/{i}", "no url", 7),
        "token": some(lambda i: str(uuid.UUID(int=i)), "no uuid", 5),
        "address": some(lambda i: f"10.0.0.{i % 256}", "10.0.0.256", 9),
        "number": some(str, "x", 10),
        "settings": some(lambda i: json.dumps({"on": True}), '{"on": 1}', 12),
    }
)
COUNTRIES = pa.table({"code": ["DE", "FR", "IT", "ES"]})
# Of each kind of rule of rows what SQL says of a row that violates it.
RULES: dict[str, tuple[dict[str, Any], str]] = {
    "required-fields": ({"fields": ["email", "age"]}, "email IS NULL OR age IS NULL"),
    "regex": ({"field": "email", "pattern": "@"}, "email NOT LIKE '%@%'"),
    "numeric-range": ({"field": "age", "max": 150, "severity": "warning"}, "age > 150"),
    "unique": ({"field": "email"}, "email IS NOT NULL AND row_number() OVER (PARTITION BY email ORDER BY id) > 1"),
    "foreign-key": (
        {"field": "country", "reference": {"source": {"type": "file", "path": "countries.parquet"}, "field": "code"}},
        "country = 'XX'",
    ),
    "in-set": ({"field": "country", "values": ["DE", "XX"], "action": "flag"}, "country IN ('FR', 'IT')"),
    "not-in-set": ({"field": "country", "values": ["IT"], "severity": "info"}, "country = 'IT'"),
    "length": ({"field": "email", "min": 7}, "length(email) < 7"),
    "type": ({"field": "number", "is": "int"}, "try_cast(number AS integer) IS NULL AND number IS NOT NULL"),
    "date-range": ({"field": "born", "max": "2030-01-01"}, "born > '2030-01-01'"),
    "date-format": ({"field": "day", "format": "%Y-%m-%d"}, "try_cast(day AS date) IS NULL AND day IS NOT NULL"),
    "email": ({"field": "email", "action": "log"}, "email NOT LIKE '%@%'"),
    "url": ({"field": "home"}, "home = 'no url'"),
    "uuid": ({"field": "token", "action": "flag"}, "token = 'no uuid'"),
    "ip": ({"field": "address", "action": "log"}, "address = '10.0.0.256'"),
    "json-schema": (
        {"field": "settings", "schema": {"properties": {"on": {"type": "boolean"}}}},
        "settings LIKE '%1%'",
    ),
    "expression": ({"condition": "age < 80 OR country = 'DE'", "severity": "warning"}, "NOT (age < 80 OR country = 'DE')"),
    "compare-columns": ({"field": "born", "operator": "lt", "other": "died", "action": "log"}, "born >= died"),
}
# Of each kind of rule of the data set what SQL measures.
MEASURES: dict[str, tuple[dict[str, Any], str]] = {
    "row-count": ({"min": 1}, "count(*)"),
    "distinct-count": ({"field": "email", "min": 1}, "count(DISTINCT email)"),
    "null-ratio": ({"field": "email", "max": 0.5}, "avg((email IS NULL)::int)"),
    "distinct-ratio": ({"field": "email", "min": 0.5}, "count(DISTINCT email) / count(email)"),
    "statistic": ({"field": "age", "statistic": "mean", "min": 0}, "avg(age)"),
}
ELSEWHERE = {"monotonic", "freshness", "drift", "schema"}  # refused, by the clock, by the ledger and by the schema


def rules(kinds: dict[str, tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    return [{"id": kind, "type": kind, **more} for kind, (more, _) in kinds.items()]


def by_sql(query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.register("rows", ROWS)
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def wanted() -> dict[str, set[int]]:
    """Ids of the rows that violate each rule."""
    found = {kind: by_sql(f"SELECT id FROM (SELECT id, ({sql}) AS v FROM rows) WHERE v") for kind, (_, sql) in RULES.items()}
    return {kind: {number for (number,) in rows} for kind, rows in found.items()}


@pytest.fixture
def rows(desk: Desk) -> Desk:
    for number in range(FILES):
        pq.write_table(ROWS.slice(number * IN_A_FILE, IN_A_FILE), desk.folder / f"rows{number}.parquet", row_group_size=50)
    pq.write_table(COUNTRIES, desk.folder / "countries.parquet")
    source = {"type": "file", "path": "rows*.parquet"}
    outputs = {
        "rejected": {"type": "file", "path": "rejected", "format": "parquet"},
        "violations": {"type": "file", "path": "violations", "format": "parquet"},
    }
    destination = {"type": "file", "path": "valid", "format": "parquet", "mode": "replace"}
    every = [*rules(RULES), *rules(MEASURES)]
    desk.define({"name": "Every", "validation": {"source": source, "rules": every, "destination": destination, **outputs}})
    return desk


def backwards(process: Any) -> Any:
    def ranges(self: Any, texts: dict[str, str]) -> Iterator[Any]:
        found = list(process(self, texts))
        for place, (_, part) in enumerate(reversed(found)):
            yield f"{place:03d}", part

    return ranges


@pytest.mark.long
@pytest.mark.parametrize("spread", ["near", "1 shard", "2 shards", "16 shards", "backwards", "two processes"])
def test_however_rows_are_spread_every_rule_finds_what_sql_finds(
    rows: Desk, wanted: dict[str, set[int]], spread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "shard" in spread:
        monkeypatch.setattr(validate, "NEAR", -1)
        monkeypatch.setattr(shuffle, "SHARDS", int(spread.split()[0]))
    if spread == "backwards":
        monkeypatch.setattr(read._RangesFn, "process", backwards(read._RangesFn.process))
    record = rows.ran(options=list(TWO) if spread == "two processes" else [])
    ids = {(f"rows{number}.parquet", row): number * IN_A_FILE + row for number in range(FILES) for row in range(IN_A_FILE)}
    found: dict[str, set[int]] = {kind: set() for kind in RULES}
    told = pq.read_table(rows.folder / "violations").to_pylist()
    for one in told:
        place = json.loads(one["origin"])
        found[one["rule"]].add(ids[place["source"], place["row"]])
    assert found == wanted
    assert all(wanted.values())
    # One of `required-fields` a field, of any other rule one a row.
    assert len(told) == sum(map(len, wanted.values())) + len(by_sql("FROM rows WHERE email IS NULL AND age IS NULL"))
    rejected = set().union(*(wanted[kind] for kind, (more, _) in RULES.items() if not {"action", "severity"} & set(more)))
    kept = pq.read_table(rows.folder / "valid").column("id").to_pylist()
    assert sorted(pq.read_table(rows.folder / "rejected").column("id").to_pylist()) == sorted(rejected)
    assert sorted(kept) == sorted(set(range(COUNT)) - rejected)
    (step,) = next(one for one in record["steps"] if one["phase"] == "transform")["transformations"]
    counts = {rule["rule"]: rule["violated"] for rule in step["rules"] if "violated" in rule}
    assert counts == {kind: len(violating) for kind, violating in wanted.items()}
    measured = {rule["rule"]: rule["measured"] for rule in step["rules"] if "measured" in rule}
    assert measured == pytest.approx({kind: by_sql(f"SELECT {sql} FROM rows")[0][0] for kind, (_, sql) in MEASURES.items()})
    assert step["quality"]["total"] == COUNT == step["quality"]["passed"] + step["quality"]["failed"]


def test_no_kind_is_left_out() -> None:
    assert {*RULES, *MEASURES, *ELSEWHERE} == set(_HOMES)
