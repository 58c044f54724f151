"""Rows rewritten in a text, and nothing else of it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import SpecError
from beam_pipelines.spec import document
from beam_pipelines.spec.rewrite import Change, Row, rewritten


def rewrite(text: str, *rows: Row, path: tuple[Any, ...] = ("rows",), is_json: bool = False) -> str:
    return rewritten(text, "file", [Change(path, rows)], is_json=is_json)


def set_(at: int, **values: Any) -> Row:
    return Row(at, {(name,): value for name, value in values.items()})


def new(**values: Any) -> Row:
    return Row(None, {(name,): value for name, value in values.items()})


BLOCK = """\
# about all
rows:
  # about one
  - {id: 1,  name: 'Ann'}   # the first

  # about two
  - id: 2
    name: "Bob"   # a name
    tags: [a,  b]
  - {id: 3, name: Cid}
after: {x: 1}   # stays
"""


def test_values_are_exchanged_in_their_quotes_and_all_else_stays() -> None:
    assert rewrite(BLOCK, set_(0, name="O'Ann"), set_(1, name='B"', tags=["c"]), set_(2, name="true")) == BLOCK.replace(
        "'Ann'", "'O''Ann'"
    ).replace('"Bob"', '"B\\""').replace("[a,  b]", "[c]").replace("Cid", '"true"')


def test_rows_go_with_the_comments_above_them() -> None:
    without_two = BLOCK[: BLOCK.index("\n  # about two")] + BLOCK[BLOCK.index("  - {id: 3") :]
    assert rewrite(BLOCK, Row(0), Row(2)) == without_two
    # What stands above the first may be about all of them.
    assert rewrite(BLOCK, Row(1), Row(2)) == BLOCK.replace("  - {id: 1,  name: 'Ann'}   # the first\n", "")


def test_new_rows_come_where_they_are_in_the_order() -> None:
    assert rewrite(BLOCK, Row(0), new(id=7, name="x: y"), Row(1), Row(2), new(id=8, name=None)) == BLOCK.replace(
        "the first\n", 'the first\n  - {id: 7, name: "x: y"}\n'
    ).replace("name: Cid}\n", "name: Cid}\n  - {id: 8, name: null}\n")


def test_a_row_that_loses_a_column_keeps_its_place_and_its_comment() -> None:
    anew = Row(0, {("id",): 1}, anew=True)
    assert rewrite(BLOCK, anew, Row(1), Row(2)) == BLOCK.replace("{id: 1,  name: 'Ann'}", "{id: 1}")


def test_a_column_that_was_not_named_is_added_at_the_end() -> None:
    assert rewrite(BLOCK, set_(0, age=3, plan="pro"), set_(1, age=4), Row(2)) == BLOCK.replace(
        "'Ann'}", "'Ann', age: 3, plan: pro}"
    ).replace("[a,  b]\n", "[a,  b]\n    age: 4\n")


def test_a_list_in_brackets_keeps_its_lines() -> None:
    text = "rows: [\n  {id: 1},   # one\n  {id: 2},\n  {id: 3}\n]\n"
    assert rewrite(text, Row(0), set_(1, id=5), Row(2), new(id=4)) == text.replace("{id: 2}", "{id: 5}").replace(
        "{id: 3}", "{id: 3},\n  {id: 4}"
    )
    assert rewrite("rows: [{id: 1}, {id: 2}] # x\n", Row(1), new(id=3)) == "rows: [{id: 2}, {id: 3}] # x\n"
    assert rewrite("rows: []\n", new(id=1)) == "rows: [{id: 1}]\n"
    assert rewrite("rows: [{id: 1}]\n") == "rows: []\n"
    assert rewrite(BLOCK) == "# about all\nrows:\n  # about one\n  []\nafter: {x: 1}   # stays\n"


def test_a_long_list_gets_a_line_for_each_row() -> None:
    text = rewrite("a:\n  rows: []\n", *(new(id=n, name="x" * 30) for n in range(4)), path=("a", "rows"))
    assert text.count("\n") == 6
    assert len(document.read(text, "file", is_json=False).value["a"]["rows"]) == 4


def test_json_stays_json() -> None:
    text = json.dumps({"rows": [{"id": 1, "name": "\U0001f600"}, {"id": 2, "name": "b"}], "x": 1}, indent=4, ensure_ascii=False)
    changed = rewrite(text, Row(0), set_(1, name="yes"), new(id=3, name=None), is_json=True)
    assert json.loads(changed)["rows"] == [{"id": 1, "name": "\U0001f600"}, {"id": 2, "name": "yes"}, {"id": 3, "name": None}]
    assert [line for line in text.splitlines() if line not in changed.splitlines()] == ['            "name": "b"', "        }"]


def test_numbers_of_decimals_stay_numbers_where_that_keeps_them_whole() -> None:
    text = "rows: [{a: 1.5, b: '1.5', c: 2, d: 0}]"
    values = {"a": Decimal("2.50"), "b": Decimal("2.50"), "c": Decimal("12345678901234567890.1"), "d": "0"}
    assert rewrite(text, set_(0, **values)) == 'rows: [{a: 2.50, b: "2.50", c: "12345678901234567890.1", d: "0"}]'


def test_values_without_text_and_blocks_of_text_are_exchanged() -> None:
    text = "rows:\n- a:\n  b: |\n    long\n    text\n  c: x\n- {a: , b: y}\n"
    assert rewrite(text, set_(0, a=1, b="short"), set_(1, a="z")) == "rows:\n- a: 1\n  b: short\n  c: x\n- {a: z , b: y}\n"


@pytest.mark.parametrize(
    "value", ["\x7f", "\u2028", "\x85", "\t", "a\nb", "\U0001f600", "\ufeff", "- a", "a: b", "#", "*a", "1e3", "~", "2026-01-01"]
)
def test_text_of_any_kind_is_read_as_it_was(value: str) -> None:
    for text in ("rows: [{id: a}]", "rows: [{id: 'a'}]", 'rows: [{id: "a"}]', "rows:\n  - id: a\n"):
        assert document.read(rewrite(text, set_(0, id=value)), "file", is_json=False).value == {"rows": [{"id": value}]}


def test_windows_lines_stay_so() -> None:
    text = "rows:\r\n  - {id: 1}\r\n  - {id: 2}\r\nx: 1\r\n"
    assert rewrite(text, Row(1), new(id=3)) == "rows:\r\n  - {id: 2}\r\n  - {id: 3}\r\nx: 1\r\n"


def test_a_single_value_is_exchanged() -> None:
    assert rewritten("a: {b: 1, c: 2} # x", "file", [Change(("a", "b"), value=7)], is_json=False) == "a: {b: 7, c: 2} # x"


@pytest.mark.parametrize(
    "text",
    ["x: &rows [{id: 1}]\nrows: *rows\n", "x: &row {id: 1}\nrows: [*row]\n", "x: &id 1\nrows: [{id: *id}]\n"],
)
def test_what_an_alias_shares_is_not_touched(text: str) -> None:
    with pytest.raises(SpecError, match="alias shares"):
        rewrite(text, set_(0, id=2))


row = st.dictionaries(
    st.sampled_from(["id", "a b", "ü"]),
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
)
before = st.lists(st.dictionaries(st.sampled_from(["id", "a b", "ü"]), st.integers(), min_size=1), min_size=1, max_size=4)


@given(before, st.lists(row, max_size=4), st.sampled_from(["json", "indented", "block"]), st.randoms())
def test_what_was_written_is_read(rows: list[Any], wanted: list[Any], form: str, chance: Any) -> None:
    """Whatever is kept, exchanged, dropped or new."""
    whole = {"x": 1, "rows": rows, "y": [1]}
    if form == "block":
        text = "x: 1\nrows:\n" + "".join(f"  - {json.dumps(one, ensure_ascii=False)} # c\n" for one in rows) + "y: [1]\n"
    else:
        text = json.dumps(whole, indent=2 if form == "indented" else None, ensure_ascii=False)
    kept = sorted(chance.sample(range(len(rows)), chance.randint(0, len(rows))))
    plan: list[tuple[Row, Any]] = []
    for at in kept:
        change = chance.choice([*wanted, {}])
        plan.append((Row(at, {(key,): value for key, value in change.items()}), {**rows[at], **change}))
    plan += [(Row(None, {(key,): value for key, value in one.items()}), one) for one in wanted]
    changed = rewritten(text, "file", [Change(("rows",), tuple(one for one, _ in plan))], is_json=form != "block")
    read = document.read(changed, "file", is_json=form != "block")
    assert read.problems == []
    assert read.value == {"x": 1, "rows": [one for _, one in plan], "y": [1]}
    assert changed.count("# c") == (0 if form != "block" else len(kept) if plan else 1)
