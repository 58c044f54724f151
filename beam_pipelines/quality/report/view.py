"""What a page shows of a report: its values as words, and where the lines and bars of its charts lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beam_pipelines.quality.report import charts
from beam_pipelines.quality.report.made import Report
from beam_pipelines.quality.report.place import place
from beam_pipelines.quality.report.quantity import count, day, figure, many, percent, share
from beam_pipelines.quality.report.text import json_text
from beam_pipelines.quality.report.verdict import looked_at, violating

__all__ = ["SHOWN", "figures_of", "view_of"]

SHOWN = 20  # examples of a rule
_TOP = 4  # of the values that occur most often
_VERDICTS = {
    "failed": "Failed",
    "violated": "Rows violate",
    "warned": "Warning",
    "noted": "Noted",
    "not-evaluated": "Not judged",
    "passed": "Passed",
}


def figures_of(report: Report) -> list[dict[str, Any]]:
    """Return the few numbers at the top; those that are nothing are left out, where that says nothing."""
    if not report["steps"]:
        return []
    rules = [rule for step in report["steps"] for rule in step["rules"]]
    well = sum(rule["verdict"] in ("passed", "noted") for rule in rules)
    told: list[tuple[str, str, str, str]] = [
        ("Rows checked", count(report["total"]), "", ""),
        ("Rows failed", count(report["failed"]), percent(share(report["failed"], report["total"])), "bad" if report["failed"] else ""),
        (
            "Rows with warnings",
            count(report["warnings"]),
            percent(share(report["warnings"], report["total"])),
            "soft" if report["warnings"] else "",
        ),
        ("Rows rejected", count(report["recordsRejected"]), "kept aside" if report["recordsRejected"] else "", ""),
        ("Rules met", f"{count(well)} of {count(len(rules))}", "", ""),
    ]
    if report["recordsDeadLettered"]:
        told.append(("Rows not readable", count(report["recordsDeadLettered"]), "not among those checked", "soft"))
    return [dict(zip(("label", "value", "note", "kind"), one, strict=True)) for one in told]


def view_of(step: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return what is shown of a step of rules.

    Args:
        step: Of a report.
        number: Of the step, for the ids of its parts.
    """
    trend = step["trend"]
    rules = [_rule(rule, trend, f"r{number}-{at}") for at, rule in enumerate(step["rules"])]
    return {
        **step,
        "id": f"s{number}",
        "title": ", ".join(filter(None, [step["step"], step["table"]])),
        "rules": rules,
        "shown": [rule for rule in rules if rule["shown"]],
        "chart": _chart(trend),
        "profile": [_column(column) for column in step.get("profile", ())],
    }


