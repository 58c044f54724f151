from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest

from beam_pipelines.columnar import dead, origin
from beam_pipelines.columnar.plain import plain

AT = dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.timezone.utc)


def _letters(batch: pa.RecordBatch, rows: list[int], **more: int) -> pa.RecordBatch:
    count = len(rows)
    return dead.letters(batch, rows, load="w.t", step="clean", codes=["cast-failed"] * count, messages=["m"] * count, at=AT, **more)


def test_a_letter_holds_what_why_where_and_everything() -> None:
    batch = origin.with_load(origin.attach(pa.record_batch({"id": [7, 8, 9], "name": ["a", "b", None]}), "customers", key=["id"]), "w.t")

    made = dead.letters(batch, [2, 0], load="w.t", step="", codes=["row-invalid", "cast-failed"], messages=["x", "y"], at=AT)

    made.validate(full=True)
    assert made.schema.equals(dead.SCHEMA)
    assert made.to_pylist() == [
        {
            "load": "w.t",
            "step": "",
            "at": AT,
            "code": "row-invalid",
            "message": "x",
            "origin": '{"source":"customers","key":{"id":9}}',
            "payload": '{"id":9,"name":null}',
        },
        {
            "load": "w.t",
            "step": "",
            "at": AT,
            "code": "cast-failed",
            "message": "y",
            "origin": '{"source":"customers","key":{"id":7}}',
            "payload": '{"id":7,"name":"a"}',
        },
    ]


VALUES = [
    (pa.bool_(), True, True),
    (pa.int64(), -(2**63), -(2**63)),
    (pa.uint64(), 2**64 - 1, 2**64 - 1),
    (pa.float64(), 0.1, 0.1),
    (pa.float64(), float("nan"), "NaN"),
    (pa.float64(), float("inf"), "Infinity"),
    (pa.float32(), float("-inf"), "-Infinity"),
    (pa.decimal128(38, 10), Decimal("1234567890123456789.0000000001"), "1234567890123456789.0000000001"),
    (pa.decimal128(10, 8), Decimal("1E-8"), "0.00000001"),
    (pa.string(), 'é"\n\u0000', 'é"\n\u0000'),
    (pa.large_string(), "x", "x"),
    (pa.string_view(), "x", "x"),
    (pa.dictionary(pa.int8(), pa.string()), "x", "x"),
    (pa.binary(), b"\xff\x00", "/wA="),
    (pa.binary(2), b"\xff\x00", "/wA="),
    (pa.binary_view(), b"\xff\x00", "/wA="),
    (pa.date32(), dt.date(2024, 2, 29), "2024-02-29"),
    (pa.date64(), dt.date(2024, 2, 29), "2024-02-29"),
    (pa.time32("s"), dt.time(1, 2, 3), "01:02:03"),
    (pa.time64("us"), dt.time(1, 2, 3, 4), "01:02:03.000004"),
    (pa.timestamp("s"), dt.datetime(1, 1, 1), "0001-01-01T00:00:00"),
    (pa.timestamp("us"), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), "9999-12-31T23:59:59.999999"),
    (pa.timestamp("us", "Europe/Berlin"), dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), "2024-01-01T00:00:00.000000+00:00"),
    (pa.duration("us"), dt.timedelta(seconds=-1, microseconds=500_000), "-PT0.500000S"),
    (pa.duration("s"), dt.timedelta(days=1), "PT86400S"),
    (pa.month_day_nano_interval(), (14, -3, 1_500_000_000), "P14M-3DT1.5S"),
    (pa.month_day_nano_interval(), (0, 0, 0), "PT0S"),
    (pa.month_day_nano_interval(), (0, 0, -1), "PT-0.000000001S"),
    (pa.list_(pa.float64()), [1.5, None, float("nan")], [1.5, None, "NaN"]),
    (pa.list_(pa.date32(), 1), [dt.date(2024, 1, 1)], ["2024-01-01"]),
    (pa.list_view(pa.binary()), [b"a"], ["YQ=="]),
    (pa.struct([("a", pa.int64()), ("b", pa.list_(pa.decimal128(3, 1)))]), {"a": 1, "b": [Decimal("1.5")]}, {"a": 1, "b": ["1.5"]}),
    (pa.map_(pa.string(), pa.date32()), [("k", dt.date(2024, 1, 1))], {"k": "2024-01-01"}),
    (pa.map_(pa.string(), pa.int8()), [("k", 1), ("k", 2)], [["k", 1], ["k", 2]]),
    (pa.map_(pa.int64(), pa.string()), [(1, "x")], [[1, "x"]]),
    (pa.null(), None, None),
]


