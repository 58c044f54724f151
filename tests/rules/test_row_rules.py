"""Every kind of row rule says the same of a table, whatever batches it comes in."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.rules import Result, check
from beam_pipelines.rules.compiled import _HOMES, TIMED

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("number", pa.float64()),
        ("whole", pa.int64()),
        ("day", pa.date32()),
        ("items", pa.list_(pa.int64())),
        ("part", pa.struct([("a", pa.int64()), ("b", pa.string())])),
    ]
)
TEXTS = [
    "",
    " ",
    "1",
    "x",
    "a@example.com",
    "a@münchen.de",
    "a@b",
    "http://example.com",
    "http://[::1]/",
    "http://[1]/",
    "2024-01-01",
    "01.02.2024",
    "8a6e0804-2bd0-4672-b79d-d97027f9071a",
    "1.2.3.4",
    "::1",
    '{"a": 1}',
    '{"a": "x"}',
]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.sampled_from(TEXTS),
            "number": st.none() | st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf"), -7.0]),
            "whole": st.none() | st.integers(-3, 3),
            "day": st.none() | st.dates(dt.date(2023, 12, 30), dt.date(2024, 1, 3)),
            "items": st.none() | st.lists(st.none() | st.integers(0, 3), max_size=3),
            "part": st.none() | st.fixed_dictionaries({"a": st.none() | st.integers(0, 3), "b": st.none() | st.just("b")}),
        }
    ),
    max_size=12,
)
JSON = {"properties": {"a": {"type": "integer", "maximum": 2}, "whole": {"minimum": 0}}, "required": ["a"]}
RULES: list[dict[str, Any]] = [
    {"type": "required-fields", "fields": ["text", "part.b", "number"], "blankIsMissing": True},
    {"type": "regex", "field": "text", "pattern": "[0-9]", "severity": "warning"},
    {"type": "numeric-range", "field": "number", "min": 0, "max": 1},
    {"type": "numeric-range", "field": "text", "min": 2, "severity": "info"},
    {"type": "in-set", "field": "whole", "values": [0, 1]},
    {"type": "not-in-set", "field": "text", "values": ["x", "1"], "action": "flag"},
    {"type": "length", "field": "items", "min": 1, "max": 2},
    {"type": "length", "field": "text", "max": 4},
    {"type": "type", "field": "text", "is": "int"},
    {"type": "type", "field": "text", "is": "json", "severity": "warning"},
    {"type": "type", "field": "number", "is": "number"},
    {"type": "date-range", "field": "day", "min": "2024-01-01", "notInFuture": True},
    {"type": "date-range", "field": "text", "max": "2024-01-15"},
    {"type": "date-format", "field": "text", "format": "%d.%m.%Y"},
    {"type": "email", "field": "text"},
    {"type": "url", "field": "text"},
    {"type": "uuid", "field": "text"},
    {"type": "ip", "field": "text"},
    {"type": "compare-columns", "field": "whole", "operator": "<", "other": "number"},
    {"type": "compare-columns", "field": "items[0]", "operator": "=", "other": "part.a"},
    {"type": "expression", "condition": "whole / 2 >= number OR text IS NULL", "severity": "warning"},
    {"type": "expression", "condition": "CAST(text AS INTEGER) > 0"},
    {"type": "json-schema", "field": "text", "schema": JSON},
    {"type": "json-schema", "field": "part", "schema": JSON},
    {"type": "json-schema", "schema": JSON},
]
NOW = dt.datetime(2024, 1, 2, tzinfo=dt.timezone.utc)


def rule_of(at: int) -> dict[str, Any]:
    return {"id": f"r{at}", **RULES[at]}


def table_of(rows: list[dict[str, Any]], cuts: list[int]) -> pa.Table:
    """The rows in as many batches as there are cuts, some of them empty."""
    whole = pa.RecordBatch.from_pylist(rows, SCHEMA)
    edges = [0, *sorted(cut % (len(rows) + 1) for cut in cuts), len(rows)]
    return pa.Table.from_batches([whole.slice(low, high - low) for low, high in pairwise(edges)], SCHEMA)


def told(found: Result) -> list[Any]:
    return [
        [rule.tally for rule in found.rules],
        (found.total, found.passed, found.failed, found.warnings),
        found.violations.to_pylist(),
        repr(found.valid.to_pylist()),  # NaN is NaN
        repr(found.rejected.to_pylist()),
    ]


def test_every_kind_of_row_rule_is_here():
    assert {rule["type"] for rule in RULES} == {*_HOMES, *TIMED}


@settings(max_examples=25, deadline=None)
@given(ROWS, st.lists(st.integers(0, 12), max_size=4))
def test_all_rules_together_say_the_same_of_any_batches(rows, cuts):
    rules = [rule_of(at) for at in range(len(RULES))]
    whole = check(table_of(rows, []), rules, now=NOW)
    assert told(check(table_of(rows, cuts), rules, now=NOW)) == told(whole)
    assert whole.valid.num_rows + whole.rejected.num_rows == whole.passed + whole.failed == len(rows)


@pytest.mark.parametrize("at", range(len(RULES)), ids=lambda at: f"{RULES[at]['type']}-{at}")
@settings(max_examples=8, deadline=None)
@given(rows=ROWS)
def test_a_rule_says_the_same_of_each_row_alone(at, rows):
    whole = check(table_of(rows, []), [rule_of(at)], now=NOW)
    each = [check(pa.Table.from_pylist([row], SCHEMA), [rule_of(at)], now=NOW) for row in rows]
    alone = [{**one, "recordIndex": row} for row, found in enumerate(each) for one in found.violations.to_pylist()]
    assert whole.violations.to_pylist() == alone
    tally = whole.rules[0].tally
    assert tally.evaluated == sum(found.rules[0].tally.evaluated for found in each)
    assert tally.evaluated + tally.unevaluated + tally.failed == len(rows)
