from __future__ import annotations

import bz2
import csv
import datetime as dt
import gzip
import io
import os
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connector import CursorSpec
from beam_pipelines.io.files.parquet import ParquetSource
from beam_pipelines.io.files.text.csv import CsvSource
from beam_pipelines.spec.source import FileSource

LONGEST = 100_000


def source(folder: Path, path: str = "a.csv", **model: Any) -> CsvSource:
    return CsvSource(FileSource(path=path, **model), None, folder, LONGEST)


def write(folder: Path, text: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def lines(read: Any) -> list[int]:
    return [told["line"] for batch in read.batches for told in origin.describe(batch, range(batch.num_rows))]


# Types.


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-20", "0", ""], pa.int64()),
        (["123456789012345678"], pa.int64()),
        (["1234567890123456789"], pa.string()),  # most numbers of 19 digits fit, not all: a card or a parcel perhaps
        (["1", "007"], pa.string()),
        (["1", "+5"], pa.string()),
        (["1", "NA"], pa.string()),
        (["1", "2.5", "-0.25"], pa.float64()),
        (["1.5", "1e5"], pa.string()),
        (["1234567890.123456"], pa.string()),
        (["+491701234567"], pa.string()),
        (["0x10"], pa.string()),
        (["true", "FALSE", ""], pa.bool_()),
        (["true", "yes"], pa.string()),
        (["0", "1"], pa.int64()),
        (["2026-01-31"], pa.date32()),
        (["2026-02-30"], pa.string()),
        (["31.01.2026"], pa.string()),
        (["2026-01-31T10:00", "2026-01-31 10:00:05.123456"], pa.timestamp("us")),
        (["2026-01-31T10:00:00Z", "2026-01-31T10:00:00+02:00"], pa.timestamp("us", "UTC")),
        (["2026-01-31T10:00:00Z", "2026-01-31T10:00:00"], pa.string()),
        (["2026-01-31", "2026-01-31T10:00:00"], pa.string()),
        (["2026-01-31T10:00:00.123456789"], pa.string()),
        (["", ""], pa.string()),
        (['""', "1"], pa.int64()),
        (["1 "], pa.string()),
    ],
)
def test_what_a_sample_says_of_types(tmp_path: Path, values: list[str], kind: pa.DataType) -> None:
    write(tmp_path, "".join(f"x,{value}\n" for value in ["v", *values]))
    assert source(tmp_path).describe("t").schema.field("v").type == kind


def test_values_come_as_the_types_that_are_declared_and_inferred(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, "id,zip,paid,born,ok\n1,01067,1.10,1990-05-17,true\n2,,,,\n")
    read = reading.poll(source(tmp_path, columns={"paid": "decimal(10,2)", "id": "int16"}), "t")
    assert read.rows == [
        {"id": 1, "zip": "01067", "paid": Decimal("1.10"), "born": dt.date(1990, 5, 17), "ok": True},
        {"id": 2, "zip": None, "paid": None, "born": None, "ok": None},
    ]
    assert source(tmp_path, columns={"id": "int16"}).describe("t").schema.field("id").type == pa.int16()


def test_a_value_after_the_sample_that_is_no_such_one_costs_its_row(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, "n,v\n1,a\n2,b\nx,c\n007,d\n+5,e\n3,f\n")
    read = reading.poll(source(tmp_path, sample_rows=2), "t")
    assert read.column("n") == [1, 2, 3]
    assert read.reasons == ["column 'n': expected int64, got text that does not read as one"]
    assert [(line, code, known) for line, code, _, known in read.unread] == [
        (5, "cast-failed", {"n": "007", "v": "d"}),
        (6, "cast-failed", {"n": "+5", "v": "e"}),
    ]
    declared = reading.poll(source(tmp_path, columns={"n": "bigint"}), "t")
    assert (declared.column("n"), declared.unread) == ([1, 2, 7, 5, 3], [])


@pytest.mark.parametrize(("text", "stays"), [("FALSE", True), ("", True), ("yes", False), ("1", False), ("on", False), ("maybe", False)])
def test_only_true_and_false_are_booleans_where_the_sample_has_them(tmp_path: Path, reading: Any, text: str, stays: bool) -> None:
    write(tmp_path, f"b,v\ntrue,a\n{text},b\n")
    read = reading.poll(source(tmp_path, sample_rows=1), "t")
    assert (len(read.rows), len(read.unread) + len(read.reasons)) == ((2, 0) if stays else (1, 1))


