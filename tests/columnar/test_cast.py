from __future__ import annotations

import datetime as dt
import json
import math
import re
import uuid
from decimal import Context, Decimal, InvalidOperation
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.cast import conform, convert_column
from beam_pipelines.errors import FatalError

BAD = object()
UTC = dt.timezone.utc


def _converted(values: list[Any], kind: pa.DataType | None, target: pa.DataType) -> list[Any]:
    """Each value as it came out, `BAD` where it does not fit; checked alone, in company and in the middle of a longer array."""
    array = pa.array([values[0], *values, values[-1]], kind).slice(1, len(values))
    made, wrong = convert_column(array, target)
    made.validate(full=True)
    assert made.type == target
    assert wrong is None or made.filter(pa.array(wrong)).null_count == int(wrong.sum())
    found = [BAD if wrong is not None and wrong[row] else value for row, value in enumerate(made.to_pylist())]
    for row in range(len(values)):
        alone, bad = convert_column(array.slice(row, 1), target)
        assert (bad is not None and bool(bad[0])) == (found[row] is BAD)
        assert found[row] is BAD or _same(alone.to_pylist()[0], found[row])
    return found


def _same(one: Any, other: Any) -> bool:
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


# Equal types: nothing is done.


def test_a_batch_of_the_planned_schema_is_given_back_itself() -> None:
    batch = origin.attach(pa.record_batch({"a": np.arange(10), "b": ["x"] * 10}), "t", key=["a"])

    done = conform(batch, origin.visible_schema(batch.schema))

    assert done.batch is batch
    assert (done.bad, done.reasons) == ([], [])


def test_columns_of_the_planned_type_are_shared_not_copied() -> None:
    batch = pa.record_batch({"extra": ["x"] * 10, "a": np.arange(10), "b": ["1"] * 10})

    done = conform(batch, pa.schema([("b", pa.int8()), ("a", pa.int64())]))

    assert done.batch.schema == pa.schema([("b", pa.int8()), ("a", pa.int64())])
    assert done.batch.column("a").buffers()[1].address == batch.column("a").buffers()[1].address


def test_hidden_columns_and_the_load_are_carried_with_the_rows_that_fit() -> None:
    batch = origin.with_load(origin.attach(pa.record_batch({"n": ["1", "x", "3"]}), "a.csv", first_row=10), "t")

    done = conform(batch, pa.schema([("n", pa.int64())], metadata={"planned": "yes"}))

    assert done.bad == [1]
    assert origin.describe(done.batch, [0, 1]) == [{"source": "a.csv", "row": 10}, {"source": "a.csv", "row": 12}]
    assert origin.load_of(done.batch) == "t"
    assert origin.visible(done.batch).to_pydict() == {"n": [1, 3]}


# Reasons.


def test_a_reason_names_column_and_types_and_never_the_value() -> None:
    batch = pa.record_batch({"age": ["41", "secret-1"], "amount": [300, 7], "id": pa.array([1, None])})
    schema = pa.schema([("age", pa.int64()), ("amount", pa.int8()), pa.field("id", pa.int64(), nullable=False)])

    done = conform(batch, schema)

    assert done.bad == [0, 1]
    assert done.reasons == [
        "column 'amount': expected int8, got a number that does not fit",
        "column 'age': expected int64, got text that does not read as one; column 'id': expected a value (int64 not null), got null",
    ]
    assert done.batch.num_rows == 0


def test_a_column_that_is_gone_stops_the_run() -> None:
    with pytest.raises(FatalError, match=r"'email'.*is gone.*'id', 'name'.*start it again") as caught:
        conform(pa.record_batch({"id": [1], "name": ["x"]}), pa.schema([("email", pa.string())]))
    assert caught.value.code == "schema-changed"


def test_a_column_that_is_there_twice_stops_the_run() -> None:
    twice = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])

    with pytest.raises(FatalError, match="is there 2 times"):
        conform(twice, pa.schema([("a", pa.int64())]))


