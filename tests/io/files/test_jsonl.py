from __future__ import annotations

import datetime as dt
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.cast import conform
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connector import Unread
from beam_pipelines.io.files.text.jsonl import JsonLinesSource
from beam_pipelines.runs.window import Window
from beam_pipelines.spec.source import FileSource

LONGEST = 100_000


def source(folder: Path, path: str = "a.jsonl", **model: Any) -> JsonLinesSource:
    return JsonLinesSource(FileSource(path=path, **model), None, folder, LONGEST)


def write(folder: Path, *lines: Any, name: str = "a.jsonl") -> Path:
    """Write values as JSON, and text and bytes as they are."""
    path = folder / name
    told = [line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode() for line in lines]
    path.write_bytes(b"".join(line + b"\n" for line in told))
    return path


def lines(read: Any) -> list[int]:
    return [told["line"] for batch in read.batches for told in origin.describe(batch, range(batch.num_rows))]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, -2, None], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([1.0], pa.float64()),
        ([12345678901234567890123], pa.string()),
        ([10**17, 0.5], pa.string()),
        ([True, None], pa.bool_()),
        ([True, 1], pa.string()),
        (["2026-01-01"], pa.string()),
        (["1"], pa.string()),
        ([None], pa.string()),
        ([1, "x"], pa.string()),
        ([[1, 2], [], None], pa.list_(pa.int64())),
        ([[]], pa.list_(pa.string())),
        ([[1], ["x"]], pa.list_(pa.string())),
        ([{"x": 1}, {"y": "a", "x": 2.5}], pa.struct([("x", pa.float64()), ("y", pa.string())])),
        ([{}], pa.string()),
        ([{"x": 1}, [1]], pa.string()),
        ([[{"x": [None]}]], pa.list_(pa.struct([("x", pa.list_(pa.string()))]))),
    ],
)
def test_what_a_sample_says_of_types(tmp_path: Path, values: list[Any], kind: pa.DataType) -> None:
    write(tmp_path, *({"v": value} for value in values))
    assert source(tmp_path).describe("t").schema == pa.schema([("v", kind)])


ROWS = [
    {"id": 1, "name": "Ann", "paid": 1.5, "ok": True, "tags": ["a", None], "home": {"city": "Rome", "at": [1, 2]}},
    {"id": 2, "name": 'naïve \u2028 "q" \\ \x7f \u0000', "paid": 2.0, "ok": False, "tags": [], "home": {"city": None, "at": None}},
    {"id": None, "name": None, "paid": None, "ok": None, "tags": None, "home": None},
    {"id": -(2**62), "name": "", "paid": 1e-300, "ok": True, "tags": [""], "home": {"city": "", "at": []}},
]


@pytest.mark.parametrize("odd", [None, "", " ", "{"])
def test_rows_are_the_same_by_block_and_by_line(tmp_path: Path, reading: Any, odd: str | None) -> None:
    write(tmp_path, *ROWS[:1], *ROWS, *([] if odd is None else [odd]))
    read = reading.poll(source(tmp_path), "t")
    assert read.rows == [ROWS[0], *ROWS]
    assert lines(read) == [1, 2, 3, 4, 5]
    assert len(read.unread) == (odd == "{")


def test_a_missing_key_is_null_and_empty_lines_are_none(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, "\ufeff" + '{"a":1,"b":2}\r', "\r", '{"b":3}\r', ' {"a" : 4} \r')
    read = reading.poll(source(tmp_path), "t")
    assert read.rows == [{"a": 1, "b": 2}, {"a": None, "b": 3}, {"a": 4, "b": None}]
    assert lines(read) == [1, 3, 4]


BAD = [
    ("[1]", "row-invalid", "got a list"),
    ("5", "row-invalid", "got a number"),
    ("null", "row-invalid", "got null"),
    ('{"a":1} {"a":2}', "row-invalid", "got text that is none"),
    ('{"a":1}{"a":2}', "row-invalid", "got text that is none"),
    ('{"a":', "row-invalid", "got text that is none"),
    ('{"a":1,}', "row-invalid", "got text that is none"),
    ("{'a':1}", "row-invalid", "got text that is none"),
    ('{"a":01}', "row-invalid", "got text that is none"),
    ('{"a":1,"a":2}', "row-invalid", "got one twice"),
    ('{"f":NaN}', "row-invalid", "NaN or Infinity"),
    ('{"f":-Infinity}', "row-invalid", "NaN or Infinity"),
    ('{"t":"\\ud800"}', "row-invalid", "surrogate"),
    ('{"t":"x\x01"}', "row-invalid", "got text that is none"),
    (b'{"t":"\xff"}', "row-invalid", "no characters"),
    ('{"other":1}', "row-invalid", "got another"),
    ('{"s":{"y":1}}', "row-invalid", "got another"),
    ('{"a":"1"}', "cast-failed", "column 'a': expected int64, got a text"),
    ('{"a":true}', "cast-failed", "column 'a': expected int64, got a boolean"),
    ('{"a":[1]}', "cast-failed", "column 'a': expected int64, got a list"),
    ('{"s":1}', "cast-failed", "column 's': expected struct<x: int64>, got a number"),
    ('{"l":{"x":1}}', "cast-failed", "column 'l': expected list<item: int64>, got an object"),
    ('{"l":[1,"x"]}', "cast-failed", "column 'l': expected int64, got a text"),
    ('{"a":' + "[" * 200_00 + "]" * 200_00 + "}", "", ""),
]


