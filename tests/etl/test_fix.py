"""Expectations rewritten to what comes: what was written by a person stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beam_pipelines.errors import SpecError
from beam_pipelines.etl.fix import fix
from beam_pipelines.etl.service import Service

TEXT = """\
# Customers, with tests.
name: Customers
pipeline:
  source: {type: database,   connection: crm, table: customers}
  transformations:
    - {id: adults, type: filter, condition: "age >= 18"}   # the law
    - id: named
      type: map
      unmapped: keep
      mappings: {name: {source: name, converter: upper}, age: {source: age, converter: "decimal(5, 1)"}}
    - {id: odd, type: function, output: {id: bigint, name: text}}
  destination: {type: database, connection: target, table: customers}

tests:
  - name: right     # stays
    input: [{id: 1, name: ann, age: 20}]
    expect: {adults: [{id: 1}]}

  - name: wrong
    input:
      - {id: 1, name: ann, age: 20}
      - {id: 2, name: bob, age: 30}
      - {id: 3, name: cid, age: 40}
    expect:
      adults: {filtered: 7}   # how many
      named:
        rows:
          # Ann is first
          - {id: 1,  name: 'Ann', age: 20}   # one
          - {id: 9, name: Zed, age: 1}

          # Bob is third
          - id: 2
            name: "bob"   # quoted
            born: null
        exact: false
      odd:
        dead: []
      output: []
"""
FIXED = (
    TEXT.replace("filtered: 7", "filtered: 0")
    .replace("'Ann'", "'ANN'")
    .replace('          - id: 2\n            name: "bob"   # quoted\n            born: null\n', "          - {id: 2, name: BOB}\n")
    .replace("          - {id: 9, name: Zed, age: 1}\n", "")
    .replace("{id: 2, name: BOB}\n", "{id: 2, name: BOB}\n          - {id: 3, name: CID, age: \"40.0\"}\n")
    .replace("dead: []", "dead: [{code: function-failed, row: {id: 2, name: BOB, age: \"30.0\"}}]")
    .replace("output: []", "output: [{id: 1, name: ANN}, {id: 3, name: CID}]")
)  # fmt: skip
FUNCTIONS = """
def odd(row: dict) -> dict:
    if row["id"] == 2:
        raise ValueError("even")
    return {"id": row["id"], "name": row["name"]}
"""


def service(folder: Path, text: str, name: str = "service.yaml") -> Service:
    (folder / "functions.py").write_text(FUNCTIONS)
    path = folder / name
    path.write_bytes(text.encode())
    return Service.load(path)


def test_what_differs_is_rewritten_and_every_other_character_stays(tmp_path: Path) -> None:
    one = service(tmp_path, TEXT)
    fixed = fix(one, one.test())
    assert (tmp_path / "service.yaml").read_text() == FIXED
    assert (fixed.names, [verdict.passed for verdict in fixed.verdicts]) == (("wrong",), [True, True])
    assert all(verdict.passed for verdict in Service.load(tmp_path / "service.yaml").test())
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != "") == ["functions.py", "service.yaml"]


def test_json_and_a_mark_of_byte_order_stay(tmp_path: Path) -> None:
    whole = Service.load(service(tmp_path, TEXT).loaded.path).loaded  # type: ignore[union-attr,arg-type]
    assert whole is not None
    data = whole.definition.model_dump(mode="json", by_alias=True, exclude_unset=True)
    one = service(tmp_path, "\ufeff" + json.dumps(data, indent=3), "service.json")
    fix(one, one.test())
    text = (tmp_path / "service.json").read_text(encoding="utf-8")
    assert text.startswith('\ufeff{\n   "name": "Customers",')
    again = json.loads(text.removeprefix("\ufeff"))["tests"][1]["expect"]
    assert again["output"] == [{"id": 1, "name": "ANN"}, {"id": 3, "name": "CID"}]
    assert again["named"]["rows"][1] == {"id": 2, "name": "BOB"}


def test_rows_that_are_exact_get_every_column_that_is_not_null(tmp_path: Path) -> None:
    before = "        exact: false\n"
    one = service(tmp_path, TEXT.replace(before, before.replace("false", "true")))
    fix(one, one.test())
    text = (tmp_path / "service.yaml").read_text()
    assert '- {id: 2, name: BOB, age: "30.0"}' in text
    assert all(verdict.passed for verdict in Service.load(tmp_path / "service.yaml").test())


def test_rows_in_order_are_written_in_their_order(tmp_path: Path) -> None:
    wrong = "adults: {rows: [{id: 1}, {id: 3}, {id: 2}, {id: 4}], ordered: true}"
    one = service(tmp_path, TEXT.replace("adults: {filtered: 7}", wrong))
    fix(one, one.test())
    assert "adults: {rows: [{id: 1}, {id: 2}, {id: 3}], ordered: true}   # how many" in (tmp_path / "service.yaml").read_text()


def test_only_the_tests_that_ran_are_touched_and_none_when_all_pass(tmp_path: Path) -> None:
    one = service(tmp_path, TEXT)
    assert fix(one, one.test("right")).names == ()
    assert (tmp_path / "service.yaml").read_text() == TEXT


def test_a_test_that_cannot_be_carried_out_is_left_alone(tmp_path: Path) -> None:
    text = TEXT.replace("input: [{id: 1, name: ann, age: 20}]", "input: [{id: 1, name: ann}]")
    one = service(tmp_path, text)
    fixed = fix(one, one.test())
    assert [verdict.error is None for verdict in fixed.verdicts] == [False, True]
    assert (tmp_path / "service.yaml").read_text() == FIXED.replace("input: [{id: 1, name: ann, age: 20}]", "input: [{id: 1, name: ann}]")


def test_what_differs_from_run_to_run_is_not_written(tmp_path: Path) -> None:
    text = TEXT.replace("{source: name, converter: upper}", '{expression: "cast(now() as text)"}')
    one = service(tmp_path, text)
    with pytest.raises(SpecError, match="differs from run to run, so nothing was written"):
        fix(one, one.test())
    assert (tmp_path / "service.yaml").read_text() == text


def test_rows_behind_an_alias_are_not_rewritten(tmp_path: Path) -> None:
    text = TEXT.replace("      - {id: 1, name: ann, age: 20}", "      - &ann {id: 1, name: ann, age: 20}")
    text = text.replace("          - {id: 1,  name: 'Ann', age: 20}", "          - *ann")
    one = service(tmp_path, text)
    with pytest.raises(SpecError, match="alias") as caught:
        fix(one, one.test())
    assert caught.value.problems[0].path == "tests[1].expect.named.rows"
    assert (tmp_path / "service.yaml").read_text() == text


def test_a_file_that_was_edited_meanwhile_is_not_written(tmp_path: Path) -> None:
    one = service(tmp_path, TEXT)
    verdicts = one.test()
    edited = TEXT.replace("# Customers, with tests.", "# Customers.")
    (tmp_path / "service.yaml").write_text(edited)
    with pytest.raises(SpecError, match="was changed while its tests ran, so nothing was written"):
        fix(one, verdicts)
    assert (tmp_path / "service.yaml").read_text() == edited


def test_a_file_that_may_not_be_written_is_not(tmp_path: Path) -> None:
    one = service(tmp_path, TEXT)
    (tmp_path / "service.yaml").chmod(0o444)
    with pytest.raises(SpecError, match=r"expected to write .*, got: the file is read-only"):
        fix(one, one.test())
    assert (tmp_path / "service.yaml").read_text() == TEXT