def test_types_that_have_nothing_in_common_make_every_value_bad() -> None:
    assert _converted([[1], None], pa.list_(pa.int64()), pa.int64()) == [BAD, None]
    assert _converted([5], pa.int64(), pa.timestamp("us")) == [BAD]
    assert _converted([True], pa.bool_(), pa.date32()) == [BAD]


def test_opaque_bytes_do_not_pass_for_text() -> None:
    opaque = pa.opaque(pa.binary(), "inet", "PostgreSQL")
    array = pa.ExtensionArray.from_storage(opaque, pa.array([b"abc"]))

    made, wrong = convert_column(array, pa.string())

    assert wrong is not None
    assert wrong.tolist() == [True]
    assert made.to_pylist() == [None]


def test_opaque_text_is_read_as_the_text_it_is() -> None:
    numeric = pa.ExtensionArray.from_storage(pa.opaque(pa.string(), "numeric", "PostgreSQL"), pa.array(["1.50", "NaN", None]))

    made, wrong = convert_column(numeric, pa.decimal128(10, 2))

    assert made.to_pylist() == [Decimal("1.50"), None, None]
    assert wrong is not None
    assert wrong.tolist() == [False, True, False]


# What is accepted, one table: values worked out by hand.

CASES: list[tuple[str, list[Any], pa.DataType | None, pa.DataType, list[Any]]] = [
    ("text to int", ["1", " +5 ", "-0", "007", None], None, pa.int64(), [1, 5, 0, 7, None]),
    ("no int", ["0x10", "1.0", "", " ", "1_0", "٣", "1e3", "--1", "NaN"], None, pa.int64(), [BAD] * 9),
    ("int range", ["127", "128", "-128", "-129", "9" * 30], None, pa.int8(), [127, BAD, -128, BAD, BAD]),
    ("no sign", ["-1", "255", "256"], None, pa.uint8(), [BAD, 255, BAD]),
    ("text to float", ["1.5", ".5", "5.", "-1e-3", " 2 ", "+3", "1e-400"], None, pa.float64(), [1.5, 0.5, 5.0, -0.001, 2.0, 3.0, 0.0]),
    ("odd floats", ["inf", "-Infinity", "+INF"], None, pa.float64(), [math.inf, -math.inf, math.inf]),
    ("no float", ["1e400", "1,5", "0x1p3", "nan(1)", "e5", ".", ""], None, pa.float64(), [BAD] * 7),
    ("float32 range", ["3e38", "1e39"], None, pa.float32(), [np.float32(3e38), BAD]),
    (
        "text to decimal",
        ["1.20", "1e1", " -.5", "+2", None],
        None,
        pa.decimal128(10, 1),
        [Decimal(n) for n in ("1.2", "10.0", "-0.5", "2.0")] + [None],
    ),
    ("no decimal", ["1.25", "NaN", "", "1e", "1234567890", "1e10"], None, pa.decimal128(10, 1), [BAD] * 6),
    (
        "long decimals",
        ["1." + "0" * 60, "0" * 60 + "1.50", "0." + "0" * 41 + "4", "0e500"],
        None,
        pa.decimal128(10, 1),
        [Decimal("1.0"), Decimal("1.5"), BAD, Decimal("0.0")],
    ),
    (
        "decimals with exponents",
        ["1.5447530570051678e-266", "1e99999999999999999999", "15E-1", "1e-99999999"],
        None,
        pa.decimal128(20, 3),
        [BAD, BAD, Decimal("1.500"), BAD],
    ),
    (
        "text to bool",
        ["true", "F", "YES", "n", "on", "Off", "1", "0", " t "],
        None,
        pa.bool_(),
        [True, False, True, False, True, False, True, False, True],
    ),
    ("no bool", ["", "2", "maybe", "tru", None], None, pa.bool_(), [BAD, BAD, BAD, BAD, None]),
    (
        "text to date",
        ["2024-02-29", " 0001-01-01", "2024-01-02T00:00:00Z"],
        None,
        pa.date32(),
        [dt.date(2024, 2, 29), dt.date(1, 1, 1), dt.date(2024, 1, 2)],
    ),
    ("no date", ["2023-02-29", "2024-2-1", "01.02.2024", "2024-01-01 00:00:01", "2024-13-01", ""], None, pa.date32(), [BAD] * 6),
    (
        "text to timestamp",
        ["2024-01-02", "2024-01-02 03:04", "2024-01-02T03:04:05.678", "2024-01-02 03:04:05.1234569"],
        None,
        pa.timestamp("us"),
        [dt.datetime(2024, 1, 2, *rest) for rest in ((), (3, 4), (3, 4, 5, 678_000), (3, 4, 5, 123_456))],
    ),
    (
        "a zone in the text, none in the type: UTC",
        ["2024-01-02T03:00:00Z", "2024-01-02 03:00:00+02", "2024-01-02 03:00:00.5-0530", "2024-01-02 03:00:00"],
        None,
        pa.timestamp("us"),
        [dt.datetime(2024, 1, 2, 3), dt.datetime(2024, 1, 2, 1), dt.datetime(2024, 1, 2, 8, 30, 0, 500_000), dt.datetime(2024, 1, 2, 3)],
    ),
    (
        "no zone in the text, one in the type: UTC",
        ["2024-01-02 03:00:00", "2024-01-02T03:00:00z", "2024-01-02"],
        None,
        pa.timestamp("us", "UTC"),
        [dt.datetime(2024, 1, 2, 3, tzinfo=UTC), dt.datetime(2024, 1, 2, 3, tzinfo=UTC), dt.datetime(2024, 1, 2, tzinfo=UTC)],
    ),
    (
        "no timestamp",
        ["infinity", "2024-01-02 25:00:00", "2024-01-02 10:61", "10:00", "", "2024-02-30 10:00:00"],
        None,
        pa.timestamp("us"),
        [BAD] * 6,
    ),
    ("whole seconds only", ["2024-01-02 00:00:00.0", "2024-01-02 00:00:00.5"], None, pa.timestamp("s"), [dt.datetime(2024, 1, 2), BAD]),
    (
        "text to time",
        ["10:00", "10:00:01.5", " 23:59:59.999999 "],
        None,
        pa.time64("us"),
        [dt.time(10), dt.time(10, 0, 1, 500_000), dt.time(23, 59, 59, 999_999)],
    ),
    ("no time", ["24:00", "1:00", "10:00Z", ""], None, pa.time32("s"), [BAD] * 4),
    ("text to binary", ["é", "", None], None, pa.binary(), ["é".encode(), b"", None]),
    ("text to json", ['{"a": 1}', "1", "{", "", None], None, pa.json_(), ['{"a": 1}', "1", BAD, BAD, None]),
    (
        "text to uuid",
        ["12345678-1234-5678-1234-567812345678", "{12345678123456781234567812345678}", "x", "1234567-81234-5678-1234-567812345678", None],
        None,
        pa.uuid(),
        [uuid.UUID("12345678123456781234567812345678")] * 2 + [BAD, BAD, None],
    ),
    ("bool to numbers", [True, False, None], None, pa.int64(), [1, 0, None]),
    ("bool to decimal", [True, False], None, pa.decimal128(3, 1), [Decimal("1.0"), Decimal("0.0")]),
    ("bool to text", [True, False], None, pa.string(), ["true", "false"]),
    ("int to bool", [0, 1, 2, -1, None], None, pa.bool_(), [False, True, BAD, BAD, None]),
    ("float to bool", [0.0, 1.0, 0.5], None, pa.bool_(), [False, True, BAD]),
    ("int to smaller int", [1, 2**31, -1], None, pa.uint32(), [1, 2**31, BAD]),
    ("int to float", [2**53, 2**53 + 1], None, pa.float64(), [2.0**53, BAD]),
    (
        "large int to float",
        [2**60, -(2**63), 2**53 + 2, 2**63 - 1, 2**60 + 1],
        None,
        pa.float64(),
        [2.0**60, -(2.0**63), 2.0**53 + 2, BAD, BAD],
    ),
    ("unsigned int to float", [2**63, 2**64 - 1, 2**64 - 2048], pa.uint64(), pa.float64(), [2.0**63, BAD, 2.0**64 - 2048]),
    ("int to a short float", [2**24, 2**24 + 1, 2**40], None, pa.float32(), [2.0**24, BAD, 2.0**40]),
    ("int to decimal", [99, 100, -99], None, pa.decimal128(3, 1), [Decimal("99.0"), BAD, Decimal("-99.0")]),
    ("large int to decimal", [2**63 - 1], None, pa.decimal128(38, 19), [Decimal(2**63 - 1)]),
    ("unsigned to signed", [2**63 - 1, 2**63], pa.uint64(), pa.int64(), [2**63 - 1, BAD]),
    ("float to int", [1.0, -0.0, 1.5, math.nan, math.inf, 2.0**63, None], None, pa.int64(), [1, 0, BAD, BAD, BAD, BAD, None]),
    ("float to float32", [1.5, 1e300, math.inf, math.nan], None, pa.float32(), [1.5, BAD, math.inf, math.nan]),
    ("float to decimal", [0.1, -2.5, 0.125, math.nan, 1e9], None, pa.decimal128(10, 2), [Decimal("0.10"), Decimal("-2.50"), BAD, BAD, BAD]),
    ("decimal rescaled", [Decimal("1.50"), Decimal("1.55"), Decimal("999.0")], None, pa.decimal128(3, 1), [Decimal("1.5"), BAD, BAD]),
    ("decimal to int", [Decimal("2.00"), Decimal("2.50")], None, pa.int64(), [2, BAD]),
    ("decimal to float", [Decimal("0.1"), Decimal("2.50")], None, pa.float64(), [0.1, 2.5]),
    ("numbers to text", [1, -5], None, pa.string(), ["1", "-5"]),
    ("floats to text", [1.5, math.nan, -math.inf, None], None, pa.string(), ["1.5", "NaN", "-Infinity", None]),
    ("decimal to text", [Decimal("0.0000001"), Decimal("12.5000000")], None, pa.string(), ["0.0000001", "12.5000000"]),
    ("bytes to text", [b"abc", b"\xff", None], None, pa.string(), ["abc", BAD, None]),
    ("bytes to uuid", [bytes(16), b"short"], None, pa.uuid(), [uuid.UUID(int=0), BAD]),
    ("bytes to fixed bytes", [b"abc", b"ab"], None, pa.binary(3), [b"abc", BAD]),
    (
        "date to timestamp",
        [dt.date(2024, 1, 1), dt.date(1, 1, 1)],
        None,
        pa.timestamp("us"),
        [dt.datetime(2024, 1, 1), dt.datetime(1, 1, 1)],
    ),
    ("date beyond nanoseconds", [dt.date(9999, 1, 1)], None, pa.timestamp("ns"), [BAD]),
    (
        "timestamp to date",
        [dt.datetime(2024, 1, 1), dt.datetime(1960, 1, 1), dt.datetime(2024, 1, 1, 0, 0, 1), dt.datetime(1960, 1, 1, 0, 0, 0, 1)],
        None,
        pa.date32(),
        [dt.date(2024, 1, 1), dt.date(1960, 1, 1), BAD, BAD],
    ),
    (
        "coarser timestamp",
        [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 0, 0, 0, 1)],
        None,
        pa.timestamp("ms"),
        [dt.datetime(2024, 1, 1), BAD],
    ),
    ("finer timestamp", [dt.datetime(2024, 1, 1), dt.datetime(9999, 1, 1)], None, pa.timestamp("ns"), [dt.datetime(2024, 1, 1), BAD]),
    (
        "nanoseconds are cut to the past",
        [-1_500, 1_500, None],
        pa.timestamp("ns"),
        pa.timestamp("us"),
        [dt.datetime(1969, 12, 31, 23, 59, 59, 999_998), dt.datetime(1970, 1, 1, 0, 0, 0, 1), None],
    ),
    (
        "a zone is taken off at UTC",
        [dt.datetime(2024, 1, 1, tzinfo=UTC)],
        pa.timestamp("us", "Asia/Tokyo"),
        pa.timestamp("us"),
        [dt.datetime(2024, 1, 1)],
    ),
    (
        "timestamp with zone to text",
        [dt.datetime(2024, 1, 1, tzinfo=UTC)],
        pa.timestamp("s", "Asia/Tokyo"),
        pa.string(),
        ["2024-01-01 00:00:00Z"],
    ),
    ("milliseconds of a date", [86_400_000, 3], pa.date64(), pa.date32(), [dt.date(1970, 1, 2), BAD]),
    (
        "duration to interval",
        [dt.timedelta(days=1, microseconds=5), None],
        pa.duration("us"),
        pa.month_day_nano_interval(),
        [(0, 0, 86_400 * 10**9 + 5_000), None],
    ),
    (
        "interval to duration",
        [(0, 1, 10**9), (1, 0, 0), (0, 0, 1), None],
        pa.month_day_nano_interval(),
        pa.duration("us"),
        [dt.timedelta(days=1, seconds=1), BAD, BAD, None],
    ),
    ("interval to text", [(1, -2, 3_500_000_000)], pa.month_day_nano_interval(), pa.string(), ["P1M-2DT3.5S"]),
    ("lists by items", [["1", None], None, ["x"], []], None, pa.list_(pa.int64()), [[1, None], None, BAD, []]),
    ("wide lists", [["1"], None], None, pa.large_list(pa.int64()), [[1], None]),
    ("list views", [["1", "2"], None, ["x"]], pa.list_view(pa.string()), pa.list_(pa.int8()), [[1, 2], None, BAD]),
    ("to fixed lists", [["1", "2"], None, ["1"], ["x", "1"]], None, pa.list_(pa.int8(), 2), [[1, 2], None, BAD, BAD]),
    ("from fixed lists", [["1", "2"], None], pa.list_(pa.string(), 2), pa.list_(pa.int8()), [[1, 2], None]),
    ("lists of lists", [[["1"], []], [["x"]]], None, pa.list_(pa.list_(pa.int8())), [[[1], []], BAD]),
    (
        "structs by name",
        [{"b": "1", "a": 1}, None, {"b": "x", "a": 2}],
        pa.struct([("b", pa.string()), ("a", pa.int64())]),
        pa.struct([("a", pa.string()), ("b", pa.int8()), ("c", pa.date32())]),
        [{"a": "1", "b": 1, "c": None}, None, BAD],
    ),
    (
        "maps by part",
        [[("1", "2")], None, [("x", "1")], [("3", "y")], []],
        pa.map_(pa.string(), pa.string()),
        pa.map_(pa.int64(), pa.int8()),
        [[(1, 2)], None, BAD, BAD, []],
    ),
    ("nested to text", [{"a": [1.5, None]}, None], pa.struct([("a", pa.list_(pa.float64()))]), pa.string(), ['{"a":[1.5,null]}', None]),
    ("nested to json", [[1, 2], None], pa.list_(pa.int64()), pa.json_(), ["[1,2]", None]),
    ("dictionary decoded", ["5", "x", None], pa.dictionary(pa.int8(), pa.string()), pa.int8(), [5, BAD, None]),
    ("dictionary made", ["5", "5", None], None, pa.dictionary(pa.int32(), pa.int64()), [5, 5, None]),
    ("views", ["5", "a text that is not inlined"], pa.string_view(), pa.int64(), [5, BAD]),
    ("null to anything", [None, None], pa.null(), pa.list_(pa.uuid()), [None, None]),
    ("all null to anything", [None, None], pa.list_(pa.int8()), pa.int64(), [None, None]),
]