@pytest.mark.parametrize("text", ["0", "-1", "10", "", "105", "0.5", "-0.5"])
def test_numbers_as_they_are_written_are_no_codes(tmp_path: Path, reading: Any, text: str) -> None:
    write(tmp_path, f"n,v\n1.5,a\n{text},b\n")
    assert reading.poll(source(tmp_path, sample_rows=1), "t").column("n") == [1.5, float(text) if text else None]


def test_types_are_those_of_all_files_together(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, "id,only\n1,x\n", "a.csv")
    write(tmp_path, "late,id\n2026-01-01,A7\n", "b.csv")
    read = reading.poll(source(tmp_path, "*.csv"), "t")
    assert read.rows == [{"id": "1", "only": "x", "late": None}, {"id": "A7", "only": None, "late": dt.date(2026, 1, 1)}]
    assert [part.bounds["label"] for part in read.fixed.ranges] == ["a.csv", "b.csv"]


# Null and empty.


def test_an_empty_field_is_null_and_quotes_are_empty_text(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, 'a,b,n\n,"",1\nNA,"NA",""\n')
    assert reading.poll(source(tmp_path, null_values=["NA"]), "t").rows == [
        {"a": None, "b": "", "n": 1},
        {"a": None, "b": "NA", "n": None},
    ]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_last_field_is_null_with_and_without_an_end_of_line(tmp_path: Path, reading: Any, end: str) -> None:
    write(tmp_path, 'a,b\n"x",' + end)
    assert reading.poll(source(tmp_path), "t").rows == [{"a": "x", "b": None}]


# Records.


def test_rows_come_with_the_line_they_begin_in(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, '\ufeffa,b\r\n1,"x\r\n\r\ny"\r\n\r\n2,z\r\n3,"w""q"')
    read = reading.poll(source(tmp_path), "t")
    assert [row["b"] for row in read.rows] == ["x\r\n\r\ny", "z", 'w"q']
    assert lines(read) == [2, 6, 7]


@pytest.mark.parametrize("place", [0, 5, 9])
@pytest.mark.parametrize(("odd", "fields"), [("1", 1), ("1,2,3", 3), ("1,", 0), (",,,", 4)])
def test_a_ragged_row_costs_itself(tmp_path: Path, reading: Any, place: int, odd: str, fields: int) -> None:
    rows = [f"{n},row {n}" for n in range(10)]
    rows[place] = odd
    write(tmp_path, "\n".join(["n,v", *rows]))
    read = reading.poll(source(tmp_path), "t")
    assert read.column("v") == [None if n == place else f"row {n}" for n in range(10) if fields == 0 or n != place]
    told = [(place + 2, "row-invalid", f"expected 2 fields, got {fields}", {"$raw": odd})]
    assert read.unread == (told if fields else [])


def test_ragged_rows_among_values_with_line_breaks_have_the_line_of_the_file(tmp_path: Path, reading: Any) -> None:
    text = "n,v\n" + "".join(f'{n},"a\nb{n}"\n{n},x,"\n"\n' for n in range(40_000))
    write(tmp_path, text)
    read = reading.poll(source(tmp_path), "t")
    assert read.column("v") == [f"a\nb{n}" for n in range(40_000)]
    assert lines(read) == [2 + 4 * n for n in range(40_000)]
    assert [line for line, *_ in read.unread] == [4 + 4 * n for n in range(40_000)]


def test_an_open_quote_costs_the_line_it_opens_in(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, 'n,v\n1,a\n2,"b\n3,c\n4,"d"\n5,"e\n6,f\n')
    read = reading.poll(source(tmp_path), "t")
    assert read.column("n") == [1, 3, 4, 6]
    assert lines(read) == [2, 4, 5, 7]
    assert [(line, known["$raw"]) for line, _, _, known in read.unread] == [(3, '2,"b'), (6, '5,"e')]
    assert "goes on behind its closing quote" in read.unread[0][2]
    assert "not closed" in read.unread[1][2]


