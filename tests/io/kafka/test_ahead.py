"""Taking from an iterator in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from beam_pipelines.io.kafka.ahead import ahead


def test_everything_comes_in_order_from_one_other_thread() -> None:
    threads: set[int] = set()

    def numbers() -> Generator[int, None, None]:
        for number in range(100):
            threads.add(threading.get_ident())
            yield number

    assert list(ahead(numbers())) == list(range(100))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_what_is_raised_comes_behind_what_was_given() -> None:
    def numbers() -> Generator[int, None, None]:
        yield 1
        yield 2
        raise ValueError("three")

    found: list[int] = []
    with pytest.raises(ValueError, match="three"):
        found.extend(ahead(numbers()))
    taken = ahead(numbers())
    assert [next(taken), next(taken)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(taken)


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_than_asked_for_is_held_ready(most: int) -> None:
    given: list[int] = []
    full = threading.Event()

    def numbers() -> Generator[int, None, None]:
        for number in range(100):
            given.append(number)
            if len(given) == most + 1:
                full.set()
            yield number

    taken = ahead(numbers(), most)
    assert next(taken) == 0
    assert full.wait(5)
    # Taken, and as many ready: one more is only begun when the next one is taken.
    assert len(given) <= most + 2
    taken.close()


def test_who_leaves_closes_it_in_its_thread() -> None:
    closed: list[int] = []
    began: list[int] = []

    def numbers() -> Generator[int, None, None]:
        began.append(threading.get_ident())
        try:
            yield from range(1_000_000)
        finally:
            closed.append(threading.get_ident())

    taken = ahead(numbers())
    assert next(taken) == 0
    taken.close()
    assert closed == began
    assert threading.get_ident() not in closed
