from __future__ import annotations

import pytest

from beam_pipelines.errors import Problem, SpecError
from beam_pipelines.spec import loads, render


def test_a_problem_is_shown_with_its_line_and_a_caret() -> None:
    text = "name: X\npipeline:\n  sorce: {}\n"
    problem = Problem("unknown key 'sorce'", path="pipeline.sorce", file="x.yaml", line=3, column=3, hint="did you mean 'source'?")
    assert render([problem], text).splitlines() == [
        "x.yaml:3:3: pipeline.sorce: unknown key 'sorce' (did you mean 'source'?)",
        "    3 |   sorce: {}",
        "      |   ^^^^^",
    ]


def test_a_problem_without_a_line_has_no_excerpt() -> None:
    assert render([Problem("expected X", file="x.yaml")], "a: 1\n") == "x.yaml: expected X"
    assert render([Problem("expected X", line=99, column=1, file="x.yaml")], "a: 1\n") == "x.yaml:99:1: expected X"


def test_tabs_keep_the_caret_in_its_place() -> None:
    assert render([Problem("m", line=1, column=3)], "\t\tkey").splitlines()[2].endswith("| \t\t^^^")


def test_a_long_line_is_cut_around_the_place() -> None:
    text = "a" * 300 + " bad " + "b" * 300
    _, excerpt, caret = render([Problem("m", line=1, column=302)], text).splitlines()
    assert len(excerpt) < 140
    assert excerpt[caret.index("^") :].startswith("bad ")


@pytest.mark.parametrize(
    "line",
    [
        "apiKey: hunter2",
        '  "password": "hunter2",',
        "{user: bob, password: hunter2, x: 1}",
        "connection: postgresql://bob:hunter2@h/db",
        "endpoint: https://h/x?token=hunter2",
        "secret-key: 'hunter2'",
    ],
)
def test_a_secret_is_masked_in_the_excerpt(line: str) -> None:
    assert "hunter2" not in render([Problem("m", line=1, column=1)], line)
    assert "hunter2" not in render([Problem("m", line=1, column=len(line) - 2)], line)


def test_a_reference_to_a_secret_is_shown() -> None:
    assert "${env:CRM_KEY}" in render([Problem("m", line=1, column=1)], "apiKey: ${env:CRM_KEY}")


def test_every_problem_of_a_definition_is_shown_with_its_line() -> None:
    text = "nam: X\npricing:\n  model: per-gb\n  rate: x\n"
    with pytest.raises(SpecError) as caught:
        loads(text, "x.yaml")
    shown = render(caught.value.problems, text)
    assert "    1 | nam: X" in shown
    assert "    4 |   rate: x" in shown