@pytest.mark.parametrize(("values", "kind", "target", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_values_become_what_they_mean_or_are_bad(
    values: list[Any], kind: pa.DataType | None, target: pa.DataType, expected: list[Any]
) -> None:
    found = _converted(values, kind, target)

    assert all(_same(a, b) for a, b in zip(found, expected, strict=True)), found


def test_runs_are_written_out() -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["1", "x"]))

    made, wrong = convert_column(runs, pa.int64())

    assert made.to_pylist() == [1, 1, None]
    assert wrong is not None
    assert wrong.tolist() == [False, False, True]


# Against other engines.

TEXTS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(repr),
    st.decimals(places=3, allow_nan=False, allow_infinity=False).map(str),
    st.builds("{}.{}{}".format, st.integers(-(10**30), 10**30), st.integers(0, 60).map("0".__mul__), st.integers(0, 10**30)),
    st.datetimes().map(str),
    st.dates().map(str),
    st.text(alphabet="0123456789+-.eEx_: TZ", max_size=12),
    st.text(max_size=5),
)


def _python_int(text: str) -> Any:
    text = text.strip(" \t\n\r\v\f")
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) and -(2**63) <= int(text) < 2**63 else BAD


def _python_float(text: str) -> Any:
    text = text.strip(" \t\n\r\v\f")
    if not text.isascii() or "_" in text:
        return BAD
    try:
        value = float(text)
    except ValueError:
        return BAD
    return BAD if math.isinf(value) and "inf" not in text.lower() else value


