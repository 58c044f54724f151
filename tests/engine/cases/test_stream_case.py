"""Tests of streams' definitions: rows are the messages of one partition, with the time of their event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.engine.cases.case import Verdict, run
from beam_pipelines.spec import loads

DEFINITION = """\
name: Clicks
stream:
  source: {{type: kafka, topic: clicks, outOfOrderness: 5s, {source}}}
  processors:
    - {{id: big, type: filter, condition: value < 100}}
    - {{id: sums, type: window, window: {window}, groupBy: [user], aggregations: {{total: "sum:value", newest: "last:value"}}, {more}}}
    - {{id: named, type: map, unmapped: keep, mappings: {{twice: {{expression: total * 2}}}}}}
  sinks: [{{type: database, connection: db, table: sums}}]
tests:
  - name: one
    input: {input}
    expect: {expect}
"""
TUMBLING = "{type: tumbling, size: 1m}"


def verdict(given: str, expect: str, window: str = TUMBLING, source: str = "", more: str = "late: deadletter") -> Verdict:
    text = DEFINITION.format(source=source or "idleTimeout: 30s", window=window, more=more, input=given, expect=expect)
    return run(loads(text, "service.yaml").definition, Path(), 0)


def event(at: str, value: int, user: str = "ann", field: str = "timestamp") -> str:
    return f'{{user: {user}, value: {value}, {field}: "2026-03-02T{at}Z"}}'


def rows(*events: str) -> str:
    return f"[{', '.join(events)}]"


def test_rows_are_summed_up_by_the_time_of_their_events_and_what_is_late_is_a_dead_letter() -> None:
    given = rows(event("10:00:59", 1), event("10:00:05", 2), event("10:01:06", 4, "bob"), event("10:00:58", 8), event("10:01:10", 500))
    # The third event moves the partition to 10:01:01: the fourth is of a window that has ended by then.
    expect = """{
      big: {filtered: 1},
      sums: {rows: [{windowStart: "2026-03-02T10:00:00Z", user: ann, eventCount: 2, total: 3, newest: 1},
                    {windowStart: "2026-03-02T10:01:00Z", windowEnd: "2026-03-02T10:02:00Z",
                     user: bob, eventCount: 1, total: 4, newest: 4}],
             dead: [{code: late-row, row: {value: 8}}]},
      named: {rows: [{user: ann, twice: 6}, {user: bob, twice: 8}]}}"""
    verdict(given, expect).check()


def test_what_is_lost_on_the_way_moves_the_time_of_its_partition_all_the_same() -> None:
    given = rows(event("10:00:59", 1), event("10:01:06", 500), event("10:00:58", 8))
    verdict(given, "{sums: {rows: [{total: 1}], dead: [{code: late-row, row: {value: 8}}]}}").check()


def test_lateness_is_allowed_as_the_definition_says() -> None:
    given = rows(event("10:00:59", 1), event("10:01:06", 4), event("10:00:58", 8))
    verdict(given, "{sums: {rows: [{total: 9}, {total: 4}], dead: []}}", more="allowedLateness: 30s").check()


def test_sessions_end_where_nothing_comes_for_so_long() -> None:
    given = rows(event("10:00:00", 1), event("10:00:09", 2), event("10:00:19", 4))
    first = '{windowStart: "2026-03-02T10:00:00Z", windowEnd: "2026-03-02T10:00:19Z", total: 3}'
    last = '{windowStart: "2026-03-02T10:00:19Z", windowEnd: "2026-03-02T10:00:29Z", total: 4}'
    verdict(given, f"{{sums: {{rows: [{first}, {last}]}}}}", window="{type: session, gap: 10s}").check()


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("timestampField: at", '{user: ann, value: 1, at: "2026-03-02T10:00:30Z"}'),
        ("timestampField: at, timestampUnit: s", "{user: ann, value: 1, at: 1772445630}"),
        ("timestampField: at, timestampZone: Europe/Berlin", '{user: ann, value: 1, at: "2026-03-02T11:00:30"}'),
        ("startFrom: latest", "{user: ann, value: 1, timestamp: 1772445630000}"),
    ],
)
def test_the_time_of_an_event_is_read_as_the_source_reads_it(source: str, given: str) -> None:
    verdict(f"[{given}]", '{sums: {rows: [{windowStart: "2026-03-02T10:00:00Z", total: 1}]}}', source=source).check()


@pytest.mark.parametrize(
    ("given", "path", "why"),
    [
        ("[{user: ann, value: 1}]", "tests[0].input", "expected a column 'timestamp'"),
        ('[{user: ann, value: 1, timestamp: "2026-03-02T10:00:00"}]', "tests[0].input[0].timestamp", "text that is no ISO 8601"),
    ],
)
def test_rows_without_a_time_are_refused_with_their_place(given: str, path: str, why: str) -> None:
    error: Any = verdict(given, "{sums: {rows: []}}").error
    (problem,) = error.problems
    assert problem.path == path
    assert why in problem.message


JOINED = """\
name: Clicks
stream:
  source: {{type: kafka, topic: shown, outOfOrderness: 5s}}
  processors:
    - id: clicked
      type: join
      source: {{type: kafka, topic: clicks, outOfOrderness: 5s, transformations: [{{id: big, type: filter, condition: cost < 100}}]}}
      on: [user]
      how: {how}
      within: 1m
      suffix: _click
  sinks: [{{type: database, connection: db, table: clicked}}]
