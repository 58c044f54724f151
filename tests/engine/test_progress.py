from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from beam_pipelines.engine.progress import Progress, Receiver, Reporter
from beam_pipelines.runs.context import RunContext


def to(port: int) -> RunContext:
    return RunContext(run="000000000001", started_at="2026-01-01T00:00:00+00:00", progress=port)


class Heard:
    """A listener that keeps what it heard, and can be waited for."""

    def __init__(self) -> None:
        self.progress: list[tuple[str, dict[str, int], int]] = []
        self._changed = threading.Condition()

    def __call__(self, progress: Progress) -> None:
        with self._changed:
            self.progress.append((progress.phase, dict(progress.rows), progress.bytes))
            self._changed.notify_all()

    def wait(self, messages: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.progress) >= messages, 10)


def test_what_reporters_send_is_added_up() -> None:
    heard = Heard()
    with Receiver(heard) as receiver:
        prepare, first, second, load = Reporter("prepare"), Reporter("extract"), Reporter("extract"), Reporter("load")
        for reporter in (prepare, first, second, load):
            reporter.open(to(receiver.port))
        prepare.flush(total_rows=100, total_bytes=5000)
        first.add(10, 500)
        first.flush()
        second.add(20, 700)
        second.flush()
        load.add(25)
        load.flush()
        heard.wait(4)
        for reporter in (prepare, first, second, load):
            reporter.close()
    progress = receiver.progress
    assert (progress.rows["extract"], progress.rows["load"], progress.bytes) == (30, 25, 1200)
    assert (progress.total_rows, progress.total_bytes, progress.phase) == (100, 5000, "load")


def test_a_reporter_sends_at_most_a_few_times_a_second_and_nothing_is_left_unsent_at_its_end() -> None:
    heard = Heard()
    with Receiver(heard) as receiver:
        reporter = Reporter("extract")
        reporter.open(to(receiver.port))
        began = time.monotonic()
        for _ in range(10_000):
            reporter.add(1, 2)
        took = time.monotonic() - began
        reporter.close()
    assert (receiver.progress.extracted, receiver.progress.bytes) == (10_000, 20_000)
    assert len(heard.progress) <= took / 0.2 + 3  # the first, one each fifth of a second, the last, and what ends the receiver


def test_a_reporter_that_nobody_listens_to_is_silent() -> None:
    reporter = Reporter("extract")
    reporter.open(to(0))
    reporter.add(10)
    reporter.flush()
    reporter.close()


def test_a_reporter_survives_a_listener_that_has_gone() -> None:
    with Receiver(lambda progress: None) as receiver:
        port = receiver.port
    reporter = Reporter("extract")
    reporter.open(to(port))
    for _ in range(5):
        reporter.add(1)
        reporter.flush()
    reporter.close()


def test_a_reporter_of_an_earlier_run_speaks_to_the_next_one() -> None:
    reporter = Reporter("extract")
    for rows in (3, 5):
        with Receiver(lambda progress: None) as receiver:
            reporter.open(to(receiver.port))
            reporter.add(rows)
            reporter.flush()
        assert receiver.progress.extracted == rows
    reporter.close()


def message(phase: str, label: str | None = None, rows: int = 0, **more: int) -> dict[str, Any]:
    return {"label": label or phase, "phase": phase, "rows": rows, "bytes": 0, **more}


def test_a_phase_that_was_reached_is_not_left_again() -> None:
    receiver = Receiver(lambda progress: None)
    seen = []
    for phase in ("prepare", "extract", "load", "extract", "transform", "commit", "load"):
        receiver.take(message(phase))
        seen.append(receiver.progress.phase)
    assert seen == ["extract", "extract", "load", "load", "load", "commit", "commit"]


def test_a_step_that_is_called_as_a_phase_is_counts_as_a_step() -> None:
    with Receiver(lambda progress: None) as receiver:
        for reporter, rows in ((Reporter("extract"), 7), (Reporter("extract", "transform"), 5), (Reporter("load", "transform"), 4)):
            reporter.open(to(receiver.port))
            reporter.add(rows, rows)
            reporter.close()
    progress = receiver.progress
    assert progress.rows == {"extract": 7, "step extract": 5, "step load": 4}
    assert (progress.extracted, progress.bytes, progress.phase) == (7, 7, "transform")


def test_what_is_no_message_of_ours_is_passed_over() -> None:
    heard = Heard()
    with Receiver(heard) as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for text in (b"", b"hello", b"{}", b"[1]", b"7", b'{"label": "extract", "phase": "extract", "rows": "many"}', b"\xff"):
            stranger.sendto(text, ("127.0.0.1", receiver.port))
        reporter = Reporter("load")
        reporter.open(to(receiver.port))
        reporter.add(3)
        reporter.flush()
        heard.wait(1)
        reporter.close()
    assert receiver.progress.rows["load"] == 3


def test_rate_and_time_left_are_of_the_rows_read(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress(rows={"extract": 50, "load": 10}, total_rows=200, started=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: 110.0)
    assert (progress.seconds, progress.rate, progress.left) == (10.0, 5.0, 30.0)
    # Estimates of a catalog may be too low: never less than nothing is left.
    progress.rows["extract"] = 400
    assert progress.left == 0.0


@pytest.mark.parametrize("progress", [Progress(), Progress(rows={"extract": 5}), Progress(total_rows=10)])
def test_what_is_left_is_unknown_without_a_total_or_a_rate(progress: Progress) -> None:
    assert progress.left is None


def test_of_files_the_time_left_is_by_bytes_for_rows_of_text_are_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Progress, "seconds", property(lambda _: 10.0))
    progress = Progress({"extract": 90}, bytes=25, total_rows=100, total_bytes=100)
    assert progress.left == 30.0
    assert Progress({"extract": 90}, bytes=0, total_rows=100, total_bytes=100).left is None
    assert Progress({"extract": 90}, bytes=200, total_rows=100, total_bytes=100).left == 0.0
