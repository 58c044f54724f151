"""A report as the XML that JUnit made the common form of, and that every CI reads: a suite for each step of rules, a case for each rule.

A case fails where a rule of severity error does not hold as a whole or, where it has no threshold, where rows violate it. It is an error
where the rule itself failed on rows, and skipped where there was nothing to look at. Warnings do not fail: they are in `system-out`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from beam_pipelines.quality.report.made import Report
from beam_pipelines.quality.report.place import place
from beam_pipelines.quality.report.quantity import count, figure, many, percent
from beam_pipelines.quality.report.text import xml_text
from beam_pipelines.quality.report.verdict import looked_at, violating

__all__ = ["SHOWN", "xml"]

SHOWN = 20  # examples of a rule
_CHARACTERS = 500  # of a value

Element = ElementTree.Element


def xml(report: Report) -> bytes:
    """Return a report as JUnit's XML, in UTF-8."""
    suites = [_suite(report, step) for step in report["steps"]]
    if not suites or (report["runStatus"] != "success" and not _by_rules(report)):
        suites.append(_run(report))  # a run that failed for a reason of its own must not look as if all were well
    root = Element("testsuites", {"name": xml_text(report["name"]), **_sums(suites)})
    root.extend(suites)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _by_rules(report: Report) -> bool:
    """Whether a run that failed did so because a rule that is among the cases does not hold."""
    failed = any(rule["verdict"] == "failed" for step in report["steps"] for rule in step["rules"])
    return failed and report["errorCode"] in ("rule-broken", None)


def _sums(suites: Sequence[Element]) -> dict[str, str]:
    whole = {name: str(sum(int(suite.attrib[name]) for suite in suites)) for name in ("tests", "failures", "errors")}
    return whole | {"time": f"{sum(float(suite.attrib['time']) for suite in suites):.3f}"}


def _made(report: Report, name: str, cases: Sequence[Element], seconds: float, told: Mapping[str, Any]) -> Element:
    found = {what: sum(case.find(tag) is not None for case in cases) for what, tag in _TAGS.items()}
    moment = (report["completedAt"] or report["startedAt"])[:19]  # ISO 8601 without a zone, as Ant writes it
    counts = {what: str(number) for what, number in found.items()}
    sums = {"tests": str(len(cases)), **counts, "time": f"{seconds:.3f}"}
    suite = Element("testsuite", {"name": xml_text(name), **sums, "timestamp": moment})
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in told.items():
        if value is not None:
            ElementTree.SubElement(properties, "property", name=key, value=xml_text(str(value)))
    suite.extend(cases)
    return suite


_TAGS = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def _suite(report: Report, step: Mapping[str, Any]) -> Element:
    name = ".".join(filter(None, [report["serviceId"], step["table"], step["step"]]))
    told = {"runId": report["runId"], **{key: step[key] for key in ("total", "passed", "failed", "warnings", "passRate")}}
    return _made(report, name, [_case(name, rule) for rule in step["rules"]], step["durationSeconds"], told)


def _run(report: Report) -> Element:
    name = report["serviceId"]
    case = Element("testcase", classname=xml_text(name), name="run", time="0.000")
    _say(case, "error", report["summary"], report["errorCode"] or report["runStatus"], report["error"] or report["summary"])
    return _made(report, name, [case], report["durationSeconds"] or 0.0, {"runId": report["runId"]})


def _case(suite: str, rule: Mapping[str, Any]) -> Element:
    case = Element("testcase", classname=xml_text(suite), name=xml_text(rule["rule"]), time="0.000")
    verdict, lines = rule["verdict"], _lines(rule)
    if verdict in ("failed", "violated"):
        kind = "failure" if verdict == "failed" or (rule.get("violated") and rule["severity"] == "error") else "error"
        _say(case, kind, lines[0], rule["type"], "\n".join(lines))
    elif verdict == "not-evaluated":
        _say(case, "skipped", "there was nothing to look at")
    elif violating(rule) or verdict in ("warned", "noted"):
        ElementTree.SubElement(case, "system-out").text = xml_text("\n".join([f"{rule['severity']}: {lines[0]}", *lines[1:]]))
    return case


def _say(case: Element, tag: str, message: str, kind: str = "", text: str = "") -> None:
    made = ElementTree.SubElement(case, tag, message=xml_text(message))
    if kind:
        made.set("type", xml_text(kind))
    made.text = xml_text(text) or None


def _lines(rule: Mapping[str, Any]) -> list[str]:
    """What there is to say of a rule: how it stands, and examples."""
    asked = rule.get("expected")
    if "measured" in rule:
        got = rule["measured"]
        return [f"{asked}, got {figure(got)}" if isinstance(got, (int, float, str)) else str(asked)]
    part, whole = violating(rule), looked_at(rule)
    first = f"{count(part)} of {many(whole, 'row')} ({percent(rule['violatedShare'])}) {'violates' if part == 1 else 'violate'} the rule"
    broken = f", {count(rule['ruleErrors'])} of them because it failed on them itself" if rule.get("ruleErrors") else ""
    examples = rule.get("examples", [])
    told = [_example(one) for one in examples[:SHOWN]]
    more = [f"... {many(len(told), 'example')} of {many(part, 'row')}"] if len(told) < part and told else []
    return [first + broken + (f"; {asked}" if asked else ""), *told, *more]


def _example(example: Mapping[str, Any]) -> str:
    value = example.get("value")
    shown = "null" if value is None else str(value)
    shown = shown if len(shown) <= _CHARACTERS else f"{shown[:_CHARACTERS]}..."
    where = place(example)
    return f"{f'{where}: ' if where else ''}{example.get('field') or 'row'}: {shown}: {example.get('message', '')}"