def test_bytes_that_are_no_characters_cost_their_row(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, "n,v\n1,grün\n2,".encode() + b"gr\xfcn\n3,\xe2\x82\n4,\x00\n")
    read = reading.poll(source(tmp_path), "t")
    assert read.rows == [{"n": 1, "v": "grün"}, {"n": 4, "v": "\x00"}]
    assert [(line, code, known) for line, code, _, known in read.unread] == [
        (3, "row-invalid", {"$raw": "2,gr\\xfcn"}),
        (4, "row-invalid", {"$raw": "3,\\xe2\\x82"}),
    ]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig", "cp1252"])
def test_other_encodings(tmp_path: Path, reading: Any, encoding: str) -> None:
    write(tmp_path, "n,größe\n1,Ä\n2,ö,ü\n".encode(encoding))
    read = reading.poll(source(tmp_path, encoding=encoding), "t")
    assert read.rows == [{"n": 1, "größe": "Ä"}]
    assert [(line, known) for line, _, _, known in read.unread] == [(3, {"$raw": "2,ö,ü"})]


def test_bytes_that_an_encoding_has_not_cost_their_row(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, b"n,v\n1,\x81\n2,\xe9\n")
    read = reading.poll(source(tmp_path, encoding="cp1252"), "t")
    assert (read.rows, [line for line, *_ in read.unread]) == ([{"n": 2, "v": "é"}], [2])


def test_a_line_that_is_too_long_costs_itself(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, "n,v\n1,a\n2," + "x" * 10_000_000 + '\n3,b\n4,"' + "y" * (LONGEST - 4) + '"\n')
    tracemalloc.start()
    read = reading.poll(source(tmp_path), "t")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert read.column("n") == [1, 3]
    assert [(line, code, len(known["$raw"])) for line, code, _, known in read.unread] == [
        (3, "cell-too-large", 65_536),
        (5, "cell-too-large", 65_536),
    ]


@pytest.mark.parametrize(
    ("name", "model"), [("a.tsv", {}), ("a.csv", {"delimiter": "\t"}), ("a.txt", {"format": "csv", "delimiter": "\t"})]
)
def test_tabs(tmp_path: Path, reading: Any, name: str, model: dict[str, Any]) -> None:
    write(tmp_path, "a\tb\n1\tx,y\n", name)
    assert reading.poll(source(tmp_path, name, **model), "t").rows == [{"a": 1, "b": "x,y"}]


def test_without_quotes_a_quote_is_a_character(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, 'a;b\n"1;x"\n2;"\n')
    assert reading.poll(source(tmp_path, delimiter=";", quote=""), "t").rows == [{"a": '"1', "b": 'x"'}, {"a": "2", "b": '"'}]
    write(tmp_path, "a,b\n1,'x,y'\n2,5\" pipe\n")
    assert reading.poll(source(tmp_path, quote="'"), "t").rows == [{"a": 1, "b": "x,y"}, {"a": 2, "b": '5" pipe'}]


# Headers.


def test_names_without_a_header_are_the_declared_columns(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, "1,x\n2,y,z\n")
    read = reading.poll(source(tmp_path, header=False, columns={"id": "bigint", "name": "text"}), "t")
    assert read.rows == [{"id": 1, "name": "x"}]
    assert [line for line, *_ in read.unread] == [2]


def test_a_column_without_a_name_is_named_by_its_place(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, ',"a ""b"", c"\n0,x\n')
    assert reading.poll(source(tmp_path), "t").rows == [{"column_1": 0, 'a "b", c': "x"}]


