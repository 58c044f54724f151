"""JSON files that are one array: the rows of JSON Lines, by their place in the array."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.files.text.elements import ArrayError, elements
from beam_pipelines.io.files.text.json_array import JsonSource
from beam_pipelines.io.files.text.records import Block, Misread
from beam_pipelines.spec.source import FileSource

LONGEST = 100_000


def source(folder: Path, path: str = "a.json", **model: Any) -> JsonSource:
    return JsonSource(FileSource(path=path, **model), None, folder, LONGEST)


def cut(data: bytes, sizes: Any, longest: int = LONGEST) -> list[Any]:
    """The elements of an array that is read in pieces, and what is too long, by their numbers."""
    at = 0

    def read(_: int) -> bytes:
        nonlocal at
        size = next(sizes)
        at += size
        return data[at - size : at]

    found: list[Any] = []
    for piece in elements(read, longest, 1):
        if isinstance(piece, Block):
            texts = piece.data.splitlines()
            assert (piece.line, piece.breaks) == (len(found) + 1, len(texts))
            found += [json.loads(text) for text in texts]
        else:
            assert isinstance(piece, Misread)
            assert piece.line == len(found) + 1
            found.append((piece.size, piece.text))
    return found


def pieces(seed: int) -> Any:
    chance = random.Random(seed)
    while True:
        yield chance.randint(1, 7)


TEXTS = st.text(st.sampled_from('"\\/[]{},:\n ab\u20ac'))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.sampled_from('"\\/[]{},:\n ab\u20ac')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.sampled_from('"\\]}, a')), inner, max_size=3),
    max_leaves=8,
)


@given(values=st.lists(VALUES, max_size=5), indent=st.none() | st.integers(0, 2), ascii_only=st.booleans(), seed=st.integers(0, 2**16))
def test_any_array_is_cut_at_its_elements_however_it_is_read(values: list[Any], indent: int | None, ascii_only: bool, seed: int) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()
    assert cut(b" \n" + data + b"\r\n\t", pieces(seed)) == values


@given(values=st.lists(VALUES, min_size=1, max_size=4), seed=st.integers(0, 2**16), data=st.data())
def test_what_is_cut_off_is_never_taken_for_whole(values: list[Any], seed: int, data: Any) -> None:
    whole = json.dumps(values).encode()
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ArrayError):
        cut(whole[:end], pieces(seed))


@pytest.mark.parametrize("text", ["", " ", "{}", '{"a":1}\n{"a":2}', "[1] [2]", "[1]]", "[{}}", "[", "[1", '["]', "x"])
def test_what_is_no_array_stops_the_run_with_the_name_of_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FatalError, match=r"a\.json.*no array of JSON") as stopped:
        source(tmp_path, columns={"a": "int"}, sampleRows=100).describe("t")
    assert stopped.value.code == "read-failed"


def test_an_element_that_is_too_long_costs_itself(tmp_path: Path, reading: Any) -> None:
    rows = [{"a": "x"}, {"a": "y" * 300_000}, {"a": '"],[' * 50_000}, {"a": "z"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    read = reading.poll(source(tmp_path), "t")
    assert read.rows == [rows[0], rows[3]]
    assert [(row, code) for row, code, _, _ in read.unread] == [(1, "cell-too-large"), (2, "cell-too-large")]
    assert "it has 300009 bytes" in read.unread[0][2]


def test_elements_that_are_none_cost_themselves(tmp_path: Path, reading: Any) -> None:
    odd = [
        '{"a":1}',
        "5",
        '{"a": "no number"}',
        "[[{}]]",
        "nothing",
        '{"a": 1 2}',
        '{"a":3}',
        '{"b":1}',
        "",
        '{"a":"x\ny"}',
        '{ "a" :\n 4 }',
    ]
    (tmp_path / "a.json").write_text("[" + " ,\n".join(odd) + "]")
    read = reading.poll(source(tmp_path, columns={"a": "bigint"}, sampleRows=1), "t")
    assert read.rows == [{"a": 1}, {"a": 3}, {"a": 4}]
    assert [row for row, _, _, _ in read.unread] == [1, 3, 4, 5, 7, 8, 9]
    assert [bool(reason) for reason in read.reasons] == [True]  # of what is no number
    told = [one for some in read.batches for one in origin.describe(some, range(some.num_rows))]
    assert told == [{"source": "a.json", "row": row} for row in (0, 2, 6, 10)]


def test_a_comma_at_the_end_is_an_element_that_is_none(tmp_path: Path, reading: Any) -> None:
    (tmp_path / "a.json").write_text('[{"a":1},]')
    read = reading.poll(source(tmp_path), "t")
    assert (read.rows, [row for row, _, _, _ in read.unread]) == ([{"a": 1}], [1])


def test_large_files_are_read_a_block_at_a_time(tmp_path: Path, reading: Any) -> None:
    rows = [{"id": n, "text": f'some, text [{n}] \\ "{"x" * (n % 50)}"', "tags": [{"k": "}"}]} for n in range(100_000)]
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(rows, indent=1).encode(), 1))
    read = reading.poll(source(tmp_path, "a.json.gz"), "t")
    assert not read.unread
    assert read.rows == rows
    assert max(batch.num_rows for batch in read.batches) <= 65_536


def test_an_empty_array_has_no_columns(tmp_path: Path, reading: Any) -> None:
    (tmp_path / "a.json").write_text("[ ]")
    with pytest.raises(PlanError, match="neither a row") as none:
        source(tmp_path).describe("t")
    assert none.value.code == "column-missing"
    assert reading.poll(source(tmp_path, columns={"a": "int"}), "t").rows == []