@pytest.mark.parametrize(("line", "code", "message"), BAD)
def test_a_line_that_is_no_row_costs_itself(tmp_path: Path, reading: Any, line: Any, code: str, message: str) -> None:
    good = {"a": 1, "t": "x", "f": 0.5, "s": {"x": 1}, "l": [1]}
    write(tmp_path, good, line, good)
    read = reading.poll(source(tmp_path, sample_rows=1), "t")
    assert read.rows == [good, good]
    assert lines(read) == [1, 3]
    ((number, found, said, known),) = read.unread
    assert number == 2
    if code:
        assert (found, known) == (code, {"$raw": line if isinstance(line, str) else '{"t":"\\xff"}'})
        assert message in said


@pytest.mark.parametrize("line", ['{"a":1.5}', '{"a":1e2}', '{"a":12345678901234567890}', '{"f":1e400}'])
def test_a_number_that_its_column_cannot_hold_costs_its_line(tmp_path: Path, reading: Any, line: str) -> None:
    write(tmp_path, {"a": 1, "f": 0.5}, line, {"a": 2, "f": 1})
    read = reading.poll(source(tmp_path, sample_rows=1), "t")
    assert read.rows == [{"a": 1, "f": 0.5}, {"a": 2, "f": 1.0}]
    assert len(read.reasons) == 1


def test_text_takes_every_value_as_its_json(tmp_path: Path, reading: Any) -> None:
    write(
        tmp_path,
        {"v": "x"},
        '{"v": 1.10}',
        '{"v": 123456789012345678901234567890}',
        '{"v": {"b": [1.0, true, null, "é\\n"]}}',
        {"v": False},
    )
    assert reading.poll(source(tmp_path, sample_rows=1), "t").column("v") == [
        "x",
        "1.10",
        "123456789012345678901234567890",
        '{"b":[1.0,true,null,"é\\n"]}',
        "false",
    ]


def test_declared_types(tmp_path: Path, reading: Any) -> None:
    columns = {
        "paid": "decimal(20,2)",
        "day": "date",
        "at": "timestamptz",
        "n": "bigint",
        "zip": "text",
        "any": "json",
        "counts": "map<text,bigint>",
        "s": "struct<day: date>",
        "never": "text",
    }
    write(
        tmp_path,
        '{"paid": 123456789012345678.10, "day": "2026-01-31", "at": "2026-01-31T10:00:00+01:00", "n": "7", "zip": 1067, "any": "x", '
        '"counts": {"a": 1}, "s": {"day": "2026-01-01"}}',
        '{"paid": "1.5", "any": {"b": 1.10}, "s": {}}',
        '{"day": "soon"}',
    )
    read = reading.poll(source(tmp_path, columns=columns), "t")
    assert read.rows[0] == {
        "paid": Decimal("123456789012345678.10"),
        "day": dt.date(2026, 1, 31),
        "at": dt.datetime(2026, 1, 31, 9, tzinfo=dt.timezone.utc),
        "n": 7,
        "zip": "1067",
        "any": '"x"',
        "counts": [("a", 1)],
        "s": {"day": dt.date(2026, 1, 1)},
        "never": None,
    }
    assert (read.rows[1]["paid"], read.rows[1]["any"], read.rows[1]["s"]) == (Decimal("1.50"), '{"b":1.10}', {"day": None})
    assert len(read.rows) == 2
    assert len(read.reasons) == 1


def test_types_are_those_of_all_files_together(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, {"a": 1}, name="a.jsonl")
    write(tmp_path, {"a": 1.5, "b": "x"}, name="b.ndjson")
    read = reading.poll(source(tmp_path, "*", format="jsonl"), "t")
    assert read.rows == [{"a": 1.0, "b": None}, {"a": 1.5, "b": "x"}]


def test_a_large_compressed_file_with_a_bad_line_in_each_block(tmp_path: Path, reading: Any) -> None:
    rows = [{"n": n, "v": f"value {n}"} for n in range(100_000)]
    told = [json.dumps(row) for row in rows]
    told[::10_000] = ["no"] * 10
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(("\n".join(['{"n":1,"v":"x"}', *told])).encode()))
    read = reading.poll(source(tmp_path, "a.jsonl.gz"), "t")
    assert read.rows[1:] == [row for row in rows if row["n"] % 10_000]
    assert [line for line, *_ in read.unread] == [2 + n for n in range(0, 100_000, 10_000)]


def test_a_line_that_is_too_long_costs_itself(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, {"v": "a"}, {"v": "x" * 5_000_000}, {"v": "b"})
    read = reading.poll(source(tmp_path), "t")
    assert read.column("v") == ["a", "b"]
    ((line, code, message, known),) = read.unread
    assert (line, code, len(known["$raw"])) == (2, "cell-too-large", 65_536)
    assert "5000009 bytes" in message