@pytest.mark.parametrize(
    ("text", "model", "error", "code", "message"),
    [
        ("a,b,a\n1,2,3\n", {}, PlanError, "type-unsupported", r"'a\.csv' has two columns of one name: 'a' \(line 1\)"),
        ("", {}, PlanError, "column-missing", "neither a row nor a header"),
        ("a,b\n", {"columns": {"c": "text"}}, PlanError, "column-missing", "got 'c', which it has not; it has 'a', 'b'"),
        ("a,b\n", {"columns": {"a": "txt"}}, PlanError, "type-unsupported", "did you mean 'text'"),
        (
            '\n"a,b\n1,2\n',
            {},
            FatalError,
            "read-failed",
            r"header of .*a\.csv' \(line 2\) cannot be read: a quoted field that is not closed",
        ),
        (b"a,\xff\n1,2\n", {}, FatalError, "read-failed", r"a\.csv' cannot be read, its header \(line 1\) is none"),
        ("a,b\n1,2\n".encode("utf-16"), {}, FatalError, "read-failed", "say encoding: utf-16"),
        ("a;b\n1;2\n", {}, PlanError, "option-invalid", "one column, with ';' in its name: say delimiter: ';'"),
        ("a,b\n", {"compression": "snappy"}, PlanError, "not-served", "gzip, bz2, zstd or none"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, text: str | bytes, model: dict[str, Any], error: type[Exception], code: str, message: str
) -> None:
    write(tmp_path, text)
    with pytest.raises(error, match=message) as raised:
        source(tmp_path, **model).describe("t")
    assert raised.value.code == code  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["a,b\n", "a,b", "\n\na,b\n\n"])
def test_a_header_alone_is_no_rows(tmp_path: Path, reading: Any, text: str) -> None:
    write(tmp_path, text)
    assert source(tmp_path).describe("t").schema == pa.schema([("a", pa.string()), ("b", pa.string())])
    assert reading.poll(source(tmp_path), "t").rows == []
    assert source(tmp_path).sample("t", 5).num_rows == 0


def test_an_empty_file_is_no_rows_of_the_declared_columns(tmp_path: Path, reading: Any) -> None:
    path = write(tmp_path, "")
    read = reading.poll(source(tmp_path, columns={"a": "bigint"}), "t")
    assert (read.rows, read.fixed.ranges[0].bounds["billed"]) == ([], path.stat().st_size)


# Files.

PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True), "": bytes}


@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_files_by_their_name(tmp_path: Path, reading: Any, suffix: str) -> None:
    text = "n,v\n" + "".join(f"{n},value {n}\n" for n in range(100_000))
    path = write(tmp_path, PACKED[suffix](text.encode()), f"a.csv{suffix}")
    read = reading.poll(source(tmp_path, "a.csv*"), "t")
    assert read.column("n") == list(range(100_000))
    assert lines(read) == list(range(2, 100_002))
    assert read.fixed.ranges[0].bounds["billed"] == read.fixed.ranges[0].bytes == path.stat().st_size


def test_of_a_folder_the_files_of_the_format_are_read(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, "n\n1\n", "a.csv")
    write(tmp_path, gzip.compress(b"n\n2\n"), "b.CSV.gz")
    write(tmp_path, "n\n3\n", "c.tsv")
    write(tmp_path, "n\n4\n", "d.txt")
    write(tmp_path, "n\n5\n", ".e.csv")
    assert reading.poll(CsvSource(FileSource(path=".", format="csv"), None, tmp_path), "t").column("n") == [1, 2, 3]


def test_two_gzip_files_in_one_are_one(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, gzip.compress(b"n\n1\n") + gzip.compress(b"2\n"), "a.gz")
    assert reading.poll(source(tmp_path, "a.gz", format="csv"), "t").column("n") == [1, 2]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_a_compressed_file_cut_off_is_named(tmp_path: Path, reading: Any, suffix: str) -> None:
    data = PACKED[suffix](b"n,v\n" + os.urandom(300_000).hex().encode() + b"\n1,2\n" * 100_000)
    path = write(tmp_path, data, f"a.csv{suffix}")
    whole = source(tmp_path, path.name)
    window = reading.window(whole, "t")
    stat = path.stat()
    path.write_bytes(data[:-20] + bytes(0))
    window.ranges[0].bounds.update(size=path.stat().st_size, tag=str(path.stat().st_mtime_ns))
    with pytest.raises(FatalError, match=rf"a\.csv\{suffix}' cannot be read, it may be damaged or cut off") as raised:
        reading.read(whole, window)
    assert raised.value.code == "read-failed"
    assert stat.st_size > path.stat().st_size


@pytest.mark.parametrize("change", ["written anew", "touched", "deleted"])
def test_a_file_that_changed_since_the_run_was_prepared_stops_it(tmp_path: Path, reading: Any, change: str) -> None:
    path = write(tmp_path, "a\n1\n")
    reader = source(tmp_path)
    window = reading.window(reader, "t")
    if change == "deleted":
        path.unlink()
    elif change == "touched":
        os.utime(path, ns=(1, 1))
    else:
        write(tmp_path, "a\n1\n2\n")
    with pytest.raises(FatalError, match=r"a\.csv"):
        reading.read(reader, window)


