"""What one bundle of a DoFn leaves behind: attempt-named staging and the facts about it. Nothing of it counts until Commit names it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow, IntervalWindow
from apache_beam.utils.windowed_value import WindowedValue

from beam_pipelines.columnar import dead, origin
from beam_pipelines.columnar.size import canonical_bytes
from beam_pipelines.engine.aside import AsideBox
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.progress import Reporter
from beam_pipelines.io.connector import Stager, Target
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.facts import Aside, Dead, StepFact, add_rules
from beam_pipelines.runs.names import StagingName, new_attempt
from beam_pipelines.runs.window import Window
from beam_pipelines.transforms.step import Applied

__all__ = ["FACTS", "BundleFn", "LetterBox", "PlainFn", "in_global_window"]

FACTS = "facts"


def in_global_window(value: Any) -> WindowedValue:
    """Wrap what `finish_bundle` yields: bounded pipelines live in the one global window."""
    window = GlobalWindow()
    return WindowedValue(value, window.max_timestamp(), [window])


class LetterBox:
    """Dead letters of one bundle and load, staged as they come: they never pile up in memory."""

    def __init__(self, target: Target, service: str, run: str) -> None:
        self._target, self._service, self._run = target, service, run
        self._stager: Stager | None = None
        self._codes: dict[str, int] = {}
        self._sources: dict[str, dict[str, int]] = {}

    def add(self, letters: pa.RecordBatch, sources: Sequence[str] = ()) -> None:
        """Stage letters in the schema `columnar.dead.SCHEMA`.

        Args:
            letters: One a row.
            sources: The file that each is of, where these are counted.
        """
        if self._stager is None:
            name = str(StagingName.of(self._service, self._run, new_attempt()))
            self._stager = self._target.stager(name, dead.SCHEMA, 0)
        self._stager.write(letters)
        codes = letters.column("code").to_pylist()
        for code, count in Counter(codes).items():
            self._codes[code] = self._codes.get(code, 0) + count
        for (source, code), count in Counter(zip(sources, codes, strict=bool(sources))).items():
            counts = self._sources.setdefault(source, {})
            counts[code] = counts.get(code, 0) + count

    @property
    def count(self) -> int:
        return sum(self._codes.values())

    def finish(self) -> tuple[Dead, ...]:
        return (Dead(self._stager.finish(), dict(self._codes), dict(self._sources)),) if self._stager else ()

    def abort(self) -> None:
        if self._stager:
            self._stager.abort()


class PlainFn(beam.DoFn):
    """A DoFn without state or timers."""

    def __dir__(self) -> list[str]:
        # Beam searches every attribute of a DoFn for state and timers, eight times a transform: a quarter of the time of a small pipeline.
        return ["finish_bundle", "process", "setup", "start_bundle", "teardown"]


class BundleFn(PlainFn):
    """Base of the DoFns that see batches: one target connection an instance; letter boxes, time and bytes by load."""

    def __init__(self, job: Job, label: str, phase: str | None = None) -> None:
        self._job, self._label, self._phase = job, label, phase

    def setup(self) -> None:
        self._context: RunContext | None = None
        self._target: Target | None = None
        self._report = Reporter(self._label, self._phase)

    def start_bundle(self) -> None:
        # The context of *this* run: in one process, DoFn instances of an earlier run may still be around.
        self._context = self._job.run_context()
        self._job = self._job.at(self._context)
        self._drop_letters()
        self._seconds: dict[str, float] = {}
        self._windows: dict[str, tuple[str, Window | None]] = {}
        self._bytes_out: dict[str, int] = {}
        self._report.open(self._context)

    def _drop_letters(self) -> None:
        """Drop what a bundle that failed left open: nothing of it counts."""
        for box in (*getattr(self, "_letters", {}).values(), *getattr(self, "_asides", {}).values()):
            box.abort()
        self._letters: dict[tuple[str, str], LetterBox] = {}
        self._asides: dict[tuple[str, str, str], AsideBox] = {}

    def teardown(self) -> None:
        self._drop_letters()
        self._report.close()
        if self._target is not None:
            self._target.close()
            self._target = None

    @property
    def context(self) -> RunContext:
        assert self._context is not None
        return self._context

    def told(self, value: Any) -> WindowedValue:
        """Wrap what `finish_bundle` yields: it is of the one global window, or of that of the drain."""
        drain = self.context.drain
        if not drain:
            return in_global_window(value)
        window = IntervalWindow(drain, drain + 1)
        return WindowedValue(value, window.max_timestamp(), [window])

    def window(self, load: str, texts: dict[str, str]) -> Window:
        """The window of a load. In a user's own pipeline it is what says which run this is."""
        text, window = self._windows.get(load, ("", None))
        if window is None or text != texts[load]:
            # Asked for with each file of a thousand, it would be read a thousand times, with the thousand in it.
            window = Window.from_text(texts[load])
            self._windows[load] = texts[load], window
        if not self.context.run:
            self._context = replace(self.context, run=window.run, started_at=window.started_at)
        return window

    @property
    def target(self) -> Target:
        if self._target is None:
            self._target = self._job.open_target(self.context)
        return self._target

    def letter(
        self, batch: pa.RecordBatch, rows: Sequence[int], load: str, step: str, codes: Sequence[str], messages: Sequence[str]
    ) -> None:
        """Stage dead letters for some rows of a batch."""
        box = self._letters.get((load, step))
        if box is None:
            box = self._letters[load, step] = LetterBox(self.target, self._job.service, self.context.run)
        box.add(
            dead.letters(
                batch,
                rows,
                load=load,
                step=step,
                codes=codes,
                messages=messages,
                at=datetime.now(timezone.utc),
                max_cell_bytes=self._job.definition.max_cell_bytes,
            ),
            origin.sources_of(batch, rows) if self._job.by_file else (),
        )

    def counted(self, fact: StepFact, applied: Applied, rows_in: int) -> StepFact:
        """Stage the rows that died in a step or were rejected by it, and return the step's fact with what became of all added."""
        error = fact.error
        for rows in applied.dead:
            self.letter(rows.batch, rows.rows, fact.load, fact.step, rows.codes, rows.messages)
            error = error or f"{rows.codes[0]}: {rows.messages[0]}"
        for rows in applied.rejects:
            self.letter(rows.batch, rows.rows, fact.load, fact.step, rows.codes, rows.messages)
        for output, put in applied.asides:
            self.put_aside(fact.load, fact.step, output, put)
        return replace(
            fact,
            records_in=fact.records_in + rows_in,
            records_out=fact.records_out + applied.rows_out,
            filtered=fact.filtered + applied.filtered,
            rejected=fact.rejected + applied.rejected,
            absorbed=fact.absorbed + applied.absorbed,
            dead=fact.dead + applied.rows_dead,
            nulled=fact.nulled + applied.nulled,
            made=fact.made + applied.made,
            rules=add_rules(fact.rules, applied.rules),
            failed=fact.failed + applied.failed,
            warned=fact.warned + applied.warned,
            examples=fact.examples + applied.examples,
            error=error,
        )

    def put_aside(self, load: str, step: str, output: str, rows: pa.RecordBatch) -> None:
        self.aside_box(load, step, output).add(rows)

    def aside_box(self, load: str, step: str, output: str) -> AsideBox:
        """What a step puts aside of a load for an output; it is ended with the bundle, and must have got something by then."""
        key = (load, step, output)
        if key not in self._asides:
            self._asides[key] = AsideBox(self.target, self._job.service, self.context.run, *key)
        return self._asides[key]

    def close_asides(self, load: str, step: str) -> tuple[Aside, ...]:
        """End what a step has put aside of a load."""
        return tuple(self._asides.pop(key).finish() for key in list(self._asides) if key[:2] == (load, step))

    def weigh(self, load: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Add the size of what goes on: that of the values, which is the same however rows are cut into batches.

        It takes less than 1 ns a row of five columns, where a filter and a map take a hundred times as long; a column of maps takes 10.
        """
        self._bytes_out[load] = self._bytes_out.get(load, 0) + sum(map(canonical_bytes, batches))

    def close_letters(self, load: str, step: str | None = None) -> tuple[Dead, ...]:
        """End the dead letters of a load; `step`: only those of that step."""
        ended = [key for key in self._letters if key[0] == load and step in (None, key[1])]
        return tuple(dead for key in ended for dead in self._letters.pop(key).finish())

    def dead_count(self, load: str) -> int:
        return sum(box.count for (of, _), box in self._letters.items() if of == load)

    @contextmanager
    def timed(self, load: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[load] = self._seconds.get(load, 0.0) + time.perf_counter() - began