def _chart(trend: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    rates = [point["passRate"] for point in trend]
    if sum(rate is not None for rate in rates) < 2:
        return None
    low = charts.floor_of(rates)
    points, path = charts.line(rates, low, 1.0)
    dots = [
        {"x": at[0], "y": at[1], "kind": "last" if point is trend[-1] else "", "told": _told(point)}
        for at, point in zip(points, trend, strict=True)
        if at is not None
    ]
    return {"path": path, "dots": dots, "low": percent(low), "middle": percent(round((low + 1) / 2, 6)), "cut": low > 0}


def _told(point: Mapping[str, Any]) -> str:
    return f"{day(point['timestamp'])}: {percent(point['passRate'])} of {many(point['total'], 'row')}"


def _rule(rule: Mapping[str, Any], trend: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    examples = rule.get("examples", [])
    part = violating(rule)
    values = [(point["rules"].get(rule["rule"]) or {}).get("violatedShare") for point in trend]
    whole = "measured" in rule
    return {
        **dict.fromkeys(("action", "description", "expected")),
        "ruleErrors": 0,
        **rule,
        "id": name,
        "verdict_text": _VERDICTS[rule["verdict"]],
        "fields_text": ", ".join(rule.get("fields") or ()),
        "whole": whole,
        "nested": isinstance(rule.get("measured"), (dict, list)),
        "measured_text": _measured(rule.get("measured")) if whole else "",
        "part": part,
        "looked_at": looked_at(rule),
        "width": _width(rule["violatedShare"]),
        "unsaid": rule.get("notEvaluated", 0),
        "duplicates_text": _duplicates(rule.get("duplicates")),
        "spark": None if whole else _spark(values),
        "shown": [_example(one) for one in examples[:SHOWN]],
        "capped": _capped(min(SHOWN, len(examples)), part, len(examples)),
    }


def _measured(value: Any) -> str:
    """A figure; what has parts, such as a schema, as JSON."""
    return json_text(value) if isinstance(value, (dict, list)) else figure(value)


def _duplicates(counts: Mapping[str, int] | None) -> str:
    if not counts:
        return ""
    keys = counts["keys"]
    return f"{many(keys, 'value')} {'occurs' if keys == 1 else 'occur'} more than once, in {many(counts['members'], 'row')}"


def _width(value: float | None) -> float:
    """How long the bar of a share is; one that is something can be seen."""
    return 0.0 if not value else round(max(1.5, 100 * value), 2)


def _spark(values: Sequence[float | None]) -> dict[str, Any] | None:
    there = [value for value in values if value is not None]
    if len(there) < 2:
        return None
    # What never changes runs through the middle: at an edge it would look like a greatest or least.
    points, path = charts.line(values, 0.0, max(there) * (2 if max(there) == min(there) else 1) or 1.0)
    x, y = next(point for point in reversed(points) if point is not None)
    told = f"rows that violate over {many(len(there), 'run')}: from {percent(there[0])} to {percent(there[-1])}"
    return {"path": path, "x": x, "y": y, "told": told}


def _capped(shown: int, part: int, known: int) -> str:
    """Say how many examples there are of how many rows."""
    if shown < known or shown < part:
        rest = "; the JSON report has more" if shown < known else ""
        return f"{many(shown, 'example')} of {many(max(part, known), 'violation')}: the list is capped{rest}"
    return f"all {many(shown, 'example')}" if shown > 1 else "the only one"


def _example(example: Mapping[str, Any]) -> dict[str, Any]:
    record = example.get("record")
    return {
        "field": example.get("field") or "",
        "value": example.get("value"),
        "message": example.get("message") or "",
        "place": place(example),
        "record": list(record.items()) if isinstance(record, Mapping) else [],
    }


def _column(column: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of a column: whatever is not known of it is left empty."""
    there, nulls = column.get("count") or 0, column.get("nulls") or 0
    top = list(column.get("top") or ())[:_TOP]
    box = charts.box(column)
    return {
        "name": column["column"],
        "type": column.get("type", ""),
        "filled": percent(share(there, there + nulls)),
        "nulls": nulls,
        "width": round(100 * (share(there, there + nulls) or 0), 2),
        "distinct": _about(column, "distinct"),
        "least": _end(column, "min"),
        "greatest": _end(column, "max"),
        "mean": figure(column.get("mean")),
        "withheld": bool(column.get("withheld")),
        "box": box,
        "top": [] if box else [_often(one, there) for one in top],
    }


def _often(value: Mapping[str, Any], there: int) -> dict[str, Any]:
    part = share(value["count"], there)
    return {"value": value["value"], "width": _width(part), "share": percent(part)}


def _about(column: Mapping[str, Any], name: str) -> str:
    value = column.get(name)
    return "" if value is None else f"{'about ' if column.get('distinctApproximate') else ''}{count(value)}"


def _end(column: Mapping[str, Any], name: str) -> Any:
    """The least or greatest value; of text how long it is."""
    if column.get(name) is not None:
        return figure(column[name])
    length = (column.get("length") or {}).get(name)
    return None if length is None else many(length, "character")