def _python_decimal(text: str) -> Any:
    text = text.strip(" \t\n\r\v\f")
    if not text.isascii() or "_" in text:
        return BAD
    try:
        value = Decimal(text)
        exact = value.quantize(Decimal("0.001"), context=Context(prec=100))
    except InvalidOperation:
        return BAD
    return exact if value.is_finite() and exact == value and abs(exact) < 10**17 else BAD


@settings(deadline=None, max_examples=300)
@given(st.lists(st.none() | TEXTS, min_size=1, max_size=12))
def test_numbers_in_text_are_what_python_reads(texts: list[str | None]) -> None:
    for target, oracle in ((pa.int64(), _python_int), (pa.float64(), _python_float), (pa.decimal128(20, 3), _python_decimal)):
        expected = [None if text is None else oracle(text) for text in texts]

        found = _converted(texts, pa.string(), target)

        assert all(_same(a, b) for a, b in zip(found, expected, strict=True)), (target, found, expected)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)), min_size=1, max_size=8),
    st.sampled_from([" ", "T"]),
    st.integers(-14, 14),
)
def test_moments_in_text_are_what_python_reads(moments: list[dt.datetime], separator: str, offset: int) -> None:
    zone = dt.timezone(dt.timedelta(hours=offset))
    texts = [moment.replace(tzinfo=zone).isoformat(separator) for moment in moments]

    assert _converted(texts, None, pa.timestamp("us", "UTC")) == [moment.replace(tzinfo=zone).astimezone(UTC) for moment in moments]
    assert _converted([moment.isoformat(separator) for moment in moments], None, pa.timestamp("us")) == moments


