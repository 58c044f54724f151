"""`beam-pipelines test`."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

TESTS = """\
tests:
  - name: grown-ups stay
    input: [{id: 1, age: 17}, {id: 2, age: 18}]
    expect: {adults: {rows: [{id: 2}], filtered: 1}}
  - name: the old leave
    input: [{id: 1, age: 80}]
    expect: {output: []}   # as it should be
"""


@pytest.fixture
def tested(room):
    room.change("transformations: []", "transformations: [{id: adults, type: filter, condition: age >= 18}]")
    (room.folder / "connections.yaml").unlink()
    with (room.folder / "service.yaml").open("a") as stream:
        stream.write(TESTS)
    return room


def test_a_failed_test_exits_with_1_and_says_what_differs(tested):
    answer = tested("test", "service.yaml")
    assert answer.code == 1, answer.err
    passed, failed, headline, *table, last = answer.out.splitlines()
    assert (passed, failed) == ("passed  grown-ups stay", "failed  the old leave")
    assert headline == "  output: 1 rows differ (0 expected, 1 came)"
    assert table[1] == '    row 1 that came          no such row  {"id": 1, "age": 80}'
    assert last.startswith("1 passed, 1 failed in ")


def test_all_passed_exits_with_0_and_one_can_be_chosen(tested):
    answer = tested("test", "service.yaml", "--test", "grown-ups stay", "--output", "json")
    assert answer.code == 0, answer.err
    told = answer.json()
    assert {key: told[key] for key in ("serviceId", "passed", "failed", "error", "fixed")} == {
        "serviceId": "customers", "passed": 1, "failed": 0, "error": 0, "fixed": [],
    }  # fmt: skip
    assert [(one["name"], one["path"], one["outcome"], one["differences"]) for one in told["tests"]] == [
        ("grown-ups stay", "tests[0]", "passed", [])
    ]


def test_mistakes_exit_with_2_and_have_their_place(tested):
    tested.change("{id: 1, age: 80}", "{id: 1}")
    answer = tested("test", "service.yaml", "--output", "json")
    assert answer.code == 2
    assert "service.yaml:9:59" in answer.err
    error = answer.json()["tests"][1]["error"]
    assert error["problems"][0]["path"] == "pipeline.transformations[0].condition"
    assert tested("test", "service.yaml").out.splitlines()[1:3] == ["error   the old leave", "  an expression cannot be used"]
    tested.change("expect: {output:", "expect: {outptu:")
    answer = tested("test", "service.yaml")
    assert answer.code == 2
    assert "did you mean 'output'?" in answer.err


def test_a_definition_without_tests_is_no_success(room):
    answer = room("test", "service.yaml")
    assert answer.code == 2
    assert "expected tests in service.yaml, got none" in answer.err


def test_fix_rewrites_and_the_next_time_all_pass(tested):
    before = (tested.folder / "service.yaml").read_text()
    answer = tested("test", "service.yaml", "--fix")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[:2] == ["passed  grown-ups stay", "fixed   the old leave"]
    assert (tested.folder / "service.yaml").read_text() == before.replace("{output: []}", "{output: [{id: 1, age: 80}]}")
    assert tested("test", "service.yaml").code == 0


def test_results_are_written_as_junit_does(tested):
    tested.change("input: [{id: 1, age: 17}", "input: [{id: 1, age: '17\\e'}")
    tested("test", "service.yaml", "--junit", "results.xml")
    suite = ElementTree.parse(tested.folder / "results.xml").getroot()[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("customers", "2", "1", "1")
    assert [[case.get("name"), *(child.tag for child in case)] for case in suite] == [
        ["grown-ups stay", "error"],
        ["the old leave", "failure"],
    ]
    assert "no such row" in suite[1][0].text
