"""Text that is a date or a time in a format."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_pipelines.columnar.expression import engine
from beam_pipelines.errors import PlanError
from beam_pipelines.rules import Result, check
from beam_pipelines.spec import DateFormat


def checked(values: pa.Array, written: str) -> Result:
    return check(pa.table({"x": values}), [{"id": "r", "type": "date-format", "field": "x", "format": written}])


@pytest.mark.parametrize(
    ("written", "good", "bad"),
    [
        (
            "%d.%m.%Y",
            ["31.12.2024", "1.2.2024", "29.02.2024"],
            ["29.02.2023", "2024-12-31", "12.31.2024", "31.12.24", " 31.12.2024", "31.12.2024 ", "31.12.2024 10:00", "soon"],
        ),
        ("%d.%m.%y", ["31.12.24"], ["31.12.2024"]),
        ("%Y-%m-%d %H:%M:%S", ["2024-12-31 23:59:59"], ["2024-12-31 24:00:00", "2024-12-31", "2024-12-31T23:59:59"]),
        ("%b %d, %Y", ["Jan 02, 2024", "feb 3, 2024"], ["Mai 02, 2024"]),
        ("%H:%M", ["10:30"], ["25:00", "10"]),
        ("%Y-%m-%dT%H:%M:%S%z", ["2024-01-01T10:00:00+0200"], ["2024-01-01T10:00:00"]),
    ],
)
def test_text_in_the_format_is_told_from_other_text(written, good, bad):
    found = checked(pa.array([*good, *bad, None, ""]), written)
    assert found.violations["value"].to_pylist() == bad
    assert set(found.violations["message"].to_pylist()) == {f"expected a date or time in the format {written}"}
    assert found.rules[0].tally.unevaluated == 2


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_text_is_read_in_any_layout(kind):
    values = pa.array(["31.12.2024", "x", None, "x"]).cast(kind)
    assert checked(values, "%d.%m.%Y").violations["recordIndex"].to_pylist() == [1, 3]


def test_whole_numbers_are_their_digits():
    assert checked(pa.array([20241231, 20241331, None]), "%Y%m%d").violations["value"].to_pylist() == ["20241331"]


def test_text_that_is_no_utf_8_costs_its_row_alone():
    texts = pa.StringArray.from_buffers(2, pa.array([0, 2, 6], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe2024"))
    assert checked(texts, "%Y").violations["recordIndex"].to_pylist() == [0]


def test_its_connection_is_given_back(monkeypatch):
    given: list[object] = []
    monkeypatch.setattr(engine._POOL, "give", lambda memory, connection: given.append(connection))
    checked(pa.array(["x"]), "%Y")
    assert len(given) == 1


def test_a_format_that_cannot_be_read_is_refused():
    with pytest.raises(PlanError) as refused:
        checked(pa.array(["x"]), "%Q")
    (problem,) = refused.value.problems
    assert problem.path == "rules[0].format"
    assert problem.message.startswith("expected a format such as %d.%m.%Y, got '%Q': ")
    with pytest.raises(PlanError, match="expected a field of text, got 'x' of type date32"):
        checked(pa.array([None], pa.date32()), "%Y")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("YYYY-MM-DD", "expected a format such as %d.%m.%Y, got 'YYYY-MM-DD'"),
        ("%Y ", "expected a format without white space at its ends, got '%Y '"),
        ("", "expected text, got an empty one"),
    ],
)
def test_a_format_that_reads_nothing_is_told(written, expected):
    with pytest.raises(ValidationError) as refused:
        DateFormat.model_validate({"id": "r", "field": "x", "format": written})
    assert [error["msg"] for error in refused.value.errors()] == [expected]
