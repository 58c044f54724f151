from __future__ import annotations

import pickle
import re

import pytest

from beam_pipelines import errors
from beam_pipelines.errors import BeamPipelinesError, Problem, SpecError


def classes(base: type[BeamPipelinesError] = BeamPipelinesError) -> list[type[BeamPipelinesError]]:
    found = [base, *(inner for child in base.__subclasses__() for inner in classes(child))]
    return [cls for cls in dict.fromkeys(found) if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", classes())
def test_every_error_survives_pickling(cls: type[BeamPipelinesError]) -> None:
    again = pickle.loads(pickle.dumps(cls("expected a, got b", code="locked", details={"holder": 17})))
    assert type(again) is cls
    assert (again.message, again.code, again.details, again.args) == ("expected a, got b", "locked", {"holder": 17}, ("expected a, got b",))


@pytest.mark.parametrize("cls", [cls for cls in classes() if issubclass(cls, SpecError)])
def test_problems_survive_pickling(cls: type[SpecError]) -> None:
    problem = Problem("expected a, got b", path="x.y", file="f.yaml", line=3, column=4, hint="write a")
    again = pickle.loads(pickle.dumps(cls("f.yaml has a mistake", problems=[problem])))
    assert again.problems == (problem,)
    assert str(again) == "f.yaml has a mistake\n  f.yaml:3:4: x.y: expected a, got b (write a)"


def test_the_tree_in_the_docstring_names_every_class() -> None:
    tree = set(re.findall(r"\b\w+Error\b", errors.__doc__ or ""))
    assert tree == {cls.__name__ for cls in classes()}


def test_the_docstring_gives_the_exit_codes() -> None:
    lines = (errors.__doc__ or "").splitlines()
    for cls in classes():
        line = next((line for line in lines if re.search(rf"\b{cls.__name__}\b", line)), "")
        if match := re.search(r"exit (\d+)", line):
            assert cls.exit_code == int(match[1]), cls


def test_every_class_has_a_code_that_is_listed() -> None:
    assert all(cls.default_code in errors.CODES for cls in classes())


def test_codes_are_unique_and_plain() -> None:
    assert len(set(errors.CODES)) == len(errors.CODES)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in errors.CODES)


def test_every_public_name_is_there() -> None:
    assert all(hasattr(errors, name) for name in errors.__all__)
    assert {cls.__name__ for cls in classes()} <= set(errors.__all__)


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (Problem("m"), "m"),
        (Problem("m", path="a.b"), "a.b: m"),
        (Problem("m", file="f"), "f: m"),
        (Problem("m", path="a", file="f", line=1, column=2, hint="h"), "f:1:2: a: m (h)"),
    ],
)
def test_a_problem_says_where_it_is(problem: Problem, expected: str) -> None:
    assert str(problem) == expected


def test_the_parts_of_an_error_default() -> None:
    error = SpecError("m")
    assert (error.code, error.details, error.problems, error.exit_code, str(error)) == ("spec-invalid", {}, (), 2, "m")