def test_batches_stay_within_the_size_policy(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, "n\n" + "1\n" * 200_000, "a.csv")
    write(tmp_path, "wide\n" + "".join(f"{n}{'x' * 20_000}\n" for n in range(1000)), "b.csv")
    batches = reading.poll(source(tmp_path, "*.csv"), "t").batches
    assert sum(batch.num_rows for batch in batches) == 201_000
    assert max(batch.num_rows for batch in batches) <= 65_536
    assert max(batch.nbytes for batch in batches) < 12 << 20


def test_what_is_read_does_not_stay_in_memory(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, b"n,v\n" + b"1,xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n" * 1_000_000)
    reader = source(tmp_path)
    window = reading.window(reader, "t")
    before, most = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    for batch in reader.read(window.ranges[0], window, None):
        most = max(most, pa.total_allocated_bytes() - before)
        del batch
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 40 << 20  # of 48 MB: what is being read, what is ready, and what is taken
    assert python < 30 << 20


def test_reading_again_gives_the_same(tmp_path: Path, reading: Any) -> None:
    write(tmp_path, "n,v\n" + "".join(f"{n},{n}\n{n}\n" for n in range(50_000)))
    reader = source(tmp_path)
    window = reading.window(reader, "t")
    one, other = reading.read(reader, window), reading.read(reader, window)
    assert (one.rows, one.unread) == (other.rows, other.unread)
    assert [batch.num_rows for batch in one.batches] == [batch.num_rows for batch in other.batches]


def test_rows_are_guessed_by_the_beginning(tmp_path: Path) -> None:
    write(tmp_path, "n,v\n" + "".join(f"{n},{'x' * 30}\n" for n in range(100_000, 200_000)))
    assert source(tmp_path).describe("t").rows == pytest.approx(100_000, rel=0.05)
    write(tmp_path, "n\n1\n2\n3\n")
    assert source(tmp_path).describe("t").rows == 3


def test_files_are_not_read_by_increments(tmp_path: Path) -> None:
    write(tmp_path, "n\n1\n")
    with pytest.raises(PlanError, match="read whole"):
        source(tmp_path).fix("t", CursorSpec("n"), None, False, 1)


def test_check_and_sample(tmp_path: Path) -> None:
    path = write(tmp_path, "n,v\n1,a\nbad\n2,b\n3,c\n")
    assert source(tmp_path).check() == f"1 CSV file, 2 columns, {path.stat().st_size} bytes, a.csv"
    assert origin.visible(source(tmp_path).sample("t", 2)).to_pylist() == [{"n": "1", "v": "a"}, {"n": "2", "v": "b"}]
    write(tmp_path, "n,v\n" + "1,a\n" * 50_000)
    write(tmp_path, "n,v\n" + "2,b\n" * 50_000, "b.csv")
    assert source(tmp_path, "*.csv").sample("t", 60_000)["n"].to_pylist() == ["1"] * 50_000 + ["2"] * 10_000


def test_keys_of_text_beside_parquet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="'sampleRows' says nothing of Parquet files"):
        ParquetSource(FileSource(path="a.parquet", sample_rows=5), None, tmp_path)


@given(
    st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(',"\r\n'), max_size=8)] * 3), max_size=20),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_python_writes_comes_back(tmp_path_factory: Any, rows: list[tuple[str, str, str]], quoting: Any) -> None:
    folder = tmp_path_factory.mktemp("c")
    text = io.StringIO()
    csv.writer(text, quoting=quoting).writerows([("a", "b", "c"), *rows])
    write(folder, text.getvalue())
    reader = CsvSource(FileSource(path="a.csv", columns={"a": "text", "b": "text", "c": "text"}), None, folder)
    batches = [batch for part in reader.fix("t", None, None, False, 1).ranges for batch in _read(reader, part)]
    found = [tuple(row.values()) for batch in batches for row in origin.visible(batch).to_pylist()]
    # An empty text that is not quoted is null.
    assert found == [tuple(value if value or quoting == csv.QUOTE_ALL else None for value in row) for row in rows]


def _read(reader: CsvSource, part: Any) -> Any:
    from beam_pipelines.runs.window import Window

    window = Window("s", "l", "t", "r", 0).with_schema("", reader.describe("t").schema)
    return reader.read(part, window, None)
