from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import DataError
from beam_pipelines.io.sql.halves import first_refused, refused_rows


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=12))
def test_refused_rows_are_exactly_those(rows: int, bad: set[int]) -> None:
    bad = {row for row in bad if row < rows}
    assert refused_rows(rows, lambda first, count: bad.isdisjoint(range(first, first + count))) == sorted(bad)


@given(st.integers(-5, 5), st.integers(1, 300), st.data())
def test_the_first_refused_is_found_and_no_row_is_taken_twice(low: int, rows: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(low, low + rows - 1), min_size=1, max_size=12))
    taken: list[int] = []
    tried = 0

    def take(first: int, below: int) -> None:
        nonlocal tried
        tried += below - first
        if any(row in bad for row in range(first, below)):
            raise DataError(f"{first} to {below}")
        taken.extend(range(first, below))

    found = first_refused(low, low + rows, take)
    assert found is not None
    assert (found[0], str(found[1])) == (min(bad), f"{min(bad)} to {min(bad) + 1}")
    assert taken == list(range(low, min(bad)))
    assert tried <= rows + 1


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_nothing_is_found_where_nothing_is_refused_any_more(rows: int) -> None:
    assert first_refused(0, rows, lambda _low, _high: None) is None
