"""A report as values: counted by hand from the record it is made of."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from beam_pipelines.quality.report import TREND_RUNS, is_reported, make
from beam_pipelines.state.record import Execution, Metrics


def test_a_report_has_the_counts_of_the_record(samples: Any) -> None:
    made = make(samples.rich(), samples.rich_history())
    assert {
        name: made[name] for name in ("serviceId", "runId", "runStatus", "status", "total", "passed", "failed", "warnings", "passRate")
    } == {
        "serviceId": "customer-quality",
        "runId": samples.RUN,
        "runStatus": "failed",
        "status": "failed",
        "total": 1000,
        "passed": 941,
        "failed": 59,
        "warnings": 30,
        "passRate": 0.941,
    }
    assert made["completedAt"] == "2026-11-26T06:20:03.000000+00:00"
    assert (made["errorCode"], made["durationSeconds"], made["recordsRejected"]) == ("rule-broken", 3.0, 12)
    (step,) = made["steps"]
    assert (step["step"], step["total"], step["durationSeconds"]) == ("rules", 1000, 0.041)
    assert [column["column"] for column in step["profile"]] == ["id", "email", "plan", "born", "password", "tags"]
    json.dumps(made, allow_nan=False)


def test_rules_come_the_worst_first_each_with_its_share_and_its_examples(samples: Any) -> None:
    (step,) = make(samples.rich())["steps"]
    assert [(rule["rule"], rule["verdict"]) for rule in step["rules"]] == [
        ("email", "failed"),
        ("phone", "violated"),
        ("columns", "warned"),
        ("city", "noted"),
        ("gone", "not-evaluated"),
        ("fresh", "not-evaluated"),
        ("age", "passed"),
        ("name", "passed"),
        ("enough", "passed"),
    ]
    rules = {rule["rule"]: rule for rule in step["rules"]}
    assert rules["email"]["violatedShare"] == 45 / 950
    assert rules["phone"]["violatedShare"] == 14 / 1002
    assert rules["gone"]["violatedShare"] is None
    assert [one["value"] for one in rules["email"]["examples"]] == [f"no{n}@example.org" for n in range(3)]
    assert rules["email"]["expected"] == "at least 99% of rows must hold"
    assert "examples" not in rules["city"]


def test_the_trend_is_of_the_last_runs_up_to_this_one(samples: Any) -> None:
    history = [samples.past(day, day % 7, samples.rule("r", day % 7)) for day in range(-3, TREND_RUNS + 9)]  # three came later
    run = samples.run(samples.rule("r", 12))
    itself = replace(samples.past(0, 1), run=run.run)
    strange = [replace(samples.past(1, 999), step="another"), itself]
    (step,) = make(run, [*history, *strange])["steps"]
    trend = step["trend"]
    assert len(trend) == TREND_RUNS
    assert [point["runId"] for point in trend] == [f"{day:012d}" for day in range(TREND_RUNS - 2, -1, -1)] + [run.run]
    assert [point["failed"] for point in trend[-4:]] == [2, 1, 0, 12]
    assert [point["passRate"] for point in trend[-2:]] == [1.0, 0.988]
    assert trend[-2]["rules"] == {"r": {"violatedShare": 0.0, "verdict": "passed"}}
    assert trend[-1]["rules"] == {"r": {"violatedShare": 0.012, "verdict": "violated"}}


def test_without_history_the_trend_is_this_run_alone(samples: Any) -> None:
    (step,) = make(samples.run(samples.rule("r")))["steps"]
    assert [point["runId"] for point in step["trend"]] == [samples.RUN]


def test_each_load_of_a_run_has_a_step_of_its_own(samples: Any) -> None:
    run = samples.run(samples.rule("r", 12))
    extract, transform, load = run.steps
    run = replace(run, steps=(extract, *(replace(transform, table=table) for table in ("people", "orders")), load))
    old = [replace(samples.past(1, failed), table=table) for table, failed in (("people", 5), ("orders", 6))]
    made = make(run, old)
    assert [(step["table"], [point["failed"] for point in step["trend"]]) for step in made["steps"]] == [
        ("people", [5, 12]),
        ("orders", [6, 12]),
    ]
    assert (made["total"], made["failed"], made["passRate"]) == (2000, 24, 0.988)


@pytest.mark.parametrize(
    ("rules", "more", "status", "words"),
    [
        ([("rule", {})], {"quality": {"passed": 1000, "failed": 0, "warnings": 0}}, "passed", "All 1,000 rows pass every rule."),
        (
            [("rule", {"violated": 12})],
            {},
            "warned",
            "12 of 1,000 rows (1.2%) fail a rule of severity error. 30 (3%) have a warning.",
        ),
        (
            [("rule", {"violated": 1, "severity": "warning"})],
            {"quality": {"passed": 1000, "failed": 0, "warnings": 1}},
            "warned",
            "1 of 1,000 rows (0.1%) has a warning.",
        ),
        (
            [("rule", {"violated": 1, "severity": "info"}), ("rule", {"evaluated": 0})],
            {"quality": {"passed": 1000, "failed": 0, "warnings": 0}},
            "passed",
            "No row violates a rule of severity error or warning; 1 rule found nothing to look at.",
        ),
        (
            [("whole", {"measured": 7, "holds": False, "severity": "warning"})],
            {"quality": {"passed": 1000, "failed": 0, "warnings": 0}},
            "warned",
            "Rule 'r0' of severity warning does not hold: expected a number of rows of at least 100, got 7.",
        ),
        (
            [("rule", {"violated": 12, "mostly": 0.99, "holds": False}), ("whole", {"measured": 7, "holds": False})],
            {"status": "failed", "error": "12 of 1000 rows violate the rule 'r0'"},
            "failed",
            "2 rules do not hold, 'r0' among them: 12 of 1,000 rows (1.2%) violate it, and at least 99% of rows must hold."
            " The run failed, and delivered nothing.",
        ),
        ([("rule", {})], {"status": "failed", "error": "the target is away"}, "failed", "The run failed: the target is away"),
        ([("rule", {})], {"status": "cancelled", "error": "stopped"}, "failed", "The run was cancelled: stopped"),
        (
            [("rule", {"evaluated": 0, "notEvaluated": 0})],
            {"quality": {"total": 0, "passed": 0, "failed": 0, "warnings": 0}},
            "empty",
            "No rows came, so there was nothing to hold against the rules.",
        ),
    ],
)
def test_the_verdict_and_why_in_a_sentence(samples: Any, rules: list[Any], more: dict[str, Any], status: str, words: str) -> None:
    told = [getattr(samples, kind)(f"r{at}", **given) for at, (kind, given) in enumerate(rules)]
    made = make(samples.run(*told, **more))
    assert (made["status"], made["summary"]) == (status, words)


def test_a_run_that_failed_before_its_rules_were_judged_says_so(samples: Any) -> None:
    run = Execution("s", samples.RUN, samples.END, status="failed", completed_at=samples.END + timedelta(seconds=1), error="no such table")
    assert not is_reported(run)
    assert is_reported(samples.rich())
    made = make(run)
    assert (made["status"], made["steps"], made["passRate"]) == ("failed", [], None)
    assert made["summary"] == "The run failed before its rules were judged: no such table"


def test_secrets_are_taken_out_wherever_they_stand(samples: Any) -> None:
    run = samples.run(samples.rule("r", 1), examples=[samples.example("r", "pw hunter2", record={"a": ["hunter2"]})], error="hunter2")
    made = make(run, redact=lambda text: text.replace("hunter2", "***"))
    assert "hunter2" not in json.dumps(made)
    assert made["steps"][0]["rules"][0]["examples"][0]["record"] == {"a": ["***"]}


def test_rows_that_could_not_be_read_are_told(samples: Any) -> None:
    made = make(samples.run(samples.rule("r"), metrics=Metrics(1003, 1000, 1000, records_dead_lettered=3)))
    assert (made["recordsExtracted"], made["recordsDeadLettered"], made["total"]) == (1003, 3, 1000)


@pytest.mark.parametrize("name", ["column", "name", "field"])
def test_a_profile_may_be_a_list_of_columns(samples: Any, name: str) -> None:
    columns = [{name: "id", "type": "int64", "count": 3, "nulls": 0}]
    (step,) = make(samples.run(samples.rule("r"), profile=columns))["steps"]
    assert step["profile"][0].items() >= {"column": "id", "type": "int64", "count": 3}.items()
