from __future__ import annotations

import threading

import pytest

from beam_pipelines.engine.ahead import Ahead


def test_results_come_out_in_order_and_all_of_them() -> None:
    ahead: Ahead[int] = Ahead()
    got = [result for number in range(10) for result in ahead.put(lambda number=number: number * number)]  # type: ignore[misc]
    assert [*got, *ahead.rest()] == [number * number for number in range(10)]
    assert list(ahead.rest()) == []


def test_work_is_done_while_the_caller_goes_on() -> None:
    ahead: Ahead[bool] = Ahead()
    gone_on = threading.Event()
    assert list(ahead.put(lambda: gone_on.wait(60))) == []
    gone_on.set()
    assert list(ahead.rest()) == [True]


def test_no_more_than_two_results_wait() -> None:
    ahead: Ahead[int] = Ahead()
    taken = [len(list(ahead.put(lambda: 1))) for _ in range(5)]
    assert taken == [0, 0, 1, 1, 1]


def test_an_error_is_raised_where_its_result_would_come_out() -> None:
    ahead: Ahead[int] = Ahead()
    assert list(ahead.put(lambda: 1)) == []
    assert list(ahead.put(lambda: 1 // 0)) == []
    rest = ahead.rest()
    assert next(rest) == 1
    with pytest.raises(ZeroDivisionError):
        next(rest)


def test_what_was_not_taken_is_dropped_and_what_runs_is_waited_for() -> None:
    ahead: Ahead[None] = Ahead()
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(60)
        ended.set()

    list(ahead.put(work))
    list(ahead.put(lambda: None))
    assert begun.wait(60)
    leaving = threading.Thread(target=ahead.leave)
    leaving.start()
    may_end.set()
    leaving.join()
    assert ended.is_set()
    assert list(ahead.rest()) == []
    assert list(ahead.put(lambda: None)) == []  # it may be used again
    assert list(ahead.rest()) == [None]
