"""How far a run is: a live line on a terminal, a log line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from beam_pipelines.cli import quantity

if TYPE_CHECKING:
    from beam_pipelines.engine.progress import Progress

__all__ = ["LogLines", "shown"]

_LOG = logging.getLogger(__name__)
_EVERY = 5.0  # seconds between log lines


@contextlib.contextmanager
def shown(*, log_is_json: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Show a run's progress while the block runs; yields the listener to hand to the run.

    Args:
        log_is_json: stderr is for a machine, terminal or not.
    """
    if sys.stderr.isatty() and not log_is_json:
        with _live() as listener:
            yield listener
    else:
        yield LogLines().heard


class LogLines:
    """Logs a line every few seconds, and none for a run that is over before."""

    def __init__(self, every: float = _EVERY) -> None:
        self._every, self._next = every, every

    def heard(self, progress: Progress) -> None:
        """Take the progress, as often as it comes."""
        if progress.seconds < self._next:
            return
        self._next = progress.seconds + self._every
        _LOG.info("%s", describe(progress))


def describe(progress: Progress) -> str:
    """Return the progress in one line."""
    parts = [
        f"{progress.phase}: {quantity.count(progress.extracted)} rows read ({quantity.count(round(progress.rate))}/s)",
        _bytes(progress),
    ]
    loaded = progress.rows.get("load", 0)
    if loaded:
        parts.append(f"{quantity.count(loaded)} staged")
    if progress.left is not None:
        parts.append(f"about {quantity.span(progress.left)} left")
    return ", ".join(part for part in parts if part)


def _bytes(progress: Progress) -> str:
    if progress.total_bytes and progress.bytes:
        # What is executed again is read again, and is no more than there is.
        return f"{quantity.size(min(progress.bytes, progress.total_bytes))} of {quantity.size(progress.total_bytes)}"
    return quantity.size(progress.bytes) if progress.bytes else ""


@contextlib.contextmanager
def _live() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console  # only on a terminal: it takes longer to import than a small run may take more
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Display

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    # stdout is not this display's: the answer of the command goes there, after it.
    with Display(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as display:
        task = display.add_task("prepare", total=None, said="")

        def heard(progress: Progress) -> None:
            said = describe(progress).partition(": ")[2]
            done, whole = (progress.bytes, progress.total_bytes) if progress.total_bytes else (progress.extracted, progress.total_rows)
            display.update(task, description=progress.phase, total=max(whole, done) if whole else None, completed=done, said=said)

        yield heard
