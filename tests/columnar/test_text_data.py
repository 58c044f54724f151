from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import composite

from beam_pipelines.columnar.text_data import data_of, has_any, is_ascii, trimmed


@composite
def slices(draw: st.DrawFn) -> pa.Array:
    values = draw(st.lists(st.none() | st.text(max_size=6), max_size=12))
    whole = pa.array(values, pa.string())
    start = draw(st.integers(0, len(values)))
    return whole.slice(start, draw(st.integers(0, len(values) - start)))


@given(slices())
def test_the_bytes_are_those_of_the_texts_in_order(texts: pa.Array) -> None:
    assert bytes(data_of(texts)) == "".join(text or "" for text in texts.to_pylist()).encode()


@given(slices())
def test_ascii_is_told_by_the_texts_of_the_slice_alone(texts: pa.Array) -> None:
    assert is_ascii(texts) == all(text.isascii() for text in texts.to_pylist() if text is not None)


@given(slices(), st.text("xXeE09", min_size=1, max_size=3))
def test_letters_are_found(texts: pa.Array, letters: str) -> None:
    assert has_any(texts, letters.encode()) == any(letter in (text or "") for letter in letters for text in texts.to_pylist())


def test_of_other_kinds_of_text_nothing_is_told() -> None:
    large = pa.array(["a"], pa.large_string())
    assert (is_ascii(large), has_any(large, b"x")) == (False, True)


def test_text_is_trimmed_of_what_unicode_calls_white_space_whatever_the_texts_beside_it_are():
    signs = [*map(chr, range(128)), "\x85", "\xa0", "\u2003"]
    texts = [text for sign in signs for text in (f"{sign}{sign}a{sign}b{sign}", sign, f" \t{sign}")]
    for alone in texts:
        assert trimmed(pa.array([alone, None, ""])).to_pylist() == [alone.strip(), None, ""]
    for kind in (pa.string(), pa.large_string()):
        assert trimmed(pa.array(texts, kind).slice(3)).equals(pa.array([text.strip() for text in texts[3:]], kind))
