"""Turns and rests, by a clock that the test sets."""

from __future__ import annotations

from beam_pipelines.io.http.pace import Breaker, Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_turns_are_an_interval_apart_and_what_was_not_used_is_not_saved() -> None:
    clock = Clock()
    pace = Pace(0.5, clock)
    assert [pace.turn() for _ in range(3)] == [0.0, 0.5, 1.0]
    clock.now += 10
    assert [pace.turn() for _ in range(2)] == [0.0, 0.5]


def test_without_an_interval_only_a_rest_is_waited_for() -> None:
    clock = Clock()
    pace = Pace(0, clock)
    assert [pace.turn() for _ in range(2)] == [0.0, 0.0]
    pace.rest(3)
    assert [pace.turn() for _ in range(2)] == [3.0, 3.0]


def test_a_server_is_given_up_after_failures_in_a_row_and_tried_again_once_every_half_minute() -> None:
    clock = Clock()
    breaker = Breaker(2, clock)
    breaker.failed()
    breaker.answered()
    breaker.failed()
    assert not breaker.refuses()
    breaker.failed()
    assert breaker.refuses()
    clock.now += 30
    assert [breaker.refuses() for _ in range(2)] == [False, True]
    breaker.failed()
    assert breaker.refuses()
    clock.now += 30
    assert not breaker.refuses()
    breaker.answered()
    assert [breaker.refuses() for _ in range(2)] == [False, False]