tests:
  - name: one
    input: {input}
    sources: {{clicked: {clicks}}}
    expect: {expect}
"""


def joined(given: str, clicks: str, expect: str, how: str = "inner") -> Verdict:
    text = JOINED.format(how=how, input=given, clicks=clicks, expect=expect)
    return run(loads(text, "service.yaml").definition, Path(), 0)


def test_rows_of_two_streams_meet_within_a_time_and_what_is_late_of_either_is_a_dead_letter() -> None:
    shown = rows(event("10:00:00", 1), event("10:00:30", 2, "bob"), event("10:00:20", 4))
    # 10:01:01 is more than a minute behind the first, and moves the partition to 10:00:56.
    clicks = rows(event("10:00:59", 7).replace("value", "cost"), event("10:01:01", 8).replace("value", "cost"))
    clicks = clicks.replace("]", f", {event('10:00:40', 9).replace('value', 'cost')}]")
    joined(
        shown,
        clicks,
        """{clicked: {rows: [{user: ann, value: 1, cost: 7}],
            dead: [{code: late-row, row: {value: 4}}, {code: late-row, row: {cost: 9}}]}}""",
    ).check()
    joined(
        shown,
        clicks,
        """{clicked: {rows: [{value: 1, cost: 7}, {value: 2, cost: null}, {value: null, cost: 8}],
            dead: [{code: late-row, row: {value: 4}}, {code: late-row, row: {cost: 9}}]}}""",
        "full",
    ).check()


def test_rows_of_a_joined_topic_without_a_time_are_told_with_their_place() -> None:
    clicks = '[{user: ann, cost: 1, timestamp: "2026-03-02T10:00:00Z"}, {user: ann, cost: 1, timestamp: null}]'
    found = joined(rows(event("10:00:00", 1)), clicks, "{clicked: {rows: []}}")
    assert found.error is not None
    assert [problem.path for problem in found.error.problems] == ["tests[0].sources.clicked[1].timestamp"]


RULED = """\
name: Clicks
stream:
  source: {{type: kafka, topic: clicks}}
  processors:
    - {{id: check, type: validate, rules: [{{id: once, type: unique, field: value, {rule}}}]}}
    - {{id: sums, type: window, window: {{type: tumbling, size: 1m}}, allowedLateness: 10m, aggregations: {{total: "sum:value"}}}}
  sinks: [{{type: database, connection: db, table: sums}}]
tests:
  - name: one
    input: {input}
    expect: {expect}
"""


@pytest.mark.parametrize(
    ("rule", "violated", "totals"),
    [
        # The last one comes 30 s behind the first.
        ("horizon: 30s", [1], [3, 1]),
        ("horizon: 31s", [1, 1], [3]),
        ("scope: window", [1], [3, 1]),
    ],
)
def test_a_value_that_comes_again_is_rejected_as_the_rule_says(rule: str, violated: list[int], totals: list[int]) -> None:
    given = rows(event("10:00:40", 1), event("10:00:41", 2), event("10:00:40", 1), event("10:01:10", 1, "bob"))
    dead = ", ".join(f"{{code: rule-violated, row: {{value: {value}}}}}" for value in violated)
    sums = ", ".join(f"{{total: {total}}}" for total in totals)
    text = RULED.format(rule=rule, input=given, expect=f"{{check: {{dead: [{dead}]}}, sums: {{rows: [{sums}]}}}}")
    run(loads(text, "service.yaml").definition, Path(), 0).check()
