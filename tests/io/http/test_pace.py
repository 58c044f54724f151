"""Turns and rests, by a clock that the test sets."""

from __future__ import annotations

from beam_pipelines.io.http.pace import Pace


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


def test_a_rest_makes_room_for_turns_that_are_taken_again() -> None:
    clock = Clock()
    pace = Pace(0.5, clock)
    assert [pace.turn() for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    pace.rest(0.1)
    assert (pace.turn(), pace.rests) == (0.5, 1)  # no nearer to the one that has begun
    pace.rest(7)
    pace.rest(0.1)  # takes nothing from the longer one
    assert [pace.turn() for _ in range(2)] == [7.0, 7.5]