@pytest.mark.parametrize(("kind", "value", "expected"), VALUES, ids=[f"{kind} {value!r:.12}" for kind, value, _ in VALUES])
def test_every_type_has_an_answer_in_json(kind: pa.DataType, value: object, expected: object) -> None:
    padded = pa.array([None, value, None, value, None], kind)

    for array in (padded, padded.slice(1, 4)):
        assert plain(array) == [expected if there is not None else None for there in array.to_pylist()]
    payload = _letters(pa.record_batch([padded], names=["c"]), [3]).column("payload")[0].as_py()
    assert json.loads(payload) == {"c": expected}


def test_nanoseconds_are_shown_whole() -> None:
    assert plain(pa.array([1, -1], pa.timestamp("ns"))) == ["1970-01-01T00:00:00.000000001", "1969-12-31T23:59:59.999999999"]
    assert plain(pa.array([1, None], pa.time64("ns"))) == ["00:00:00.000000001", None]
    assert plain(pa.array([1_000_000_001], pa.duration("ns"))) == ["PT1.000000001S"]


def test_extension_types_are_shown_as_they_are_written() -> None:
    identity = uuid.UUID("12345678-1234-5678-1234-567812345678")
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([identity.bytes, None], pa.binary(16)))

    assert plain(uuids) == [str(identity), None]
    assert plain(pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}']))) == ['{"a": 1}']


def test_text_that_is_no_utf8_is_shown_rather_than_lost() -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.array([0, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xffb")])

    assert plain(broken) == ["a\ufffdb"]


def test_a_cell_up_to_the_limit_is_kept_whole() -> None:
    batch = pa.record_batch({"t": ["x" * 200_000]})

    assert json.loads(_letters(batch, [0], max_cell_bytes=200_000).column("payload")[0].as_py()) == {"t": "x" * 200_000}


def test_a_cell_above_the_limit_keeps_its_head_and_its_length() -> None:
    text = "€" * 100_000  # 3 bytes each: the cut at 64 KiB splits one
    batch = pa.record_batch({"id": [1, 2], "t": [text, "short"], "b": [b"ab", b"\xff" * 300_000], "l": [["y" * 300_000], []]})

    first, second = (json.loads(p) for p in _letters(batch, [0, 1], max_cell_bytes=200_000).column("payload").to_pylist())

    assert first["id"] == 1
    assert first["t"] == {"$truncated": {"bytes": 300_000, "head": "€" * (65_536 // 3)}}
    assert first["b"] == "YWI="
    assert first["l"]["$truncated"]["bytes"] == 300_000
    assert len(first["l"]["$truncated"]["head"]) == 65_536
    assert second["t"] == "short"
    assert second["b"]["$truncated"]["bytes"] == 300_000


def test_letters_need_a_code_and_a_message_a_row() -> None:
    with pytest.raises(ValueError, match="2 rows, 1 codes and 2 messages"):
        dead.letters(pa.record_batch({"a": [1, 2]}), [0, 1], load="", step="", codes=["x"], messages=["x", "y"], at=AT)


def test_no_rows_make_no_letters() -> None:
    made = _letters(pa.record_batch({"a": [1]}), [])

    assert made.num_rows == 0
    assert made.schema.equals(dead.SCHEMA)
