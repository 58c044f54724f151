"""However rows are cut into batches, a check says the same of them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.rules import check
from tests.rules.tables import cut, rows, told

NAN = float("nan")
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "t": st.sampled_from([None, "", "a", "b", "bc", "ab", "c1", "é"]),
            "n": st.sampled_from([None, -1, 0, 1, 2, 2**63 - 1, -(2**63)]),
            "x": st.sampled_from([None, NAN, -0.0, 0.0, 1.0, 1.5, float("inf")]),
        }
    ),
    max_size=24,
)
SCHEMA = pa.schema([("t", pa.string()), ("n", pa.int64()), ("x", pa.float64())])
REFERENCES = {"known": pa.table({"k": [0.0, 1.0, 7.0], "l": ["a", "b", "ab"]})}
RULES: list[dict[str, Any]] = [
    {"id": "present", "type": "required-fields", "fields": ["t", "x"], "action": "flag"},
    {"id": "text", "type": "regex", "field": "t", "pattern": "^[a-c]+$", "severity": "warning", "mostly": 0.5},
    {"id": "range", "type": "numeric-range", "field": "x", "min": 0, "max": 1, "action": "log", "maxFailures": "10%"},
    {"id": "first", "type": "unique", "field": "n", "severity": "info", "action": "flag"},
    {"id": "last", "type": "unique", "fields": ["t", "x"], "keep": "last", "severity": "warning"},
    {"id": "none", "type": "unique", "field": "x", "keep": "none", "severity": "info"},
    {"id": "one", "type": "foreign-key", "field": "n", "reference": {"table": "known", "field": "k"}},
    {"id": "two", "type": "foreign-key", "fields": ["n", "t"], "reference": {"table": "known", "fields": ["k", "l"]}, "action": "flag"},
    {"id": "set", "type": "in-set", "field": "n", "values": [0, 1, 2], "severity": "info"},
]


@settings(max_examples=60, deadline=None)
@given(ROWS, st.data())
def test_any_cut_gives_the_same_result(records: list[dict[str, Any]], data: st.DataObject) -> None:
    table = pa.Table.from_pylist(records, SCHEMA)
    ends = data.draw(st.lists(st.integers(0, len(records)), max_size=6))
    whole, parts = (check(given_, RULES, references=REFERENCES) for given_ in (table, cut(table, ends)))
    assert told(whole) == told(parts)
    assert whole.passed + whole.failed == whole.total == len(records)
    assert sorted(rows(whole.valid.drop_columns(["_dq"])) + rows(whole.rejected)) == sorted(rows(table))
    marked = [bool(marks) for marks in whole.valid.column("_dq").to_pylist()]
    flagged = {one["recordIndex"] for one in whole.violations.to_pylist() if one["action"] == "flag"}
    rejected = {one["recordIndex"] for one in whole.violations.to_pylist() if one["action"] == "reject"}
    assert sum(marked) == len(flagged - rejected)
    assert whole.rejected.num_rows == len(rejected)
