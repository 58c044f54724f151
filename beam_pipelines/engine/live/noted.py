"""What a drain has fixed and read, kept in this process for its steps, in the place of side inputs: Prism may show these too early.

Measured with Prism 2.77: a step behind a GroupByKey now and then finds the side input of its window empty, though what it comes from has
ended. Its workers are this process, and it works on one drain at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

from apache_beam.pvalue import AsIter, AsSingleton, PCollection

from beam_pipelines.errors import FencedError
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.facts import ReadFact

__all__ = ["by_drain", "note_facts", "note_sides", "note_windows", "reads_of", "view_of"]

_lock = threading.Lock()
_run = ""
_windows: dict[str, dict[str, str]] = {}  # by the path of the side that they are of: those of the service's own source are of the empty one
_facts: list[ReadFact] = []


def by_drain(windows: PCollection) -> bool:
    """Whether a pipeline goes through drain after drain, each of which is a window of its time; else it does one run."""
    return not windows.windowing.is_default()


def note_windows(run: str, texts: Mapping[str, str]) -> None:
    """Note `{load: window as text}` of a drain that begins; what is noted of the one before is forgotten."""
    global _run, _windows, _facts
    with _lock:
        _run, _windows, _facts = run, {"": dict(texts)}, []


def note_sides(run: str, side: str, texts: Mapping[str, str]) -> None:
    """Note the windows of what a join meets, once those of the drain are noted."""
    with _lock:
        if run == _run:
            _windows[side] = dict(texts)


def note_facts(run: str, fact: ReadFact) -> None:
    """Note how far a bundle has read."""
    with _lock:
        if run == _run:
            _facts.append(fact)


class _Windows(Mapping[str, str]):
    """`{load: window as text}` of the drain that this process is at.

    Args:
        side: Path of what a join meets; empty: of the service's own source.
    """

    def __init__(self, side: str) -> None:
        self._side = side

    def __getitem__(self, load: str) -> str:
        return _of_this_drain(self._side)[load]

    def __iter__(self) -> Iterator[str]:
        return iter(_of_this_drain(self._side))

    def __len__(self) -> int:
        return len(_of_this_drain(self._side))


class _Reads:
    """What was read by all bundles of the drain that this process is at. Complete behind a GroupByKey of what comes of it."""

    def __iter__(self) -> Iterator[ReadFact]:
        with _lock:
            return iter(list(_facts))


def _of_this_drain(side: str) -> dict[str, str]:
    with _lock:
        if RunContext.current().run != _run:
            raise FencedError("a bundle of a drain that was given up is carried out no more")
        return _windows[side]


def view_of(windows: PCollection, side: str = "") -> Any:
    """The windows of loads, or of what a join meets, as an argument of a step: `{load: window as text}`."""
    return _Windows(side) if by_drain(windows) else AsSingleton(windows)


def reads_of(facts: PCollection) -> Any:
    """What was read, as an argument of a step behind a GroupByKey."""
    return _Reads() if by_drain(facts) else AsIter(facts)
