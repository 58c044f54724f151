"""Every format and compression that a batch reads, to every one that it writes: values as independent readers find them."""

from __future__ import annotations

import bz2
import csv
import datetime
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

Desk = Any
Row = dict[str, Any]

COLUMNS = {"id": "bigint", "text": "text", "amount": "double", "seen": "timestamp"}
ROWS: list[Row] = [
    {"id": 1, "text": "plain", "amount": 1.5, "seen": datetime.datetime(2026, 11, 26, 8, 30)},
    {"id": -(2**63), "text": 'a "quoted", one', "amount": -0.1, "seen": None},
    {"id": 2**63 - 1, "text": "two\nlines\r\nand\ta tab", "amount": 1e300, "seen": datetime.datetime(1969, 12, 31, 23, 59, 59, 123456)},
    {"id": None, "text": "na\u00efve \u2603 \U0001f40d e\u0301", "amount": None, "seen": datetime.datetime(9999, 12, 31)},
    {"id": 0, "text": None, "amount": 5e-324, "seen": None},
    {"id": 7, "text": "007", "amount": 0.30000000000000004, "seen": None},
]
PACK: dict[str, tuple[str, Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "none": ("", bytes, bytes),
    "gzip": (".gz", gzip.compress, gzip.decompress),
    "bz2": (".bz2", bz2.compress, bz2.decompress),
    "zstd": (".zst", zstandard.compress, lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
}
READS = [(form, packed) for form in ("csv", "jsonl", "json") for packed in PACK] + [("parquet", "none"), ("avro", "none")]
WRITES = [(form, packed) for form in ("csv", "jsonl", "json") for packed in PACK] + [
    *(("parquet", packed) for packed in ("snappy", "gzip", "zstd", "none")),
    *(("avro", packed) for packed in ("default", "none")),
]


def text_of(row: Row) -> Row:
    return {**row, "seen": row["seen"].isoformat() if row["seen"] else None}


def made(form: str) -> bytes:
    """The rows as a file, by a writer that is not the product's."""
    out = io.BytesIO()
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(text_of(row).values() for row in ROWS)
        return text.getvalue().encode()
    if form in ("jsonl", "json"):
        lines = [json.dumps(text_of(row), ensure_ascii=row["id"] == 1) for row in ROWS]
        return ("\n".join(lines) + "\n" if form == "jsonl" else "[" + ",\n".join(lines) + "]").encode()
    if form == "parquet":
        schema = pa.schema([("id", pa.int64()), ("text", pa.string()), ("amount", pa.float64()), ("seen", pa.timestamp("us"))])
        pq.write_table(pa.Table.from_pylist(ROWS, schema), out)
    else:
        kinds = {"id": "long", "text": "string", "amount": "double", "seen": {"type": "long", "logicalType": "local-timestamp-micros"}}
        fields = [{"name": name, "type": ["null", kind]} for name, kind in kinds.items()]
        fastavro.writer(out, {"type": "record", "name": "row", "fields": fields}, ROWS)
    return out.getvalue()


def found(form: str, data: bytes) -> list[Row]:
    """Rows of an output, by a reader that is not the product's."""
    if form == "csv":
        rows = [dict(row) for row in csv.DictReader(io.StringIO(data.decode(), newline=""))]
        return [{name: read(name, value) for name, value in row.items()} for row in rows]
    if form in ("jsonl", "json"):
        rows = json.loads(data) if form == "json" else [json.loads(line) for line in data.decode().split("\n") if line]
        return [{name: read("seen", row.get(name)) if name == "seen" else row.get(name) for name in COLUMNS} for row in rows]
    if form == "parquet":
        return pq.read_table(io.BytesIO(data)).to_pylist()
    return list(fastavro.reader(io.BytesIO(data)))


def read(name: str, value: str | None) -> Any:
    if value is None or value == "":
        return None
    return {"id": int, "text": str, "amount": float, "seen": datetime.datetime.fromisoformat}[name](value)


def converts(desk: Desk, of: tuple[str, str], into: tuple[str, str]) -> None:
    form, packed = of
    suffix, pack, _ = PACK[packed]
    source: dict[str, Any] = {"type": "file", "path": f"in/*.{form}{suffix}"}
    if form in ("csv", "jsonl", "json"):
        source["columns"] = COLUMNS
    (desk.folder / "in").mkdir(exist_ok=True)
    (desk.folder / "in" / f"odd.{form}{suffix}").write_bytes(pack(made(form)))
    place = f"out-{'-'.join((*of, *into))}"
    destination = {"type": "file", "path": place, "format": into[0], **({"compression": into[1]} if into[1] != "default" else {})}
    desk.define({"name": place, "batch": {"source": source, "destination": destination}})
    desk.ran()
    (path,) = [path for path in Path(desk.folder / place).rglob("*") if path.is_file()]
    text = into[0] in ("csv", "jsonl", "json")
    assert path.name == f"odd.{into[0]}{PACK[into[1]][0] if text else ''}"
    data = path.read_bytes()
    assert found(into[0], PACK[into[1]][2](data) if text else data) == ROWS, (of, into)


# Each once on either side, and each of the two that are written most from each that is read.
SOME = [*zip(READS + READS[:4], WRITES, strict=True), *(((form, "none"), ("parquet", "snappy")) for form in ("csv", "avro"))]


@pytest.mark.long
@pytest.mark.parametrize(("of", "into"), SOME, ids=lambda one: "-".join(one))
def test_values_are_the_same_in_each_format(desk: Desk, of: tuple[str, str], into: tuple[str, str]) -> None:
    converts(desk, of, into)


@pytest.mark.soak
@pytest.mark.parametrize("of", READS, ids="-".join)
def test_values_are_the_same_from_each_format_to_each(desk: Desk, of: tuple[str, str]) -> None:
    for into in WRITES:
        converts(desk, of, into)
