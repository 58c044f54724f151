"""Rules over the batches of a bounded pipeline: what `check` says of the same rows as a table, however they come."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, SlidingWindows, TimestampedValue

from beam_pipelines.quality import CheckRows
from beam_pipelines.rules import Result, check
from beam_pipelines.spec.rule import kinds
from tests.engine.checking.runs import Came, bounded

NOW = dt.datetime(2024, 7, 1, tzinfo=dt.timezone.utc)
ROWS = 97


def _people() -> pa.Table:
    """Rows of which some violate each rule, told by their number."""
    numbers = range(ROWS)

    def text(of: str, bad: str, every: int) -> list[str | None]:
        return [None if i % 31 == 5 else bad if i % every == 0 else of.format(i=i) for i in numbers]

    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "name": text("name {i}", "", 13),
            "mail": [None if i % 11 == 3 else f"p{i - i % 3}@x.org" for i in numbers],
            "address": text("p{i}@example.com", "p@x@y", 7),
            "site": text("https://example.com/{i}", "ftp:/x", 8),
            "key": text("8a6e0804-2bd0-4672-b79d-d97027f9071a", "8a6e", 9),
            "host": text("10.0.0.1", "10.0.0", 10),
            "state": text("new", "lost", 6),
            "number": text("{i}", "1.5", 12),
            "day": text("31.12.2023", "30.02.2023", 14),
            "json": text('{{"a": {i}}}', '{"a": "x"}', 15),
            "age": pa.array([None if i % 17 == 2 else i * 2 for i in numbers], pa.int64()),
            "low": pa.array([i % 5 for i in numbers], pa.int64()),
            "made": pa.array([dt.datetime(2024, 6, 1) + dt.timedelta(days=i) for i in numbers], pa.timestamp("us")),
            "country": [None if i % 10 == 0 else "DABC"[i % 4] for i in numbers],
        }
    )


PEOPLE = _people()
COUNTRIES = pa.table({"code": ["A", "B", "C", None]})
COLUMNS = {"id": "bigint", "age": "text"}
RULES: list[dict[str, Any]] = [
    {"type": "required-fields", "fields": ["name", "mail"]},
    {"type": "regex", "field": "name", "pattern": "^name [0-9]*[0-8]$", "severity": "warning"},
    {"type": "numeric-range", "field": "age", "min": 10, "max": 150, "severity": "info"},
    {"type": "unique", "field": "mail"},
    {"type": "foreign-key", "field": "country", "reference": {"table": "countries", "field": "code"}, "mostly": 0.99},
    {"type": "in-set", "field": "state", "values": ["new"], "action": "flag"},
    {"type": "not-in-set", "field": "state", "values": ["lost"], "action": "log"},
    {"type": "length", "field": "name", "max": 6, "severity": "warning"},
    {"type": "date-range", "field": "made", "notInFuture": True},
    {"type": "compare-columns", "field": "age", "operator": ">", "other": "low", "severity": "warning"},
    {"type": "expression", "condition": "CASE WHEN id = 50 THEN CAST(name AS INTEGER) > 0 ELSE age < 180 END"},
    {"type": "email", "field": "address", "severity": "warning"},
    {"type": "url", "field": "site", "severity": "warning"},
    {"type": "uuid", "field": "key", "severity": "warning"},
    {"type": "ip", "field": "host", "severity": "warning"},
    {"type": "type", "field": "number", "is": "int", "severity": "warning"},
    {"type": "date-format", "field": "day", "format": "%d.%m.%Y", "severity": "warning"},
    {"type": "json-schema", "field": "json", "schema": {"properties": {"a": {"type": "integer"}}}, "severity": "warning"},
    {"type": "row-count", "min": ROWS, "max": ROWS},
    {"type": "distinct-count", "field": "state", "min": 3},
    {"type": "null-ratio", "field": "mail", "max": 0.01},
    {"type": "distinct-ratio", "field": "mail", "min": 0.9},
    {"type": "statistic", "field": "age", "statistic": "mean", "max": 50},
    {"type": "freshness", "field": "made", "maxAge": "1d"},
    {"type": "schema", "columns": COLUMNS},
]
NAMED = [{"id": f"{at}-{rule['type']}", **rule} for at, rule in enumerate(RULES)]
ONCE = {"id": "once", "type": "unique", "field": "mail"}


def shuffled(table: pa.Table, rows: int, seed: int) -> list[pa.RecordBatch]:
    batches = table.combine_chunks().to_batches(max_chunksize=rows)
    random.Random(seed).shuffle(batches)
    return batches


def same(came: Came, expected: Result) -> None:
    """What came is what `check` says: each row once, every violation, and all counts."""
    assert sorted(map(repr, (row for row, _, _ in came.valid))) == sorted(map(repr, expected.valid.to_pylist()))
    reasons = {row["id"]: row.pop("_rules") for row, _, _ in came.rejected}
    assert sorted(map(repr, (row for row, _, _ in came.rejected))) == sorted(map(repr, expected.rejected.to_pylist()))
    wanted: dict[int, list[str]] = {}
    for violation in expected.violations_with_records():
        wanted.setdefault(violation["record"]["id"], []).append(violation["rule"])
    assert reasons == {row: list(dict.fromkeys(rules)) for row, rules in wanted.items() if row in reasons}
    named = ("rule", "type", "field", "value", "severity", "action", "message")
    found, told = (
        Counter(tuple(one[name] for name in named) for one in some) for some in (came.violations, expected.violations.to_pylist())
    )
    assert found == told
    (counts,) = came.counts
    assert (counts["window"], counts["late"]) == (None, False)
    assert {name: counts[name] for name in counts if name not in ("window", "late")} == {
        name: value for name, value in expected.to_dict().items() if name not in ("ok", "status")
    }


def test_every_kind_of_rule_is_tried() -> None:
    assert {rule["type"] for rule in RULES} == set(kinds._HOMES) - {"monotonic", "drift"}  # which CheckRows refuses
    told = check(PEOPLE, NAMED, references={"countries": COUNTRIES}, now=NOW)
    quiet = [one.rule.id for one in told.rules if one.holds is not False and not one.tally.violated and not one.tally.failed]
    assert quiet == ["18-row-count", "23-freshness"]


@pytest.mark.parametrize(("shards", "rows"), [(1, 40), (2, 97), (16, 13)])
def test_all_rules_say_what_check_says(shards: int, rows: int) -> None:
    given = CheckRows(NAMED, schema=PEOPLE.schema, references={"countries": COUNTRIES}, order="id", shards=shards, now=NOW)
    came = bounded(shuffled(PEOPLE, rows, shards), given)
    same(came, check(PEOPLE, NAMED, references={"countries": COUNTRIES}, now=NOW))


def test_two_worker_processes_say_it_too() -> None:
    references = {"countries": COUNTRIES}
    expected = check(PEOPLE, NAMED, references=references, now=NOW)
    options = PipelineOptions(["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    with beam.Pipeline(runner="FnApiRunner", options=options) as pipeline:
        rows = pipeline | beam.Create(shuffled(PEOPLE, 10, 1)).with_output_types(pa.RecordBatch)
        checked = rows | CheckRows(NAMED, schema=PEOPLE.schema, references=references, order="id", now=NOW)
        counts = checked.counts | beam.Map(lambda told: told["rules"])
        assert_that(counts, equal_to([expected.to_dict()["rules"]]), label="counts")
        for name in ("valid", "rejected"):
            ids = getattr(checked, name) | f"Ids {name}" >> beam.FlatMap(lambda batch: batch["id"].to_pylist())
            assert_that(ids, equal_to(getattr(expected, name)["id"].to_pylist()), label=name)


@pytest.mark.parametrize("keep", ["last", "none"])
def test_which_of_several_rows_is_kept_is_told_by_their_order(keep: str) -> None:
    rules = [{**ONCE, "keep": keep}, {"id": "pair", "type": "unique", "fields": ["low", "country"], "action": "flag", "keep": keep}]
    came = bounded(shuffled(PEOPLE, 20, 3), CheckRows(rules, schema=PEOPLE.schema, order=["id"], shards=3))
    same(came, check(PEOPLE, rules))


def test_bundles_that_are_executed_twice_change_nothing() -> None:
    given = CheckRows([*NAMED[:5], {**ONCE, "horizon": "1h", "action": "log"}], schema=PEOPLE.schema, references={"countries": COUNTRIES})
    once = bounded(shuffled(PEOPLE, 20, 3), given)
    twice = bounded(shuffled(PEOPLE, 20, 3), given, options=["--direct_runner_bundle_repeat=1"])
    # What keeps the rows is executed twice as well.
    for name in ("valid", "rejected", "counts"):
        found, wanted = (Counter(map(repr, getattr(came, name))) for came in (twice, once))
        assert found == Counter({one: 2 * times for one, times in wanted.items()})


def test_without_an_order_the_answer_is_the_same_for_any_batches() -> None:
    told = set()
    for rows, seed, shards in ((97, 0, 1), (10, 1, 16)):
        came = bounded(shuffled(PEOPLE, rows, seed), CheckRows([ONCE], schema=PEOPLE.schema, shards=shards))
        assert sorted([*came.ids("valid"), *came.ids("rejected")]) == list(range(ROWS))
        told.add(tuple(came.ids("rejected")))
    assert len(told) == 1
    assert len(told.pop()) == check(PEOPLE, [ONCE]).rejected.num_rows


def test_the_earlier_element_is_the_first() -> None:
    batches = PEOPLE.to_batches(max_chunksize=10)
    times = [1000.0 + at for at in range(len(batches))]
    backwards = [*reversed(batches)], [*reversed(times)]
    came = bounded(backwards[0], CheckRows([ONCE], schema=PEOPLE.schema), times=backwards[1])
    # Within a batch it is told by what is in the rows.
    first: dict[str, int] = {}
    for row in PEOPLE.to_pylist():
        first.setdefault(row["mail"], row["id"] // 10)
    for row, _, time in came.rejected:
        assert 1000.0 + first[row["mail"]] <= time
    kept = Counter(row["mail"] for row, _, time in came.valid if row["mail"] and 1000.0 + first[row["mail"]] == time)
    assert set(kept.values()) == {1}
    assert len(kept) == len({row["mail"] for row in PEOPLE.to_pylist() if row["mail"]})


@pytest.mark.parametrize("window", [FixedWindows(20), SlidingWindows(40, 20)], ids=["fixed", "sliding"])
def test_in_windows_rows_are_compared_with_those_of_the_same_window(window: Any) -> None:
    batches = PEOPLE.to_batches(max_chunksize=10)
    times = [100.0 + 7 * at for at in range(len(batches))]
    given = CheckRows([{**ONCE, "scope": "window"}], schema=PEOPLE.schema, order="id", shards=4)
    came = bounded(shuffled(pa.Table.from_batches(batches), 10, 0), given, window, _shuffled_like(times))
    spans = _spans(times, window)
    expected: dict[Any, list[int]] = {}
    for span, numbers in spans.items():
        seen: set[str] = set()
        for row in (row for number in numbers for row in batches[number].to_pylist()):
            if row["mail"] in seen:
                expected.setdefault(span, []).append(row["id"])
            seen |= {row["mail"]} - {None}
    found: dict[Any, list[int]] = {}
    for row, span, _ in came.rejected:
        found.setdefault(span, []).append(row["id"])
    assert {span: sorted(ids) for span, ids in found.items()} == expected
    everything = Counter((row["id"], span) for row, span, _ in [*came.valid, *came.rejected])
    assert everything == Counter((row, span) for span, numbers in spans.items() for n in numbers for row in batches[n]["id"].to_pylist())
    assert {counts["window"]["start"]: counts["rejected"] for counts in came.counts} == {
        dt.datetime.fromtimestamp(start, dt.timezone.utc).isoformat(): len(expected.get((start, end), [])) for start, end in spans
    }
    # Rows that have an end keep their times.
    assert {time for _, _, time in came.valid} <= set(times)


def _shuffled_like(times: list[float]) -> list[float]:
    mixed = list(times)
    random.Random(0).shuffle(mixed)
    return mixed


def _spans(times: list[float], window: Any) -> dict[tuple[float, float], list[int]]:
    """Which batches are in each window, by hand."""
    size, step = (40, 20) if isinstance(window, SlidingWindows) else (20, 20)
    starts = range(0, 300, step)
    inside = {(float(s), float(s + size)): [at for at, time in enumerate(times) if s <= time < s + size] for s in starts}
    return {span: numbers for span, numbers in inside.items() if numbers}


def test_rows_behind_it_are_grouped_in_the_windows_that_they_came_in() -> None:
    times = [100.0 + 7 * at for at in range(10)]
    batches = PEOPLE.to_batches(max_chunksize=10)
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        made = pipeline | beam.Create(list(zip(batches, times, strict=True)), reshuffle=False)
        rows = made | beam.MapTuple(TimestampedValue).with_output_types(pa.RecordBatch) | beam.WindowInto(SlidingWindows(40, 20))
        checked = rows | CheckRows([{**ONCE, "scope": "window"}], schema=PEOPLE.schema)
        both = (checked.valid, checked.rejected) | beam.Flatten()
        counted = both | beam.Map(lambda batch: batch.num_rows) | beam.CombineGlobally(sum).without_defaults()
        found = counted | beam.Map(lambda rows, window=beam.DoFn.WindowParam: (float(window.start), rows))
        spans = _spans(times, SlidingWindows(40, 20))
        assert_that(found, equal_to([(start, sum(batches[at].num_rows for at in inside)) for (start, _), inside in spans.items()]))


def test_the_data_set_is_all_windows_together() -> None:
    batches = PEOPLE.to_batches(max_chunksize=10)
    times = [100.0 + 7 * at for at in range(len(batches))]
    rules, references = [ONCE, NAMED[4]], {"countries": COUNTRIES}
    given = CheckRows(rules, schema=PEOPLE.schema, order="id", references=references)
    came = bounded(batches, given, FixedWindows(20), times)
    assert came.ids("rejected") == check(PEOPLE, rules, references=references).rejected["id"].to_pylist()
    assert all(span[0] <= time < span[1] for _, span, time in [*came.valid, *came.rejected])


def test_no_rows_are_counted_too() -> None:
    rules = [ONCE, {"id": "some", "type": "row-count", "min": 1}]
    came = bounded(PEOPLE.schema.empty_table().to_batches(), CheckRows(rules, schema=PEOPLE.schema))
    (counts,) = came.counts
    assert (counts["total"], counts["rules"][1]["holds"]) == (0, False)
    assert not came.valid


def test_rows_that_nobody_gave_a_time_may_be_in_a_window_too() -> None:
    came = bounded(PEOPLE.to_batches(), CheckRows([{**ONCE, "scope": "window"}], schema=PEOPLE.schema, order="id"), FixedWindows(60))
    assert came.ids("rejected") == check(PEOPLE, [ONCE]).rejected["id"].to_pylist()
    assert [(counts["window"], counts["total"]) for counts in came.counts] == [({"start": None, "end": None}, ROWS)]
