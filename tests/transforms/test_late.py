"""Event times of rows: those that have none are refused, for any time that stood for it would be taken for true."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beam_pipelines.columnar.origin import TIME
from beam_pipelines.errors import FatalError
from beam_pipelines.transforms.late import times_of


def test_rows_that_a_function_made_of_nobody_knows_which_are_refused() -> None:
    assert times_of(pa.record_batch({TIME: pa.array([5, -1], pa.int64())}), "sum").tolist() == [5, -1]
    with pytest.raises(FatalError, match=r"'sum'.*a function before it.*origin=True") as refused:
        times_of(pa.record_batch({TIME: pa.array([5, None], pa.int64())}), "sum")
    assert refused.value.code == "function-failed"
