from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from beam_pipelines.errors import SpecError
from beam_pipelines.spec import load, loads, parse

GOOD = """\
name: Customers
pipeline:
  source: {type: database, connection: crm, table: customers}
  destination: {type: data-warehouse, connection: dwh, table: customers}
"""

TEN_MISTAKES = """\
name: Customers
typ: automation
pipeline:
  source:
    type: databse
    connection: crm
    qurey: SELECT * FROM customers
  transformations:
    - id: normalize
      type: melt
    - id: adults
      type: filter
      condition: {field: age, operator: greater, value: 18}
  destination:
    type: data-warehouse
    conection: dwh
    table: customers
    mode: upsrt
    batchSize: many
schedule: {cron: "61 * * * *"}
pricing:
  model: per-gb
  rate: cheap
"""


def problems(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(SpecError) as caught:
        loads(text, "customers.yaml")
    assert caught.value.code == "spec-invalid"
    assert {problem.file for problem in caught.value.problems} == {"customers.yaml"}
    return [(problem.line, problem.path, f"{problem.message} ({problem.hint})") for problem in caught.value.problems]


def test_ten_mistakes_give_ten_messages_each_with_its_line() -> None:
    found = problems(TEN_MISTAKES)
    assert [(line, path) for line, path, _ in found] == [
        (2, "typ"),
        (5, "pipeline.source.type"),
        (7, "pipeline.source.qurey"),
        (10, "pipeline.transformations[0].type"),
        (13, "pipeline.transformations[1].condition.operator"),
        (16, "pipeline.destination.conection"),
        (18, "pipeline.destination.mode"),
        (19, "pipeline.destination.batchSize"),
        (20, "schedule.cron"),
        (23, "pricing.rate"),
    ]
    texts = [text for _, _, text in found]
    assert texts[0] == "unknown key 'typ' (did you mean 'type'?)"
    assert texts[1] == "expected 'database', got 'databse' (did you mean 'database'?)"
    assert texts[2] == "unknown key 'qurey' (did you mean 'query'?)"
    assert texts[3].startswith("expected a known type, got 'melt' (known: function, map, filter, explode, ")
    assert texts[5] == "unknown key 'conection' (did you mean 'connection'?)"
    assert texts[6] == "expected 'insert', 'upsert' or 'replace', got 'upsrt' (did you mean 'upsert'?)"
    assert texts[7] == "expected a whole number, got 'many' ()"
    assert texts[8] == "expected a cron expression, got '61 * * * *': bad minute ()"
    assert texts[9] == "expected a number, zero or above, got 'cheap' ()"


def test_json_gives_the_same_messages_at_its_own_lines() -> None:
    from ruamel.yaml import YAML

    text = json.dumps(YAML(typ="safe").load(TEN_MISTAKES), indent="\t")
    found = problems(text)
    assert [(path, message) for _, path, message in found] == [(path, message) for _, path, message in problems(TEN_MISTAKES)]
    lines = text.splitlines()
    for line, path, _ in found:
        assert f'"{path.rpartition(".")[2]}"' in lines[line - 1]


def test_duplicate_keys_are_reported_with_the_other_mistakes() -> None:
    assert [line for line, _, _ in problems(GOOD + "name: Again\ncolour: red\n")] == [5, 6]


@pytest.mark.parametrize(
    ("extra", "line", "expected"),
    [
        (
            "batch: {source: {type: s3, bucket: a}, destination: {type: s3, bucket: b}}\n",
            5,
            "expected one of pipeline, stream, batch, validation, got 'pipeline' as well ()",
        ),
        ("pricing: {rate: 1}\n", 5, "expected 'model', which is missing (known: per-gb, per-hour, per-record)"),
        ("version: 2\n", 5, "expected 1, got 2 ()"),
        ("type: human\n", 5, "expected 'automation', got 'human' ()"),
        ("errorBudget: {max: 101%}\n", 5, "expected a count of rows such as 100, or a share such as 1%, got '101%' ()"),
        ("functions: crm\n", 5, "expected a list, got 'crm' (write [crm])"),
        ("maxCellBytes: lots\n", 5, "expected a size (bytes, or a number with kB, MB, GB, KiB, MiB or GiB, such as 64MiB), got 'lots' ()"),
        ("naming: camel\n", 5, "expected 'preserve' or 'snake', got 'camel' ()"),
        ("delivery: exactly once\n", 5, "expected 'exactly-once' or 'at-least-once', got 'exactly once' (did you mean 'exactly-once'?)"),
        ("description: 5\n", 5, 'expected text, got 5 (quote it: "5")'),
        ("id: a b\n", 5, "expected a name of letters, digits, '-', '_' and '.', at most 128, got 'a b' ()"),
    ],
)
def test_a_mistake_is_one_message_at_its_line(extra: str, line: int, expected: str) -> None:
    assert [(place, text) for place, _, text in problems(GOOD + extra)] == [(line, expected)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a definition, got an empty document"),
        ("- a\n- b\n", "expected a mapping of keys, got something else"),
        ("just text\n", "expected a mapping of keys, got something else"),
    ],
)
def test_a_document_that_is_no_mapping_is_refused(text: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        loads(text)
    assert [problem.message for problem in caught.value.problems] == [expected]


def test_loaded_finds_positions_and_makes_problems_of_them(tmp_path: Path) -> None:
    file = tmp_path / "customers.yaml"
    file.write_text(GOOD, encoding="utf-8")
    loaded = load(file)
    assert loaded.path == file
    assert loaded.folder == tmp_path
    problem = loaded.problem("pipeline.source.table", "expected a table of crm, got 'customers'", "create it")
    assert (problem.file, problem.line, problem.column, problem.path) == (str(file), 3, 52, "pipeline.source.table")
    assert str(problem) == f"{file}:3:52: pipeline.source.table: expected a table of crm, got 'customers' (create it)"
    # What is not written points at what it would stand in.
    assert loaded.problem(["pipeline", "source", "cursor", "column"], "missing").line == 3


def test_json_is_told_by_its_suffix_and_by_its_content(tmp_path: Path) -> None:
    text = json.dumps({"name": "Customers"}, indent="\t")
    file = tmp_path / "customers.json"
    file.write_text(text, encoding="utf-8")
    assert load(file).definition == loads(text).definition == loads("{name: Customers}").definition
    file.write_text("name: Customers", encoding="utf-8")
    with pytest.raises(SpecError, match="expected JSON"):
        load(file)


def test_python_names_are_taken_as_well() -> None:
    assert (
        loads(GOOD + "error_budget: {max: 5, on_exceed: warn}\n").definition
        == loads(GOOD + "errorBudget: {max: 5, onExceed: warn}\n").definition
    )


def test_parse_takes_a_mapping_and_reports_without_lines() -> None:
    assert parse({"name": "Customers"}).definition.service_id == "customers"
    with pytest.raises(SpecError) as caught:
        parse({"nam": "Customers", "pricing": {"model": "per-gb", "rate": "x"}})
    assert {str(problem) for problem in caught.value.problems} == {
        "definition: nam: unknown key 'nam' (did you mean 'name'?)",
        "definition: pricing.rate: expected a number, zero or above, got 'x'",
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"name: caf\xe9\n", "expected UTF-8, got the byte 0xe9"),
        (b"a: 1\n" + "ü: ".encode() + b"\xff\n", "expected UTF-8, got the byte 0xff"),
        (b"name: \x00\n", "expected YAML"),
    ],
)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load(file)
    assert caught.value.code == "spec-unreadable"
    assert expected in str(caught.value)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: Customers\n")
    assert load(file).definition.name == "Customers"


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    for path, expected in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "is a directory")):
        with pytest.raises(SpecError, match=expected) as caught:
            load(path)
        assert caught.value.code == "spec-unreadable"
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (2 << 20))
    with pytest.raises(SpecError, match="at most 1 MiB"):
        load(large)


def test_an_error_survives_pickling_with_its_problems() -> None:
    with pytest.raises(SpecError) as caught:
        loads(TEN_MISTAKES)
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.problems == caught.value.problems
    assert str(again) == str(caught.value)


def test_no_secret_is_in_an_error(tmp_path: Path) -> None:
    text = """\
name: X
pipeline:
  source: {type: api, endpoint: "https://bob:hunter2@h/x", apiKey: hunter2}
  destination: {type: database, connection: "postgresql://bob:hunter2@h/db", table: t}
deadLetters: {password: hunter2}
"""
    with pytest.raises(SpecError) as caught:
        loads(text)
    assert len(caught.value.problems) == 4
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.problems)
