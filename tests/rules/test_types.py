"""Rows of every Arrow type against rules of every kind: told apart, or refused before any is looked at."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.rules import check

DAYS = [dt.date(2020, 1, 1), None, dt.date(2021, 1, 1)]
MOMENTS = [dt.datetime(2020, 1, 1), None, dt.datetime(2021, 1, 1)]
TIMES = [dt.time(1), None, dt.time(2)]
NUMBERS = [Decimal(100), None, Decimal(200)]
PAIRS = [[1, 2], None, [2, 3]]
COLUMNS = [
    *(pa.array([1, None, 3], kind) for kind in (pa.int8(), pa.uint64(), pa.float32(), pa.float64())),
    pa.array([True, None, False]),
    *(
        pa.array(NUMBERS, kind)
        for kind in (pa.decimal32(5), pa.decimal64(12, 2), pa.decimal128(20, 2), pa.decimal256(50), pa.decimal128(5, -2))
    ),
    *(pa.array(["a", None, "2"], kind) for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.binary_view())),
    pa.array([b"ab", None, b"cd"], pa.binary(2)),
    *(pa.array(DAYS, kind) for kind in (pa.date32(), pa.date64())),
    *(pa.array(MOMENTS, kind) for kind in (pa.timestamp("us"), pa.timestamp("ns", "UTC"))),
    *(pa.array(TIMES, kind) for kind in (pa.time32("s"), pa.time64("us"))),
    pa.array([dt.timedelta(1), None, dt.timedelta(2)]),
    pa.array([(1, 2, 3), None, (1, 1, 1)], pa.month_day_nano_interval()),
    *(
        pa.array(PAIRS, kind)
        for kind in (pa.list_(pa.int64()), pa.large_list(pa.int64()), pa.list_(pa.int64(), 2), pa.list_view(pa.int64()))
    ),
    pa.array([{"a": 1}, None, {"a": 2}]),
    pa.array([[("a", 1)], None, [("b", 2)]], pa.map_(pa.string(), pa.int64())),
    pa.array(["a", None, "b"]).dictionary_encode(),
    pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]),
    pa.UnionArray.from_dense(pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2]), pa.array(["x"])]),
    pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16, None, b"b" * 16], pa.binary(16))),
    pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", None, "[]"])),
    pa.nulls(3),
]
X: dict[str, Any] = {"field": "x"}
RULES: list[dict[str, Any]] = [
    {"type": "required-fields", "fields": ["x"]},
    {"type": "regex", **X, "pattern": "a"},
    {"type": "numeric-range", **X, "min": 0, "max": 2},
    {"type": "unique", **X},
    {"type": "foreign-key", **X, "reference": {"table": "t", "field": "x"}},
    {"type": "in-set", **X, "values": ["a"]},
    {"type": "in-set", **X, "values": [1]},
    {"type": "not-in-set", **X, "values": ["a"]},
    {"type": "length", **X, "min": 2},
    {"type": "type", **X, "is": "int"},
    {"type": "date-range", **X, "min": "2020-06-01"},
    {"type": "date-format", **X, "format": "%Y"},
    *({"type": kind, **X} for kind in ("email", "url", "uuid", "ip", "monotonic")),
    {"type": "json-schema", **X, "schema": {"type": "object"}},
    {"type": "expression", "condition": "x = y"},
    {"type": "expression", "condition": "x IS NOT NULL"},
    {"type": "compare-columns", "field": "x", "operator": "lte", "other": "y"},
    {"type": "null-ratio", **X, "max": 0.1},
    {"type": "distinct-ratio", **X, "min": 0.1},
    {"type": "distinct-count", **X, "min": 1},
    *({"type": "statistic", **X, "statistic": name, "min": 0} for name in ("mean", "max", "median", "sum")),
    {"type": "freshness", **X, "maxAge": "1h"},
]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.type)[:40])
def test_every_rule_tells_the_rows_apart_or_is_refused(column: pa.Array) -> None:
    rows = pa.table({"x": column, "y": column})
    served = 0
    for rule in RULES:
        try:
            result = check(rows, [{"id": "r", **rule}], references={"t": rows})
        except PlanError:
            continue
        served += 1
        (told,) = result.rules
        assert (result.total, result.passed + result.failed, result.valid.num_rows + result.rejected.num_rows) == (3, 3, 3), rule
        assert told.verdict is not None or told.tally.evaluated + told.tally.unevaluated + told.tally.failed == 3, rule
    assert served
