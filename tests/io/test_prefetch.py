from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from beam_pipelines.io.prefetch import prefetch


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "beam_pipelines-prefetch"]


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(prefetch(lambda: iter(range(1000)))) == list(range(1000))
    assert threads() == []


def test_nothing_is_an_end_too() -> None:
    assert list(prefetch(lambda: iter(()))) == []


def test_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("x")

    got: list[int] = []
    with pytest.raises(KeyError, match="x"):
        got.extend(prefetch(items))
    assert got == [1]
    assert threads() == []


def test_error_before_the_first_item_is_raised() -> None:
    def items() -> Iterator[int]:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        next(prefetch(items))
    assert threads() == []


def test_early_close_cancels_what_blocks_the_thread() -> None:
    cancelled, closed = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        try:
            yield 1
            cancelled.wait(30)
            yield 2
        finally:
            closed.set()

    given = prefetch(items, cancelled.set)
    assert next(given) == 1
    given.close()
    assert cancelled.is_set()
    assert closed.is_set()
    assert threads() == []


def test_early_close_of_a_full_queue_ends_the_thread() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10**9):
            made.append(number)
            yield number

    given = prefetch(items)
    next(given)
    given.close()
    assert threads() == []
    assert len(made) < 10  # it never ran far ahead


def test_nothing_is_read_before_it_is_asked_for() -> None:
    asked = threading.Event()

    def items() -> Iterator[int]:
        asked.set()
        yield 1

    given = prefetch(items)
    assert not asked.is_set()
    given.close()
    assert threads() == []
