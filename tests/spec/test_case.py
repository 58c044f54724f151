"""The `tests:` of a definition: what is a mistake in them, and that nothing of a run knows them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from beam_pipelines.engine.job import Job
from beam_pipelines.errors import SpecError
from beam_pipelines.spec import loads, parse

DEFINITION: dict[str, Any] = {
    "name": "Customers",
    "pipeline": {
        "source": {"type": "database", "connection": "crm", "table": "customers"},
        "transformations": [{"id": "clean", "type": "filter", "condition": "id > 1"}],
        "destination": {"type": "database", "connection": "target", "table": "customers"},
    },
}
TEST: dict[str, Any] = {"name": "one", "input": [{"id": 1}], "expect": {"clean": []}}


def mistakes(*tests: Any, **change: Any) -> list[tuple[str, str]]:
    with pytest.raises(SpecError) as caught:
        parse({**DEFINITION, **change, "tests": list(tests)})
    return [(problem.path, problem.message + (f"; {problem.hint}" if problem.hint else "")) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"expect": {"claen": []}}, "expect.claen", "expected the id of a step, got 'claen'; did you mean 'clean'?"),
        ({"name": "bell \a"}, "name", "expected a name on one line without control characters, got 'bell \\x07'"),
        ({"expect": {}}, "expect", "expected at least 1 entry, got 0"),
        ({"expect": {"clean": {"ordered": True}}}, "expect.clean", "expected 'rows', 'dead' or 'filtered', got none of them"),
        ({"expect": {"clean": {"row": []}}}, "expect.clean.row", "unknown key 'row'; did you mean 'rows'?"),
        ({"expect": {"clean": {"filtered": -1}}}, "expect.clean.filtered", "expected at least 0, got -1"),
        ({"expect": {"clean": {"filtered": "1"}}}, "expect.clean.filtered", "expected a whole number, got '1'"),
        ({"expect": {"clean": [1]}}, "expect.clean[0]", "expected a mapping, got 1"),
        ({"expect": {"clean": {"dead": [{}]}}}, "expect.clean.dead[0]", "expected 'row', 'code' or 'message', got none of them"),
        (
            {"expect": {"clean": {"rows": [{"id": 1}, {"a": 1}], "keyFields": ["id"]}}},
            "expect.clean.rows[1]",
            "expected the key 'id' in each row, which this one does not have",
        ),
        (
            {"expect": {"clean": {"rows": [{"id": 1}], "keyFields": ["id"], "ordered": True}}},
            "expect.clean.keyFields",
            "expected no keys of rows that come in order, got 'ordered' as well",
        ),
        ({"sources": {"price": []}}, "sources.price", "expected the id of a step, got 'price'; known: clean"),
        ({"now": "2026-01-01"}, "now", "expected a time such as 2026-01-31T00:00:00Z, got '2026-01-01'"),
        ({"input": {"row": []}}, "input.row", "unknown key 'row'; did you mean 'rows'?"),
    ],
)
def test_mistakes_are_named_with_their_place(change: dict[str, Any], path: str, message: str) -> None:
    assert mistakes({**TEST, **change}) == [(f"tests[0].{path}", message)]


def test_two_tests_of_one_name_could_not_be_told_apart() -> None:
    assert mistakes(TEST, TEST) == [("tests[1].name", "expected a name of its own, got 'one' again")]


def test_a_step_called_output_leaves_the_word_with_two_meanings() -> None:
    pipeline = {**DEFINITION["pipeline"], "transformations": [{"id": "output", "type": "filter", "condition": "id > 1"}]}
    [(path, message)] = mistakes({**TEST, "expect": {"output": []}}, pipeline=pipeline)
    assert path == "tests[0].expect.output"
    assert "rename the step" in message


def test_mistakes_are_at_their_line_and_column() -> None:
    text = """\
name: Customers
pipeline:
  source: {type: database, connection: crm, table: customers}
  destination: {type: database, connection: target, table: customers}
tests:
  - name: one
    input: [{id: 1}]
    expect:
      clean: []
"""
    with pytest.raises(SpecError) as caught:
        loads(text, "service.yaml")
    [problem] = caught.value.problems
    assert (problem.file, problem.line, problem.column) == ("service.yaml", 9, 7)


def test_nothing_of_a_run_knows_the_tests() -> None:
    assert Job.of(parse({**DEFINITION, "tests": [TEST]}).definition) == Job.of(parse(DEFINITION).definition)


def test_a_definition_without_tests_does_not_import_their_models() -> None:
    code = f"import sys; from beam_pipelines.spec import parse; parse({DEFINITION!r}); print('beam_pipelines.spec.case' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"
