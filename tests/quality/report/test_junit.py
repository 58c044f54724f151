"""JUnit's XML, in the form that Jenkins' xUnit plug-in describes (junit-10.xsd and before)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from beam_pipelines.quality.report import make
from beam_pipelines.quality.report.junit import SHOWN, xml

# Attributes that there may be, those that there must be, and children in their order.
SHAPE = {
    "testsuites": ({"name", "time", "tests", "failures", "disabled", "errors"}, set(), ["testsuite"]),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id", "package"},
        {"name", "tests"},
        ["properties", "testcase", "system-out", "system-err"],
    ),
    "properties": (set(), set(), ["property"]),
    "property": ({"name", "value"}, {"name", "value"}, []),
    "testcase": (
        {"name", "assertions", "time", "classname", "status"},
        {"name", "classname"},
        ["skipped", "error", "failure", "system-out", "system-err"],
    ),
    "failure": ({"message", "type"}, set(), []),
    "error": ({"message", "type"}, set(), []),
    "skipped": ({"message"}, set(), []),
    "system-out": (set(), set(), []),
}


def checked(report: dict[str, Any]) -> ElementTree.Element:
    """The XML of a report, of which the form is right and whose sums are those of its parts."""
    root = ElementTree.fromstring(xml(report))
    assert root.tag == "testsuites"
    for element in root.iter():
        may, must, children = SHAPE[element.tag]
        assert must <= set(element.attrib) <= may, element.tag
        places = [children.index(child.tag) for child in element]
        assert places == sorted(places)
        if not children:
            continue
        assert not (element.text or "").strip()
    suites = root.findall("testsuite")
    for suite in suites:
        cases = suite.findall("testcase")
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[name]) == sum(case.find(tag) is not None for case in cases)
        assert int(suite.attrib["tests"]) == len(cases) == len({case.attrib["name"] for case in cases})
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
        assert re.fullmatch(r"\d+\.\d{3}", suite.attrib["time"])
    for name in ("tests", "failures", "errors"):
        assert int(root.attrib[name]) == sum(int(suite.attrib[name]) for suite in suites)
    return root


def outcomes(root: ElementTree.Element) -> dict[str, str]:
    return {case.attrib["name"]: ",".join(child.tag for child in case) for case in root.iter("testcase")}


def test_a_suite_a_step_and_a_case_a_rule(samples: Any) -> None:
    root = checked(make(samples.rich()))
    assert outcomes(root) == {
        "email": "failure",
        "phone": "failure",
        "columns": "system-out",
        "city": "system-out",
        "gone": "skipped",
        "fresh": "skipped",
        "age": "system-out",
        "name": "",
        "enough": "",
    }
    (suite,) = root
    assert suite.attrib["name"] == "customer-quality.rules"
    failure = next(root.iter("failure"))
    assert failure.attrib == {
        "message": "45 of 950 rows (4.74%) violate the rule; at least 99% of rows must hold",
        "type": "unique",
    }
    assert failure.text is not None
    assert failure.text.splitlines()[1:] == [
        *(f"people, id 17: email: no{n}@example.org: repeats a value" for n in range(3)),
        "... 3 examples of 45 rows",
    ]


def test_a_rule_that_fails_itself_is_an_error(samples: Any) -> None:
    rules = (samples.rule("mine", ruleErrors=3), samples.rule("both", 2, ruleErrors=3), samples.rule("kept", 2, mostly=0.5, holds=True))
    root = checked(make(samples.run(*rules)))
    assert outcomes(root) == {"both": "failure", "mine": "error", "kept": "system-out"}
    assert "3 of them because it failed on them itself" in next(root.iter("error")).attrib["message"]


def test_a_run_that_failed_for_a_reason_of_its_own_is_an_error(samples: Any) -> None:
    well = samples.run(samples.rule("r"), status="failed", error="the target is away", error_code="unreachable")
    root = checked(make(well))
    assert outcomes(root) == {"r": "", "run": "error"}
    assert next(root.iter("error")).attrib["type"] == "unreachable"
    violated = samples.run(samples.rule("r", 3), status="failed", error="too many dead letters", error_code="budget-exceeded")
    assert outcomes(checked(make(violated))) == {"r": "failure", "run": "error"}
    before = checked(make(replace(well, steps=())))
    assert outcomes(before) == {"run": "error"}


def test_hostile_text_is_text(samples: Any) -> None:
    root = checked(make(samples.hostile()))
    found = "".join(root.itertext()) + "".join(value for element in root.iter() for value in element.attrib.values())
    for name in ("script", "image", "style", "comment", "entity", "cdata", "emoji", "arabic", "override"):
        assert samples.HOSTILE[name] in found
    assert "a\ufffdb\ufffdc\ufffd[31m" in found
    assert "x\ufffdy\ufffdz" in found


def test_no_more_examples_than_a_reader_takes_in(samples: Any) -> None:
    shown = [samples.example("r", "x" * 10_000) for _ in range(SHOWN + 5)]
    root = checked(make(samples.run(samples.rule("r", 100), examples=shown)))
    text = next(root.iter("failure")).text or ""
    assert text.count("does not match the pattern") == SHOWN
    assert text.endswith(f"... {SHOWN} examples of 100 rows")
    assert len(text) < 20_000
