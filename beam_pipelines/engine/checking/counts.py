"""What the rules came to, window by window."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from apache_beam.transforms.window import GlobalWindow

from beam_pipelines.engine.checking.message import MS, last_instant, span_of
from beam_pipelines.engine.checking.wait import UntilEndFn
from beam_pipelines.rules.checker import Checker, Counts
from beam_pipelines.rules.compiled import Compiled

__all__ = ["CountFn", "packed"]

_ALWAYS = span_of(GlobalWindow())
Made = tuple[list[Compiled], Checker]


def packed(span: tuple[int, int], counts: Counts) -> bytes:
    """Return the counts of a batch, with the window that they are of."""
    return pickle.dumps((span, counts))


class CountFn(UntilEndFn):
    """Yields, when a window has ended, what the rules came to in it; and again for what comes later, which is to be added.

    Args:
        make: Makes the rules, and what adds up and tells their counts.
        now: By which rules of the data set go; None: by the clock.
    """

    def __init__(self, make: Callable[[], Made], now: datetime | None) -> None:
        self._make, self._now = make, now

    def setup(self) -> None:
        self._rules, self._checker = self._make()

    def teardown(self) -> None:
        for rule in self._rules:
            rule.close()

    def due(self, span: tuple[int, int]) -> int:
        # When a window is told of, batches of its last instant may still be on their way.
        return min(last_instant(span) + MS, last_instant(_ALWAYS))

    def span(self, data: bytes) -> tuple[int, int]:
        span: tuple[int, int] = pickle.loads(data)[0]
        return span

    def together(self, key: Any, parts: Sequence[bytes], *, late: bool) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - there is one key
        start, end = self.span(parts[0])
        window = None if (start, end) == _ALWAYS else {"start": _text(start), "end": _text(end)}
        counts = self._checker.total(pickle.loads(part)[1] for part in parts)  # one at a time: each may hold thousands of hashes
        yield {"window": window, "late": late, **self._checker.report(counts, self._now or datetime.now(timezone.utc))}


def _text(micros: int) -> str | None:
    """Return an instant as text; None: it is before all years, as that of elements which nobody gave a time."""
    try:
        return (datetime.fromtimestamp(0, timezone.utc) + timedelta(microseconds=micros)).isoformat()
    except OverflowError:
        return None
