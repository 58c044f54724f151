from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.io.kafka.starts import shares

waiting = st.dictionaries(st.integers(0, 8), st.integers(0, 100), max_size=8)


@given(waiting, st.integers(1, 300))
def test_messages_are_shared_out_as_evenly_as_partitions_have_them(there: dict[int, int], most: int) -> None:
    found = shares(there, most)
    some = [number for number, count in there.items() if count]
    assert found.keys() == there.keys()
    assert all(found[number] <= there[number] for number in there)
    assert all(found[number] >= 1 for number in some)
    total = sum(found.values())
    assert total <= max(most, len(some))
    if sum(there.values()) <= most:
        assert found == there
    elif len(some) <= most:
        # Nothing is left that another could have had, but for the rest of a division.
        assert most - total < len(some)
        cut = [found[number] for number in some if found[number] < there[number]]
        assert max(cut, default=0) - min(cut, default=0) <= 1
        assert all(found[number] <= max(cut, default=0) for number in some)
