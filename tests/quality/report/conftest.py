"""Runs with rules, as the record has them, made by hand: of every verdict, with examples, a profile and a history."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from beam_pipelines.state.record import Execution, Metrics, QualityRecord, Step, Transformation

END = datetime(2026, 11, 26, 6, 20, 3, tzinfo=timezone.utc)
RUN = "40b2eeb6370d"


def rule(name: str, violated: int = 0, evaluated: int = 1000, **more: Any) -> dict[str, Any]:
    told = {"rule": name, "type": "regex", "severity": "error", "action": "reject", "fields": [name]}
    counts = {"evaluated": evaluated, "violated": violated, "notEvaluated": 1000 - evaluated, "ruleErrors": 0}
    return {**told, **counts, **more}


def whole(name: str, measured: Any, holds: bool | None, **more: Any) -> dict[str, Any]:
    told = {"rule": name, "type": "row-count", "severity": "error", "holds": holds, "measured": measured, "notEvaluated": 0}
    return {**told, "message": "expected a number of rows of at least 100", **more}


def example(name: str, value: Any, **more: Any) -> dict[str, Any]:
    told = {"rule": name, "field": name, "value": value, "severity": "error", "message": "does not match the pattern", "recordIndex": 7}
    return {**told, "origin": {"source": "people", "key": {"id": 17}}, "record": {"id": 17, name: value}, **more}


def run(*rules: dict[str, Any], status: Any = "success", examples: Any = (), profile: Any = None, **more: Any) -> Execution:
    """A run of a thousand rows, of which 12 fail and 30 have a warning, unless it says otherwise."""
    quality: dict[str, Any] = {"total": 1000, "passed": 988, "failed": 12, "warnings": 30} | more.pop("quality", {})
    quality |= {"examples": list(examples)} if examples else {}
    quality |= {"profile": profile} if profile else {}
    one = Transformation("rules", duration=41, records_in=1000, records_out=988, records_rejected=12, rules=rules, quality=quality)
    told: dict[str, Any] = {
        "kind": "quality",
        "completed_at": END,
        "duration": 3000,
        "metrics": Metrics(1000, 988, 988, records_rejected=12),
    }
    steps = (Step("extract", record_count=1000), Step("transform", transformations=(one,)), Step("load"))
    return Execution("customer-quality", RUN, END - timedelta(seconds=3), "Customer quality", status=status, steps=steps, **told | more)


def past(days: int, failed: int, *rules: dict[str, Any], total: int = 1000, **more: Any) -> QualityRecord:
    told = {"status": "success", "warnings": 0, "result": {"rules": list(rules)}} | more
    counts: dict[str, Any] = {"total": total, "passed": total - failed, "failed": failed}
    return QualityRecord("customer-quality", f"{days:012d}", "rules", None, END - timedelta(days=days), **counts, **told)


PROFILE = {
    "rows": 1000,
    "columns": {
        "id": {
            "type": "int64",
            "count": 1000,
            "nulls": 0,
            "distinct": 1000,
            "top": [{"value": 1, "count": 1}],
            "nan": 0,
            "min": 1,
            "max": 1000,
            "mean": 500.5,
            "quantiles": {"0.05": 50.95, "0.25": 250.75, "0.5": 500.5, "0.75": 750.25, "0.95": 950.05},
        },
        "email": {
            "type": "string",
            "count": 950,
            "nulls": 50,
            "distinct": 940,
            "distinctApproximate": True,
            "top": [{"value": "no@example.org", "count": 7}, {"value": "n1@example.org", "count": 1}],
            "empty": 3,
            "length": {"min": 0, "max": 41, "mean": 15.2},
            "patterns": [{"value": "a9@a.a", "count": 900}],
        },
        "plan": {
            "type": "string",
            "count": 1000,
            "nulls": 0,
            "distinct": 3,
            "top": [{"value": "free", "count": 700}, {"value": "pro", "count": 250}, {"value": "team", "count": 50}],
            "empty": 0,
            "length": {"min": 3, "max": 4, "mean": 3.8},
        },
        "born": {"type": "date32[day]", "count": 400, "nulls": 600, "distinct": 300, "top": [], "min": "1931-02-03", "max": "2008-12-31"},
        "password": {"type": "string", "count": 1000, "nulls": 0, "distinct": 900, "withheld": True},
        "tags": {"type": "list<item: string>", "count": 10, "nulls": 990},
    },
}


def rich() -> Execution:
    """A run that has one of everything."""
    rules = (
        rule("name", 0, description="Who we write to."),
        rule("email", 45, 950, type="unique", mostly=0.99, holds=False, duplicates={"laterRows": 45, "keys": 15, "members": 60}),
        rule("phone", 12, ruleErrors=2),
        rule("age", 30, severity="warning", action="flag", maxFailures="5%", holds=True),
        rule("city", 4, severity="info", action="log"),
        rule("gone", 0, 0),
        whole("enough", 1000, True),
        whole("columns", {"id": "int64", "name": "string"}, False, severity="warning", type="schema"),
        whole("fresh", None, None, type="freshness"),
    )
    shown = [example("email", f"no{n}@example.org", message="repeats a value") for n in range(3)]
    shown.append(example("phone", "12", origin={"source": "people.csv", "row": 16, "line": 18}, record=None))
    shown.append(example("age", 212, severity="warning", message="not from 0 to 150"))
    error = "45 of 950 rows violate the rule 'email', and 99% of them must hold"
    quality = {"passed": 941, "failed": 59}
    return run(*rules, status="failed", error=error, error_code="rule-broken", examples=shown, profile=PROFILE, quality=quality)


def rich_history() -> list[QualityRecord]:
    return [past(day, 10 + 3 * (day % 4), rule("email", 5 + day % 6, 950), rule("phone", day % 3)) for day in range(1, 15)]


HOSTILE = {
    "script": "<script>window.ran = 1</script>",
    "image": '"><img src=x onerror="window.ran = 1">',
    "attribute": "' onmouseover='window.ran=1' x='",
    "style": "</style><style>body{display:none}</style>",
    "comment": "--><b id=made>",
    "entity": "&lt;b&gt; &amp;#60;",
    "braces": "{{ 7 * 7 }}{% raw %}",
    "override": "abc\u202egnp.exe\u202c\u2066x",
    "nul": "a\x00b\x07c\x1b[31m",
    "surrogate": "x\ud800y\udfffz",
    "cdata": "]]><failure/>",
    "emoji": "\N{FAMILY} \U0001f468\u200d\U0001f469\u200d\U0001f467 \N{PILE OF POO}",
    "arabic": "\u0645\u0631\u062d\u0628\u0627",
    "long": "x" * 10_240,
    "lines": "a\nb\r\nc\td",
    "zalgo": "Z" + "\u0351\u036b" * 60,
}


def hostile() -> Execution:
    """A run in which everything that a row, a definition or an error may say is hostile."""
    every = "".join(value for name, value in HOSTILE.items() if name != "long")
    names = list(HOSTILE)
    rules = tuple(rule(name, 1, fields=[value], description=value, mostly=0.9, holds=False) for name, value in HOSTILE.items())
    shown = [example(name, HOSTILE[name], message=HOSTILE[name], field=HOSTILE[name]) for name in names]
    for one, value in zip(shown, HOSTILE.values(), strict=True):
        one |= {"origin": {"source": value, "key": {value: value}}, "record": {value: value, "list": [value, {value: value}]}}
    columns = {
        value: {"type": value, "count": 10, "nulls": 1, "distinct": 2, "top": [{"value": value, "count": 3}], "min": value, "max": value}
        for value in HOSTILE.values()
    }
    more = (whole(every, {every: HOSTILE["long"]}, False, message=every + HOSTILE["long"]),)
    made = run(
        *rules, *more, status="failed", error=every, error_code="rule-broken", examples=shown, profile={"rows": 11, "columns": columns}
    )
    return replace(made, name=every + HOSTILE["long"])


class Samples:
    """What tests make reports of."""

    END, RUN, HOSTILE, PROFILE = END, RUN, HOSTILE, PROFILE
    rule, whole, example, run, past = map(staticmethod, (rule, whole, example, run, past))
    rich, rich_history, hostile = map(staticmethod, (rich, rich_history, hostile))


@pytest.fixture(scope="session")
def samples() -> type[Samples]:
    return Samples
