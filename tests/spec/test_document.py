from __future__ import annotations

import json
import math
import time
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import SpecError
from beam_pipelines.spec.document import read
from beam_pipelines.spec.position import Position

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)


def yaml(text: str) -> Any:
    document = read(text, "x.yaml", is_json=False)
    assert document.problems == []
    return document.value


def refused(text: str, *, is_json: bool = False) -> tuple[int, int, str]:
    with pytest.raises(SpecError) as caught:
        read(text, "x.yaml", is_json=is_json)
    assert caught.value.code == "spec-unreadable"
    (problem,) = caught.value.problems
    return problem.line, problem.column, problem.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("0o17", 15),
        ("0x1F", 31),
        ("-12", -12),
        ("007", 7),
        ("1e3", 1000.0),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("Infinity", "Infinity"),
        ("2026-01-31", "2026-01-31"),
        ("12:30:45", "12:30:45"),
        ('"1"', "1"),
        ("'it''s'", "it's"),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">\n  a\n  b\n", "a b\n"),
        ("[1, [2], {a: 3}]", [1, [2], {"a": 3}]),
        ("", None),
        ("{on: 1, yes: 2, no: 3}", {"on": 1, "yes": 2, "no": 3}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    result = yaml(text)
    assert (result, type(result)) == (value, type(value))


def test_nan_is_read() -> None:
    assert math.isnan(yaml(".nan"))


@given(JSON, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_any_json_means_what_the_json_module_says(value: Any, indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps({"value": value}, indent=indent, ensure_ascii=ascii_only)
    assert read(text, "x.json", is_json=True).value == json.loads(text)


def test_positions_are_those_of_keys_and_values() -> None:
    positions = read("a:\n  b: [1,\n    22]\n", "x", is_json=False).positions
    assert positions.keys[("a", "b")] == Position(2, 3)
    assert positions.values[("a", "b")] == Position(2, 6)
    assert positions.values[("a", "b", 1)] == Position(3, 5)


def test_every_duplicate_key_is_a_problem_at_its_line() -> None:
    document = read("a: 1\nb: 2\na: 3\nb: 4\n", "x.yaml", is_json=False)
    assert [(problem.line, problem.column, problem.message) for problem in document.problems] == [
        (3, 1, "duplicate key 'a': it stands on line 1 already"),
        (4, 1, "duplicate key 'b': it stands on line 2 already"),
    ]
    assert document.value == {"a": 1, "b": 2}


def test_a_duplicate_key_of_json_is_a_problem_as_well() -> None:
    assert len(read('{"a": 1, "a": 2}', "x.json", is_json=True).problems) == 1


@pytest.mark.parametrize("text", ["!!python/object:os.system {a: 1}", "!secret x", "!!binary aGk=", "!!set {a, b}", "a: !x [1]"])
def test_tags_are_problems_and_construct_nothing(text: str) -> None:
    (problem,) = read(text, "x.yaml", is_json=False).problems
    assert problem.message.startswith("expected plain YAML, got the tag")


@pytest.mark.parametrize("text", ["? [a, b]\n: 1\n", "~: 1", "? {a: 1}\n: 2\n"])
def test_a_key_is_text(text: str) -> None:
    (problem,) = read(text, "x.yaml", is_json=False).problems
    assert problem.message.startswith("expected text as key")


def test_aliases_and_merged_keys_are_expanded() -> None:
    text = "base: &base {a: 1, b: 2}\nuse: {b: 3, <<: *base}\nsame: *base\nboth: {<<: [{c: 4}, *base]}\n"
    assert yaml(text) == {"base": {"a": 1, "b": 2}, "use": {"b": 3, "a": 1}, "same": {"a": 1, "b": 2}, "both": {"c": 4, "a": 1, "b": 2}}


def test_an_anchor_may_be_set_again_without_a_word_on_stderr() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert yaml("a: &it 1\nb: *it\nc: &it 2\nd: *it\n") == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_a_bomb_of_aliases_is_refused_quickly() -> None:
    lines = ['a0: &a0 ["x"]'] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "values once aliases are expanded" in refused("\n".join(lines))[2]


def test_a_bomb_of_merged_keys_is_refused() -> None:
    lines = ["a0: &a0 {k0: 1}"] + [f"a{n}: &a{n} {{k{n}: 1, <<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    assert "values once aliases are expanded" in refused("\n".join(lines))[2]


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: *a}", "a: &a {<<: *a}"])
def test_a_document_that_contains_itself_is_refused(text: str) -> None:
    assert "alias of" in refused(text)[2]


@pytest.mark.parametrize(
    ("text", "is_json"),
    [
        ("[" * 100 + "]" * 100, False),
        ("[" * 50_000 + "]" * 50_000, True),
        ("[" * 100_000, False),
        ("{a: " * 100_000, False),
        ("- " * 100_000, False),
        ("{[" * 50_000, False),
        ("".join(f"{'  ' * level}a:\n" for level in range(700)), False),
    ],
)
def test_depth_is_bounded_and_what_is_below_costs_no_time(text: str, is_json: bool) -> None:
    began = time.process_time()
    assert "at most 64 levels" in refused(text, is_json=is_json)[2]
    assert time.process_time() - began < 1


def test_sixty_four_levels_are_read() -> None:
    value: Any = read("{a: " * 64 + "1" + "}" * 64, "x", is_json=False).value
    for _ in range(64):
        value = value["a"]
    assert value == 1


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("a: 1\nb: [1, 2\nc: 3\n", 3, 2), ("a: 1\n\tb: 2\n", 2, 1), ("a: 'x\n", 2, 1), ("a: 1\n---\nb: 2\n", 2, 1), ("a: *nobody\n", 1, 4)],
)
def test_yaml_that_is_not_well_formed_is_refused_at_its_place(text: str, line: int, column: int) -> None:
    found = refused(text)
    assert found[:2] == (line, column)
    assert found[2].startswith("expected YAML: ")


def test_json_that_is_not_well_formed_is_refused_at_its_place() -> None:
    assert refused('{"a": 1,\n "b": }', is_json=True) == (2, 7, "expected JSON: expecting value")


def test_a_number_of_too_many_digits_is_refused() -> None:
    assert "at most 4,300 digits" in refused('{"max": 1' + "0" * 5000 + "}", is_json=True)[2]
