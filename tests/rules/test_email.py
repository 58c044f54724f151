"""E-mail addresses, as the library email-validator reads them."""

from __future__ import annotations

import pyarrow as pa
import pytest
from email_validator import EmailNotValidError, validate_email

from beam_pipelines.columnar import email_address
from beam_pipelines.errors import PlanError
from beam_pipelines.rules import Result, check

TEXTS = [
    "bob@example.com",
    "Bob.O'Neil+tag@Sub.Example.CO",
    "bob@müller.de",
    "jörg@example.com",
    "bob@xn--mller-kva.de",
    "bob",
    "bob@",
    "@example.com",
    "bob@localhost",
    "bob@example",
    "bob@x.invalid",
    "bob..b@example.com",
    " bob@example.com",
    "bob@example.com\n",
    "bob@exa mple.com",
    "bob@-example.com",
    "bob@[127.0.0.1]",
    f"{'b' * 65}@example.com",
    f"bob@{'b' * 64}.com",
    "a@b@c.com",
]


def checked(values: pa.Array) -> Result:
    return check(pa.table({"x": values}), [{"id": "r", "type": "email", "field": "x"}])


def valid(text: str) -> bool:
    try:
        validate_email(text, check_deliverability=False, test_environment=True, strict=True)
    except EmailNotValidError:
        return False
    return True


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_the_answer_is_the_library_s(kind):
    found = checked(pa.array([*TEXTS, None, ""]).cast(kind))
    expected = [at for at, text in enumerate(TEXTS) if not valid(text)]
    assert 10 < len(expected) < len(TEXTS)
    assert found.violations["recordIndex"].to_pylist() == expected
    assert set(found.violations["message"].to_pylist()) == {"expected an e-mail address"}
    assert found.rules[0].tally.unevaluated == 2


def test_the_library_is_asked_once_for_each_text_that_no_pattern_decides(monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr("beam_pipelines.rules.row.address.normalized", lambda text: asked.append(text))
    checked(pa.array(["bob@example.com", "bob", "bob", None, "", "Jörg@example.com"]))
    assert sorted(asked) == ["", "Jörg@example.com", "bob"]


def test_text_that_is_no_utf_8_costs_its_row_alone():
    texts = pa.StringArray.from_buffers(2, pa.array([0, 3, 10], pa.int32()).buffers()[1], pa.py_buffer(b"\xff@b" + b"a@bc.de"))
    assert checked(texts).violations["recordIndex"].to_pylist() == [0]


def test_fields_that_are_no_text_are_refused():
    with pytest.raises(PlanError) as refused:
        checked(pa.array([1]))
    assert refused.value.problems[0].message == "expected a field of text, got 'x' of type int64"


def test_what_is_remembered_is_bounded():
    assert email_address.normalized.cache_parameters()["maxsize"] == 1 << 16
