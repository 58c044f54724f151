"""What `CheckRows` refuses before a pipeline runs, and what it costs a worker."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing import test_stream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, Sessions, SlidingWindows

from beam_pipelines.columnar import origin
from beam_pipelines.errors import PlanError, SpecError
from beam_pipelines.quality import CheckRows
from beam_pipelines.rules.key import known
from tests.engine.checking.runs import bounded

SCHEMA = pa.schema([("id", pa.int64()), ("x", pa.string()), ("tags", pa.list_(pa.string()))])
ROWS = pa.RecordBatch.from_pylist([{"id": 1, "x": "a", "tags": []}, {"id": 2, "x": "b", "tags": None}, {"id": 3, "x": "a"}], SCHEMA)
ONCE = {"id": "once", "type": "unique", "field": "x"}
HOUR = {**ONCE, "horizon": "1h"}
WINDOW = {**ONCE, "scope": "window"}
MANY = {"id": "many", "type": "row-count", "min": 1}
KNOWN = {"id": "known", "type": "foreign-key", "field": "x", "reference": {"table": "letters", "field": "x"}}
LETTERS = pa.table({"x": ["a", "c"]})


def problems(rules: list[dict[str, Any]], **more: Any) -> list[str]:
    with pytest.raises(PlanError) as caught:
        CheckRows(rules, schema=SCHEMA, **more)
    assert caught.value.code == "rule-invalid"
    return [problem.path for problem in caught.value.problems]


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    rules = [{"id": "order", "type": "monotonic", "field": "id"}, {**ONCE, "field": "nothing"}, KNOWN]
    found = problems(rules, order=["tags", "none"], shards=0, counts_every="0s")
    assert found == ["rules[0].type", "shards", "counts_every", "order[0]", "order[1]", "rules[1].field", "rules[2].reference.table"]
    assert problems([KNOWN], references={"letters": pa.table({"x": [1]})}) == ["rules[0].reference.field"]
    assert problems([ONCE], counts_every="soon") == ["counts_every"]
    assert problems([{"id": "near", "type": "drift", "measure": "row-count"}]) == ["rules[0].type"]  # nobody keeps earlier runs
    with pytest.raises(SpecError, match="keep"):
        CheckRows([{**HOUR, "keep": "last"}], schema=SCHEMA)


@pytest.mark.parametrize("name", ["_rules", "_dq"])
def test_columns_of_ours_are_refused(name: str) -> None:
    with pytest.raises(PlanError) as caught:
        CheckRows([{**ONCE, "action": "flag"}], schema=SCHEMA.append(pa.field(name, pa.int64())))
    assert [problem.path for problem in caught.value.problems] == ["schema"]


@pytest.mark.parametrize(
    ("rule", "window", "endless", "path"),
    [
        (ONCE, None, True, "rules[0].horizon"),
        (ONCE, FixedWindows(10), True, "rules[0].horizon"),
        (WINDOW, None, True, "rules[0].scope"),
        (WINDOW, Sessions(10), False, "rules[0].scope"),
        (ONCE, SlidingWindows(10, 5), False, "rules[0].scope"),
        (HOUR, Sessions(10), True, "rules[0].scope"),
        (MANY, None, True, "rules[0].type"),
        (ONCE, None, False, None),
        (HOUR, FixedWindows(10), True, None),
        (WINDOW, SlidingWindows(10, 5), True, None),
        (MANY, FixedWindows(10), True, None),
    ],
)
def test_what_cannot_be_told_of_such_rows_is_refused_with_the_pipeline(rule: Any, window: Any, endless: bool, path: str | None) -> None:
    pipeline = beam.Pipeline()
    rows = pipeline | (test_stream.TestStream() if endless else beam.Create([ROWS]))
    rows = rows if window is None else rows | beam.WindowInto(window)
    check = CheckRows([rule], schema=SCHEMA)
    if path is None:
        assert (rows | check)._fields == ("valid", "rejected", "violations", "counts")
        return
    with pytest.raises(PlanError) as caught:
        rows | check
    assert [problem.path for problem in caught.value.problems] == [path]
    assert caught.value.problems[0].hint


def test_a_reference_has_a_schema_and_an_end() -> None:
    pipeline = beam.Pipeline()
    letters = pipeline | "Letters" >> test_stream.TestStream()
    assert problems([KNOWN], references={"letters": letters}) == ["references['letters']"]
    check = CheckRows([KNOWN], schema=SCHEMA, references={"letters": (letters, LETTERS.schema)})
    with pytest.raises(PlanError, match="a reference with an end"):
        pipeline | beam.Create([ROWS]) | check


def test_a_reference_may_come_from_the_pipeline_and_is_made_an_index_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(known.Known):
        def __init__(self, columns: Any) -> None:
            made.append(len(columns[0]))
            super().__init__(columns)

    monkeypatch.setattr("beam_pipelines.rules.key.reference.Known", Counted)
    pipeline = beam.Pipeline(runner="FnApiRunner")
    letters = pipeline | "Letters" >> beam.Create(LETTERS.to_batches(max_chunksize=1)) | "Windows" >> beam.WindowInto(FixedWindows(1))
    rows = pipeline | beam.Create([ROWS] * 5)
    checked = rows | CheckRows([KNOWN], schema=SCHEMA, references={"letters": (letters, LETTERS.schema)})
    told = checked.counts | beam.Map(lambda counts: (counts["rejected"], counts["rules"][0]["violated"]))
    assert_that(told, equal_to([(5, 5)]))
    made.clear()
    pipeline.run().wait_until_finish()
    assert made.count(2) == 1  # the others are those of nobody's rows: where only counts are added up


@pytest.mark.parametrize("batch", [pa.record_batch({"y": ["a"]}), pa.record_batch({"x": [b"secret\xff"]})], ids=["column", "value"])
def test_a_reference_of_another_schema_stops_the_pipeline_and_says_so(batch: pa.RecordBatch) -> None:
    pipeline = beam.Pipeline(runner="FnApiRunner")
    letters = pipeline | "Letters" >> beam.Create([batch])
    pipeline | beam.Create([ROWS]) | CheckRows([KNOWN], schema=SCHEMA, references={"letters": (letters, LETTERS.schema)})
    with pytest.raises(Exception, match="expected the reference 'letters' in the schema that was given with it, x string; got") as caught:
        pipeline.run()
    assert "secret" not in str(caught.value)


def test_a_batch_of_another_schema_stops_the_pipeline_and_says_so() -> None:
    other = ROWS.set_column(0, "id", ROWS["id"].cast(pa.int32()))
    with pytest.raises(Exception, match="expected batches of the schema that the rules were made for") as caught:
        bounded([ROWS, other], CheckRows([MANY], schema=SCHEMA))
    assert "id int32" in str(caught.value)


def test_hidden_columns_stay_and_tell_where_a_row_came_from() -> None:
    batches = [origin.attach(ROWS, "a.csv", first_row=10), origin.attach(ROWS, "b.csv", first_row=0)]
    came = bounded(batches, CheckRows([ONCE], schema=batches[0].schema, order="id"))
    assert {row[origin.SOURCE] for row, _, _ in [*came.valid, *came.rejected]} == {"a.csv", "b.csv"}
    assert len(came.violations) == 4
    assert all(violation["origin"].startswith('{"source":') for violation in came.violations)
    assert list(came.rejected[0][0])[:4] == ["id", "x", "tags", "_rules"]
