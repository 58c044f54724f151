"""Files that are read in parts, wherever they are cut: each row once, with the number that it has in its file."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.cast import conform
from beam_pipelines.columnar.numbering import first_of
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import Unread
from beam_pipelines.io.files import stretch
from beam_pipelines.io.files.avro.source import AvroSource
from beam_pipelines.io.files.stretch import Lines, Stretch, edges_of, one_byte_a_line_end
from beam_pipelines.io.files.text.csv import CsvSource
from beam_pipelines.io.files.text.dialect import Dialect
from beam_pipelines.io.files.text.json_array import JsonSource
from beam_pipelines.io.files.text.jsonl import JsonLinesSource
from beam_pipelines.io.files.whole import WholeFiles
from beam_pipelines.runs.window import Range, Window
from beam_pipelines.spec.source import FileSource

LONGEST = 2000


def csv(folder: Path, **model: Any) -> CsvSource:
    return CsvSource(FileSource(path="a.csv", **{"quoted_newlines": False, **model}), None, folder, LONGEST)


def whole(reader: WholeFiles, size: int = 1) -> tuple[Window, Range]:
    window = Window("s", "l", "t", "r", 0, ranges=reader.fix("t", None, None, False, 1).ranges)
    (part,) = window.ranges
    return window.with_schema("", origin.visible_schema(reader.describe("t").schema)), part


def read(reader: WholeFiles, window: Window, parts: Sequence[Range]) -> list[tuple[str, int, Any]]:
    """Each row, or what is none, with its number in the file, counted as a run does."""
    found: list[tuple[str, int, Any]] = []
    before = 0
    for number, part in enumerate(parts):
        for batch in reader.read(part, window, None):
            # Blocks of one file may come in different types: the read step makes them the planned ones.
            rows = batch.batch if isinstance(batch, Unread) else conform(batch, window.schema()).batch
            assert isinstance(batch, Unread) or rows.num_rows == batch.num_rows
            told = batch.messages if isinstance(batch, Unread) else [""] * rows.num_rows
            places = [place.get("line", place.get("row")) for place in origin.describe(rows, range(rows.num_rows))]
            values = origin.visible(rows).to_pylist()
            found += zip(told, (place - first_of(number) + before for place in places), map(str, values), strict=True)
        before += reader.counted.pop(part.index, 0)
    return sorted(found, key=lambda one: one[1])


def parts_of(part: Range, cuts: Sequence[int]) -> list[Range]:
    size = part.bounds["size"]
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < size}), size]
    return [
        Range("l", "t", at, {**part.bounds, **Stretch(at, start, end).bounds, "billed": end - start})
        for at, (start, end) in enumerate(pairwise(edges))
    ]


# Lines.


@given(st.text("a\r\n,", max_size=30), st.lists(st.integers(1, 30), max_size=4), st.integers(1, 9), st.booleans())
def test_lines_of_stretches_are_those_of_the_file_each_once(text: str, cuts: list[int], size: int, csv_: bool) -> None:
    data = text.encode()
    dialect = Dialect(b"," if csv_ else b"")
    edges = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    starts = [0]  # of lines, by hand
    for at, byte in enumerate(data):
        if byte == 10 or (csv_ and byte == 13 and data[at + 1 : at + 2] != b"\n"):
            starts.append(at + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretch, "_LOOK", 2)
        for number, (start, end) in enumerate(pairwise(edges)):
            own = [at for at in starts if (start < at or not number) and at <= end]
            behind = next((at for at in starts if at > end), len(data))
            with pa.BufferReader(data) as file:
                lines = Lines(file, Stretch(number, start, end), dialect)
                pieces = list(iter(lambda: lines.read(size), b""))  # noqa: B023 (called here)
            assert b"".join(pieces) == (data[own[0] : behind] if own else b"")
            assert lines.count == len([at for at in starts if own and own[0] < at <= behind])


@pytest.mark.parametrize(
    ("encoding", "plain"),
    [
        *((name, True) for name in ("utf-8", "UTF8", "latin-1", "cp1252", "koi8-r")),
        *((name, False) for name in ("utf-16", "utf-32-le", "utf-7", "shift_jis", "gb18030", "iso2022_jp", "cp037", "hz")),
    ],
)
def test_only_encodings_in_which_a_byte_says_it_are_cut_at_line_ends(encoding: str, plain: bool) -> None:
    assert one_byte_a_line_end(encoding) is plain


def test_files_are_cut_into_about_equal_parts_that_are_worth_it() -> None:
    mega = 1 << 20
    assert edges_of(8 * mega, 4) == [0, 2 * mega, 4 * mega, 6 * mega, 8 * mega]
    assert edges_of(8 * mega, 100) == [place * mega for place in range(9)]
    assert edges_of(mega, 4) == [0, mega]
    assert edges_of(8 * mega, 4, 3 * mega) == [0, 4 * mega, 6 * mega, 8 * mega]
    assert edges_of(0, 4) == [0, 0]


# Rows.

FIELDS = st.sampled_from(["1", "x", "", '"a,b"', '"a""b"', 'a"b', '"c', '"d"e', '"f\ng"', '"h\r\ni,j"', "ü", "\ufeff", "1,2"])
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


@given(
    st.lists(st.tuples(FIELDS, FIELDS, ENDS), max_size=8),
    st.lists(st.integers(1, 120), max_size=5),
    st.sampled_from(["utf-8", "utf-8-sig", "latin-1"]),
    st.booleans(),
)
def test_csv_is_read_the_same_wherever_it_is_cut(
    tmp_path_factory: Any, rows: list[tuple[str, str, str]], cuts: list[int], encoding: str, ended: bool
) -> None:
    folder = tmp_path_factory.mktemp("c")
    text = "\nid,name\r\n" + "".join(f"{one},{other}{end}" for one, other, end in rows)
    text = text if ended else text.rstrip("\r\n")
    (folder / "a.csv").write_bytes(text.encode(encoding, "replace"))
    reader = csv(folder, encoding="utf-8" if encoding == "utf-8-sig" else encoding, columns={"id": "text", "name": "text"})
    window, part = whole(reader)
    at_once = read(reader, window, [part])
    first = reader.beginning(part and reader.place.at(part.bounds))
    assert read(reader, window, parts_of(part, [cut for cut in cuts if cut > first])) == at_once
    # Each line is a row or a dead letter, whatever stands in quotes; empty ones are none.
    lines = text.encode(encoding, "replace").decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    numbered = [number for number, line in enumerate(lines, 1) if line]
    assert [number for _, number, _ in at_once] == numbered[1:]


def test_a_line_break_between_quotes_makes_ragged_rows_where_it_is_said_that_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,name,age\n1,"a\nb",2\n3,"c,d",4\n')
    window, part = whole(reader := csv(tmp_path, columns={"age": "text", "id": "text"}))
    assert read(reader, window, [part]) == [
        ("expected a row, got a quoted field that is not closed", 2, str({"$raw": '1,"a'})),
        ("expected 3 fields, got 2", 3, str({"$raw": 'b",2'})),
        ("", 4, str({"id": "3", "name": "c,d", "age": "4"})),
    ]


def test_many_quotes_without_an_end_cost_their_lines(tmp_path: Path) -> None:
    good = "".join(f'{n},"x{n}"\n' for n in range(500))
    (tmp_path / "a.csv").write_text("id,name\n" + good + '7,"open\n' * 300 + good)
    window, part = whole(reader := csv(tmp_path))
    found = read(reader, window, parts_of(part, range(1000, 14_000, 1777)))
    assert found == read(reader, window, [part])
    assert [number for message, number, _ in found if message] == list(range(502, 802))
    assert len(found) == 1300


JSON_LINES = st.sampled_from(
    ["{}", '{"a": 1}', '{"a": "x\u2028"}', "[1]", "", " ", '{"a": 2}\r', '{"b": 1}', "x" * 300, f'{{"a": "{"y" * 3000}"}}']
)


@given(st.lists(JSON_LINES, max_size=8), st.lists(st.integers(1, 400), max_size=5), st.booleans())
def test_json_lines_are_read_the_same_wherever_they_are_cut(tmp_path_factory: Any, lines: list[str], cuts: list[int], ended: bool) -> None:
    folder = tmp_path_factory.mktemp("j")
    (folder / "a.jsonl").write_bytes(codecs.BOM_UTF8 + ("\n".join(lines) + "\n" * ended).encode())
    reader = JsonLinesSource(FileSource(path="a.jsonl", columns={"a": "text"}), None, folder, LONGEST)
    window, part = whole(reader)
    assert read(reader, window, parts_of(part, cuts)) == read(reader, window, [part])


@given(st.integers(0, 40), st.sampled_from(["null", "deflate"]), st.lists(st.integers(1, 900), max_size=6))
def test_avro_is_read_the_same_wherever_it_is_cut(tmp_path_factory: Any, count: int, codec: str, cuts: list[int]) -> None:
    folder = tmp_path_factory.mktemp("v")
    schema = {"type": "record", "name": "Row", "fields": [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]}
    rows = [{"id": n, "name": "x" * (n % 7)} for n in range(count)]
    with (folder / "a.avro").open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), rows, codec=codec, sync_interval=20)
    reader = AvroSource(FileSource(path="a.avro"), None, folder)
    window, part = whole(reader)
    expected = [("", n, str(row)) for n, row in enumerate(rows)]
    assert read(reader, window, [part]) == read(reader, window, parts_of(part, cuts)) == expected


# Which files are cut.


def big(path: Path, line: str, size: int) -> Path:
    path.write_text("id\n" + line * (size // len(line)))
    return path


@pytest.mark.parametrize(
    ("model", "count"),
    [({}, 3), ({"quoted_newlines": True}, 1), ({"quoted_newlines": True, "quote": ""}, 3), ({"encoding": "cp500"}, 1)],
)
def test_csv_is_cut_where_no_line_break_is_in_quotes(tmp_path: Path, model: dict[str, Any], count: int) -> None:
    path = big(tmp_path / "a.csv", "12345\n", 4 << 20)
    if model.get("encoding") == "cp500":
        path.write_bytes(path.read_text().encode("cp500"))
        model = {**model, "columns": {"id": "text"}, "header": False}
    parts = csv(tmp_path, **model).fix("t", None, None, False, 3).ranges
    assert len(parts) == count
    assert [part.index for part in parts] == list(range(count))
    assert sum(part.bounds["billed"] for part in parts) == sum(part.bytes for part in parts) == path.stat().st_size


def test_a_large_file_is_cut_more_often_than_a_small_one_and_packed_ones_are_not(tmp_path: Path) -> None:
    big(tmp_path / "a.jsonl", '{"a": 1}\n', 6 << 20).write_text('{"a": 1}\n' * 700_000)
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n')
    reader = JsonLinesSource(FileSource(path="*.jsonl"), None, tmp_path)
    files = [part.bounds["label"] for part in reader.fix("t", None, None, False, 4).ranges]
    assert files == ["a.jsonl"] * 4 + ["b.jsonl"]
    assert JsonLinesSource(FileSource(path="a.jsonl", compression="gzip"), None, tmp_path).splits(reader.stored()[0]) is False


def test_an_array_of_json_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" + ",\n".join(['{"a": 12345}'] * 300_000) + "]")
    assert len(JsonSource(FileSource(path="a.json"), None, tmp_path).fix("t", None, None, False, 3).ranges) == 1


def test_the_key_is_of_csv_alone(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="'quotedNewlines' says nothing of JSON Lines files"):
        JsonLinesSource(FileSource(path="a.jsonl", quotedNewlines=False), None, tmp_path)


def test_a_header_behind_many_empty_lines_is_of_the_first_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretch, "LEAST", 10)
    (tmp_path / "a.csv").write_text("\n" * 3000 + "id\n" + "1\n" * 1000)
    reader = csv(tmp_path)
    parts = reader.fix("t", None, None, False, 5).ranges
    assert [part.bounds["start"] for part in parts] == [0, 3 * parts[0].bounds["size"] // 5, 4 * parts[0].bounds["size"] // 5]
    assert parts[1].bounds["start"] > 3000
    window = Window("s", "l", "t", "r", 0, ranges=parts).with_schema("", pa.schema([("id", pa.int64())]))
    found = [batch.num_rows for part in parts for batch in reader.read(part, window, None)]
    assert sum(found) == 1000


def test_parts_are_read_by_json_bounds(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n' * 10)
    window, part = whole(reader := JsonLinesSource(FileSource(path="a.jsonl"), None, tmp_path))
    again = Window.from_text(Window("s", "l", "t", "r", 0, ranges=tuple(parts_of(part, [30]))).to_text())
    assert again.ranges[1].bounds == {**part.bounds, "part": 1, "start": 30, "end": 90, "billed": 60}
    assert len(read(reader, window, again.ranges)) == 10
