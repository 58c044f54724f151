"""The DoFn that judges: which time rules go by that ask for it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from beam_pipelines.engine.checking import judge
from beam_pipelines.rules.models import rule_set

SCHEMA = pa.schema([("made", pa.timestamp("us", "UTC")), ("x", pa.string())])
RULES = [
    {"id": "past", "type": "date-range", "field": "made", "notInFuture": True},
    {"id": "sql", "type": "expression", "condition": "made <= now()"},
    {"id": "known", "type": "foreign-key", "field": "x", "reference": {"table": "letters", "field": "x"}},
]
START = dt.datetime(2024, 7, 1, tzinfo=dt.timezone.utc)
ROW = pa.record_batch([pa.array([START + dt.timedelta(minutes=10)], SCHEMA.field(0).type), pa.array(["a"])], schema=SCHEMA)


def rejected(given: judge.JudgeFn) -> list[list[str]]:
    """Judge the row in a bundle of its own."""
    given.start_bundle()
    letters = [("letters", pa.record_batch({"x": ["a"]}))]
    came: list[Any] = list(given.process((ROW, []), letters, Timestamp(0), GlobalWindow()))
    found = [one.value for one in came if isinstance(one, TaggedOutput) and one.tag == judge.REJECTED]
    return [reasons for batch in found for reasons in batch["_rules"].to_pylist()]


@pytest.mark.parametrize("now", [None, START])
def test_rows_without_an_end_are_judged_by_the_clock_unless_a_time_is_given(now: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    time = START
    monkeypatch.setattr(judge, "clock", lambda: time)
    models, actions = rule_set(RULES, None)
    given = judge.JudgeFn(judge.RuleSet(models, actions, SCHEMA, {"letters": pa.schema([("x", pa.string())])}, now), None)
    given.setup()
    assert rejected(given) == [["past", "sql"]]
    time = START + dt.timedelta(minutes=10)
    assert rejected(given) == ([] if now is None else [["past", "sql"]])
    given.teardown()