DUCKDB = [
    (pa.int64(), "BIGINT", st.integers(-(2**63), 2**63 - 1), pa.int16(), "SMALLINT"),
    (pa.int64(), "BIGINT", st.integers(-300, 300), pa.decimal128(4, 2), "DECIMAL(4,2)"),
    (pa.int64(), "BIGINT", st.integers(-300, 300), pa.string(), "VARCHAR"),
    (pa.decimal128(20, 2), "DECIMAL(20,2)", st.decimals(-(10**6), 10**6, places=2), pa.string(), "VARCHAR"),
    (pa.decimal128(20, 2), "DECIMAL(20,2)", st.decimals(-(10**6), 10**6, places=2), pa.decimal128(24, 6), "DECIMAL(24,6)"),
    (pa.decimal128(20, 2), "DECIMAL(20,2)", st.decimals(-(10**6), 10**6, places=2), pa.float64(), "DOUBLE"),
    (pa.date32(), "DATE", st.dates(), pa.timestamp("us"), "TIMESTAMP"),
    (pa.date32(), "DATE", st.dates(dt.date(1, 1, 1)), pa.string(), "VARCHAR"),
    (pa.timestamp("ms"), "TIMESTAMP_MS", st.datetimes().map(lambda d: d.replace(microsecond=0)), pa.timestamp("us"), "TIMESTAMP"),
    (pa.bool_(), "BOOLEAN", st.booleans(), pa.int8(), "TINYINT"),
    (pa.bool_(), "BOOLEAN", st.booleans(), pa.string(), "VARCHAR"),
    (pa.string(), "VARCHAR", st.dates().map(str), pa.date32(), "DATE"),
    (pa.string(), "VARCHAR", st.times().map(str), pa.time64("us"), "TIME"),
    (pa.string(), "VARCHAR", st.uuids().map(str), pa.uuid(), "UUID"),
    (pa.list_(pa.int32()), "INTEGER[]", st.lists(st.none() | st.integers(-5, 5), max_size=3), pa.list_(pa.int64()), "BIGINT[]"),
]