@pytest.mark.parametrize(
    ("content", "model", "error", "message"),
    [
        ("", {}, PlanError, "declare them"),
        ("\n[\n1\n]\n", {}, PlanError, "declare them"),
        ('{"a":1}\n', {"delimiter": ";"}, PlanError, "'delimiter' says nothing of JSON Lines files"),
        ('{"a":1}\n', {"null_values": ["NA"]}, PlanError, "'nullValues' says nothing"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: str, model: dict[str, Any], error: Any, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(error, match=message):
        source(tmp_path, **model).describe("t")


def test_declared_columns_need_no_line(tmp_path: Path, reading: Any) -> None:
    write(tmp_path)
    assert reading.poll(source(tmp_path, columns={"a": "bigint"}), "t").rows == []


def test_a_file_that_changed_stops_the_run(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, {"a": 1})
    reader = source(tmp_path)
    window = reading.window(reader, "t")
    write(tmp_path, {"a": 1}, {"a": 2})
    with pytest.raises(FatalError, match=r"a\.jsonl' changed"):
        reading.read(reader, window)


COLUMNS = {
    "n": "bigint",
    "f": "double",
    "m": "decimal(6,2)",
    "b": "bool",
    "t": "text",
    "d": "date",
    "s": "struct<x: bigint>",
    "l": "text[]",
}
PIECES = {
    "n": ["1", '"7"', "9223372036854775808", "1.0", "true", "x"],
    "f": ["0.5", "1", "1e400", "NaN", '"2"', "1e-400"],
    "m": ["1.10", '"1.1"', "12345.1", "0.001", "1e2"],
    "b": ["true", '"yes"', "1", '"maybe"'],
    "t": ['"x"', "1.50", '{"a":[1.0,null]}', '"\\u00e9"', '"\\ud800"', '"NaN"'],
    "d": ['"2026-01-31"', '"2026-02-30"', "1"],
    "s": ["{}", '{"x":1}', '{"x":null}', '{"x":"y"}', '{"z":1}', "[]"],
    "l": ["[]", '["a",null]', '["a",1]', '"a"'],
    "z": ["1"],
}
LINES = st.lists(st.sampled_from([(key, value) for key, values in PIECES.items() for value in values]), max_size=3).map(
    lambda parts: "{" + ",".join(f'"{key}":{value}' for key, value in parts) + "}"
)


@given(st.lists(LINES, min_size=1, max_size=3))
@example(['{"m":12345.1}'])
def test_lines_come_to_the_same_whatever_is_in_their_block(tmp_path_factory: Any, told: list[str]) -> None:
    folder = tmp_path_factory.mktemp("j")
    found = []
    for number, odd in enumerate(([], ["odd"])):
        write(folder, *told, *odd, name=f"{number}.jsonl")
        reader = source(folder, f"{number}.jsonl", columns=COLUMNS)
        schema = pa.schema([(name, reader.declared[name]) for name in COLUMNS])
        rows: dict[int, Any] = {}
        for batch in reader.read(
            reader.fix("t", None, None, False, 1).ranges[0], Window("s", "l", "t", "r", 0).with_schema("", schema), None
        ):
            if not isinstance(batch, Unread):
                good = conform(batch, schema).batch
                numbers = [told["line"] for told in origin.describe(good, range(good.num_rows))]
                rows |= dict(zip(numbers, origin.visible(good).to_pylist(), strict=True))
        found.append(repr(rows))
    assert found[0] == found[1]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=4,
)


@given(st.lists(st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES}), min_size=1, max_size=6))
def test_what_python_writes_comes_back(tmp_path_factory: Any, rows: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("j")
    write(folder, {"a": None, "b": None}, *rows)
    reader = source(folder)
    schema = reader.describe("t").schema
    window = Window("s", "l", "t", "r", 0).with_schema("", schema)
    found: list[dict[str, Any]] = []
    for batch in reader.read(reader.fix("t", None, None, False, 1).ranges[0], window, None):
        assert not isinstance(batch, Unread)
        conformed = conform(batch, schema)
        assert conformed.bad == []
        found += origin.visible(conformed.batch).to_pylist()
    assert len(found) == len(rows) + 1
    for row, read in zip([{}, *rows], found, strict=True):
        assert all(same(read[field.name], row.get(field.name), field.type) for field in schema)


def same(found: Any, value: Any, kind: pa.DataType) -> bool:
    """Whether a value of a column is what was written."""
    if value is None or found is None:
        return value is found
    if pa.types.is_list(kind):
        return len(found) == len(value) and all(same(one, other, kind.value_type) for one, other in zip(found, value, strict=True))
    if pa.types.is_struct(kind):
        return all(same(found[field.name], value.get(field.name), field.type) for field in kind)
    if pa.types.is_string(kind) and not isinstance(value, str):
        return bool(json.loads(found) == value)
    return bool(found == value)
