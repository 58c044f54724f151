from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_pipelines.io.files.text.block import Block, Misread
from beam_pipelines.io.files.text.dialect import Dialect
from beam_pipelines.io.files.text.records import blocks

CSV = Dialect(b",", b'"')


def fed(data: bytes, piece: int) -> Callable[[int], bytes]:
    """A stream that gives so many bytes at a time, whatever is asked for."""
    stream = io.BytesIO(data)
    return lambda _: stream.read(piece)


def cut(data: bytes, piece: int, dialect: Dialect = CSV) -> list[tuple[int, bytes, int, str]]:
    """Records with their line, how many fields they have (0: unknown), and what is wrong with them; empty ones are left out."""
    found: list[tuple[int, bytes, int, str]] = []
    for one in blocks(fed(data, piece), dialect):
        if isinstance(one, Misread):
            found.append((one.line, one.text, 0, one.reason or "too long"))
            continue
        starts = one.starts()
        for start, end, line, fields in zip(starts[:-1], starts[1:], one.lines_of(starts[:-1]), one.fields(starts), strict=True):
            if text := one.data[start:end].rstrip(b"\r\n"):
                found.append((int(line), text, int(fields), ""))
    return sorted(found)


def by_hand(data: bytes) -> list[tuple[int, bytes, int, str]]:
    """The same, one character after the other."""

    def line_end(at: int) -> int:
        return at + 2 if data[at : at + 2] == b"\r\n" else at + 1 if data[at : at + 1] in (b"\r", b"\n") else 0

    def skip_line(at: int) -> int:
        while at < len(data):
            if end := line_end(at):
                return end
            at += 1
        return at

    found = []
    at, line = 0, 1
    while at < len(data):
        record, fields, wrong, now = at, 1, "", at
        while True:
            if data[now : now + 1] == b'"':
                opened = now
                now += 1
                while now < len(data) and not (data[now : now + 1] == b'"' and data[now + 1 : now + 2] != b'"'):
                    now += 2 if data[now : now + 2] == b'""' else 1
                if now >= len(data):
                    wrong = "a quoted field that is not closed"
                elif now + 1 < len(data) and data[now + 1 : now + 2] not in (b",", b"\r", b"\n"):
                    wrong = "a quoted field that goes on behind its closing quote"
                if wrong:
                    at = skip_line(opened)
                    break
                now += 1
            while now < len(data) and data[now : now + 1] not in (b",", b"\r", b"\n"):
                now += 1
            if data[now : now + 1] == b",":
                fields, now = fields + 1, now + 1
                continue
            at = line_end(now) or len(data)
            break
        text = data[record:at].rstrip(b"\r\n")
        if text:
            found.append((line, text, 0 if wrong else fields, wrong))
        while record < at:
            end = line_end(record)
            line, record = line + bool(end), end or record + 1
    return found


@given(st.text('ab,"\n\r', max_size=40).map(str.encode), st.integers(1, 12))
@example(b'a,"b\nc,"d"\n', 3)
@example(b'a\r\n"b\r\n', 4)
@example(b'5" x,"a\n"\n', 100)
@example(b'"a""', 2)
def test_records_are_those_of_a_reading_by_hand_whatever_the_pieces(data: bytes, piece: int) -> None:
    assert cut(data, piece) == by_hand(data)


@given(
    st.lists(st.lists(st.text('x,"\r\n é', max_size=6), min_size=2, max_size=4), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 30),
)
def test_what_python_writes_is_cut_as_python_reads_it(rows: list[list[str]], end: str, piece: int) -> None:
    text = io.StringIO()
    # Of a carriage return by itself the writer thinks only where it ends lines with one.
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_MINIMAL if "\r" in end else csv.QUOTE_ALL).writerows(rows)
    found = cut(text.getvalue().encode(), piece)
    assert [(fields, wrong) for _, _, fields, wrong in found] == [(len(row), "") for row in rows]
    assert [next(csv.reader(io.StringIO(record.decode(), newline=""))) for _, record, _, _ in found] == rows


def test_a_quote_that_never_closes_costs_its_line_though_the_file_goes_on() -> None:
    lines = [b"1,x", b'2,"open', *(b"%d,y" % n for n in range(3, 20_000))]
    found = cut(b"\n".join(lines), 1000, Dialect(b",", b'"', longest=50_000))
    assert [(line, text) for line, text, _, _ in found] == [(n, text) for n, text in enumerate(lines, 1)]
    assert [line for line, _, _, wrong in found if wrong] == [2]


def test_many_open_quotes_take_no_more_than_a_walk_through_the_file() -> None:
    data = b'a,"b\n' * 60_000
    reads = []
    read = fed(data, 1 << 20)
    found = list(blocks(lambda size: reads.append(size) or read(size), CSV))  # type: ignore[func-returns-value]
    assert sum(isinstance(one, Misread) for one in found) == 60_000
    assert len(reads) <= 3


@pytest.mark.parametrize("piece", [7, 1000, 10**6])
def test_a_record_that_is_too_long_is_left_out_with_its_beginning_and_size(piece: int) -> None:
    data = b"1,a\n2," + b"x" * 100_000 + b"\n3,b\n"
    found = list(blocks(fed(data, piece), Dialect(b",", b'"', longest=70_000)))
    (told,) = (one for one in found if isinstance(one, Misread))
    assert (told.line, told.size, told.text, told.long) == (2, 100_002, b"2," + b"x" * 65_534, True)
    assert [(one.data, one.line) for one in found if isinstance(one, Block)] == [(b"1,a\n", 1), (b"3,b\n", 3)]


def test_blocks_hold_at_most_so_many_bytes_and_rows() -> None:
    sizes = [len(one.data) for one in blocks(io.BytesIO(b"1,2\n" * 3_000_000).read, CSV) if isinstance(one, Block)]
    assert sum(sizes) == 12_000_000
    assert max(sizes) <= 4 * 65_536
    assert max(len(one.data) for one in blocks(io.BytesIO((b"x" * 1000 + b"\n") * 20_000).read, CSV) if isinstance(one, Block)) < 5 << 20


def test_lines_of_json_end_with_a_line_feed_alone() -> None:
    (one,) = blocks(fed(b'{"a":1}\r\n{"b":\r2}\n', 100), Dialect())
    assert isinstance(one, Block)
    assert one.starts().tolist() == [0, 9, 18]
    assert one.lines_of(one.starts()[:-1]).tolist() == [1, 2]


def test_what_is_behind_a_quote_that_was_waited_for_comes_in_blocks_as_ever() -> None:
    data = b'a,"b\n' + b"12345,67\n" * 100_000
    found = list(blocks(io.BytesIO(data).read, Dialect(b",", b'"', longest=500_000), size=70_000))
    assert sum(isinstance(one, Misread) for one in found) == 1
    parts = [one for one in found if isinstance(one, Block)]
    assert b"".join(one.data for one in parts) == data[5:]
    assert max(len(one.data) for one in parts) < 210_000
    assert [one.line for one in parts] == [2 + sum(len(one.data) for one in parts[:n]) // 9 for n in range(len(parts))]