@pytest.mark.parametrize(("kind", "name", "values", "target", "wanted"), DUCKDB, ids=[f"{row[1]} to {row[4]}" for row in DUCKDB])
def test_what_fits_is_what_duckdb_makes_of_it(
    kind: pa.DataType, name: str, values: st.SearchStrategy[Any], target: pa.DataType, wanted: str
) -> None:
    connection = duckdb.connect()

    @settings(deadline=None, max_examples=40)
    @given(st.lists(st.none() | values, min_size=1, max_size=10))
    def check(drawn: list[Any]) -> None:
        given_rows = pa.table({"x": pa.array(drawn, kind)})
        connection.register("given_rows", given_rows)
        answer = connection.execute(f"SELECT TRY_CAST(CAST(x AS {name}) AS {wanted}) FROM given_rows").fetchall()
        found = _converted(drawn, kind, target)
        # DuckDB rounds where we refuse, so only what fits is compared; and what DuckDB refuses must be bad here.
        for mine, (theirs,), value in zip(found, answer, drawn, strict=True):
            assert (mine is BAD) if theirs is None and value is not None else (mine is BAD or _same(mine, theirs)), (value, mine, theirs)

    check()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.none() | st.floats(width=64), min_size=1, max_size=10), st.integers(0, 6))
def test_a_float_fits_a_decimal_when_its_shortest_text_does(values: list[float | None], scale: int) -> None:
    found = _converted(values, pa.float64(), pa.decimal128(38, scale))

    for value, made in zip(values, found, strict=True):
        if value is None:
            assert made is None
        elif not math.isfinite(value) or abs(value) >= 10 ** (38 - scale):
            assert made is BAD
        else:
            digits = Decimal(repr(value)).as_tuple().exponent
            assert isinstance(digits, int)
            fits = -digits <= scale or Decimal(repr(value)) == round(Decimal(repr(value)), scale)
            # Beyond 2^53 a float has fewer digits than a decimal: any decimal that reads back as the float will do.
            assert (made is not BAD) == fits or abs(value) > 2**53 / 10**scale
            assert made is BAD or float(made) == value


