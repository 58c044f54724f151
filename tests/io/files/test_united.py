"""Columns of files that say themselves what they are, put together; and which file is at fault where they do not go together."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.io.files.united import misfits, united

INT, TEXT, NULL = pa.int64(), pa.string(), pa.null()


def schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


def test_columns_come_in_the_order_of_earlier_files_and_then_of_these() -> None:
    files = [("a", schema(new=INT, id=INT)), ("b", schema(other=NULL))]
    assert united(files, str, schema(name=TEXT, id=INT)) == schema(name=TEXT, id=INT, new=INT, other=TEXT)


def test_a_type_that_is_not_that_of_earlier_files_is_refused() -> None:
    with pytest.raises(PlanError, match="column 'id' is int64 in the files of earlier runs and string in 'a'"):
        united([("a", schema(id=TEXT))], str, schema(id=INT))


@pytest.mark.parametrize(
    ("kinds", "before", "wrong"),
    [
        ([INT, TEXT, INT], None, "1"),
        ([INT, TEXT, TEXT, NULL], None, "0"),
        ([INT, TEXT], None, ""),  # nobody knows
        ([INT, TEXT, pa.float64()], None, ""),
        ([TEXT, TEXT, INT], INT, "01"),
        ([NULL, INT], TEXT, "1"),
        ([NULL], INT, ""),
    ],
)
def test_who_is_at_fault(kinds: list[pa.DataType], before: pa.DataType | None, wrong: str) -> None:
    files = [(str(place), schema(id=kind, name=TEXT)) for place, kind in enumerate(kinds)]
    assert set(misfits(files, schema(id=before) if before is not None else None)) == set(wrong)


def test_a_file_with_two_columns_of_a_name_is_at_fault() -> None:
    assert misfits([("a", pa.schema([("id", INT), ("id", INT)])), ("b", schema(id=INT))], None) == {"a": "it has two columns of one name"}
