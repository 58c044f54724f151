from __future__ import annotations

import pyarrow as pa
import pytest

from beam_pipelines.columnar.types import keeps_apart


@pytest.mark.parametrize(
    ("arrives", "held", "expected"),
    [
        (pa.int32(), pa.int64(), True),
        (pa.int64(), pa.int32(), True),  # what does not fit is refused, and nothing is rounded
        (pa.int64(), pa.decimal128(38, 0), True),
        (pa.int32(), pa.float64(), True),
        (pa.int64(), pa.float64(), False),  # 9007199254740992 and 9007199254740993 are one double
        (pa.int32(), pa.float32(), False),
        (pa.decimal128(10, 2), pa.int32(), False),  # 1.2 and 1.4
        (pa.decimal128(10, 2), pa.decimal128(12, 2), True),
        (pa.decimal128(10, 3), pa.decimal128(12, 2), False),
        (pa.float64(), pa.int32(), False),
        (pa.float64(), pa.float32(), False),
        (pa.float32(), pa.float64(), True),
        (pa.timestamp("us"), pa.date32(), False),
        (pa.timestamp("us"), pa.timestamp("ns"), True),
        (pa.timestamp("ns"), pa.timestamp("us"), False),
        (pa.date32(), pa.timestamp("us"), True),
        (pa.time64("us"), pa.time32("s"), False),
        (pa.string(), pa.large_string(), True),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), True),
        (pa.string(), pa.uuid(), True),
        (pa.string(), pa.int64(), False),  # '7' and '07'
        (pa.string(), pa.date32(), False),
        (pa.int64(), pa.string(), True),
        (pa.binary(), pa.large_binary(), True),
        (pa.list_(pa.int32()), pa.list_(pa.int32()), True),
        (pa.list_(pa.int32()), pa.list_(pa.int64()), False),
    ],
    ids=str,
)
def test_keys_stay_apart_where_no_two_values_become_one(arrives: pa.DataType, held: pa.DataType, expected: bool) -> None:
    assert keeps_apart(arrives, held) is expected