@settings(deadline=None, max_examples=100)
@given(st.lists(st.none() | TEXTS, max_size=12), st.data())
def test_the_way_rows_are_cut_changes_nothing(texts: list[str | None], data: st.DataObject) -> None:
    kinds = [
        pa.int8(),
        pa.float32(),
        pa.decimal128(9, 2),
        pa.bool_(),
        pa.date32(),
        pa.timestamp("us"),
        pa.timestamp("ms", "UTC"),
        pa.time64("us"),
    ]
    schema = pa.schema([("a", data.draw(st.sampled_from(kinds))), ("b", data.draw(st.sampled_from(kinds)))])
    batch = pa.record_batch({"a": pa.array(texts, pa.string()), "b": pa.array(texts[::-1], pa.string())})
    cuts = sorted(data.draw(st.lists(st.integers(0, len(texts)), max_size=3)))

    whole = conform(batch, schema)

    bad, rows = [], []
    for start, end in zip([0, *cuts], [*cuts, len(texts)], strict=True):
        part = conform(batch.slice(start, end - start), schema)
        bad += [start + row for row in part.bad]
        rows += part.batch.to_pylist()
    assert bad == whole.bad
    assert repr(rows) == repr(whole.batch.to_pylist())
    assert whole.batch.num_rows + len(whole.bad) == len(texts)


@settings(deadline=None, max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=6
    )
)
def test_nested_values_become_the_json_they_mean(value: Any) -> None:
    try:
        array = pa.array([[value]])
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return  # mixed types make no Arrow array

    (text,) = convert_column(array, pa.string())[0].to_pylist()

    assert json.loads(text) == [value]
