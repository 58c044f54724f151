"""Hold the rows of every worker against rules: what takes other rows to tell is told by shards of keys, and goes back to the batches.

Keys travel, not rows: a batch has a name of its own, and what violates in it comes back as positions. Of a `unique` rule hashes travel, and
the keys of those rows alone whose hashes meet (`suspects`). A rule's reference is an index in each worker where it is small, which is
decided in the run from the bytes that it really has, else its keys go to the shards as well. What the rules are stands in `rules`, what
the step is in `transforms.validate`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import AsIter, AsSingleton, PCollection, TaggedOutput

from beam_pipelines.columnar import hashing, origin, size
from beam_pipelines.columnar.compact import joined
from beam_pipelines.engine import beside
from beam_pipelines.engine.ahead import Ahead
from beam_pipelines.engine.bundle import FACTS, PlainFn, in_global_window
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.join import NEAR
from beam_pipelines.engine.places import Places
from beam_pipelines.engine.rule_keys import (
    BATCH,
    PLACE,
    REFERENCE,
    ROW,
    ROWS,
    TIE,
    Block,
    Shard,
    by_batch,
    key_column,
    key_names,
    note_of,
    repeated_rows,
    rule_of,
    sharded,
    told_of,
    told_whole,
    unknown,
)
from beam_pipelines.engine.shuffle import ShuffleFn
from beam_pipelines.engine.suspects import HASHES_TYPE, KEYED_TYPE, SuspectFn, SuspectKeysFn, hashed, packed
from beam_pipelines.rules.field import Field
from beam_pipelines.rules.judgement import Judgement, Positions
from beam_pipelines.rules.key.known import Known
from beam_pipelines.rules.key.reference import References
from beam_pipelines.rules.tally import Tally
from beam_pipelines.runs.facts import StepFact, add_rules
from beam_pipelines.transforms.step import Applied
from beam_pipelines.transforms.validate import Validate

if TYPE_CHECKING:
    from beam_pipelines.spec.step.validate import ValidateStep

__all__ = ["ValidateRows"]

_HASHES, _KEYED, _KEYS, _HELD = "hashes", "keyed", "keys", "held"

_KEYS_TYPE = tuple[tuple[str, int, int], tuple[int, str, bytes]]


class _SizeFn(PlainFn):
    """How large each reference is."""

    def __init__(self, rule: str) -> None:
        self._rule = rule

    def process(self, batch: pa.RecordBatch) -> Iterator[tuple[str, str, int]]:
        yield self._rule, origin.load_of(batch), size.slice_bytes(batch)


class _ValidateFn(ShuffleFn[Validate]):
    def setup(self) -> None:
        super().setup()
        self._ahead: Ahead[Any] = Ahead()

    def _leave(self) -> None:
        self._ahead.leave()  # it uses what is closed next
        super()._leave()

    def start_bundle(self) -> None:
        super().start_bundle()
        self._sizes: dict[tuple[str, str], int] | None = None

    def near(self, load: str, rule: str, sizes: Iterable[tuple[str, str, int]]) -> bool:
        """Whether each worker holds the reference of a rule whole."""
        if self._sizes is None:
            self._sizes = {}
            for of, which, bytes_ in sizes:
                self._sizes[of, which] = self._sizes.get((of, which), 0) + bytes_
        return self._sizes.get((rule, load), 0) <= NEAR

    def opened(self, load: str, texts: dict[str, str], held: Iterable[pa.RecordBatch]) -> Validate:
        """The step of a load, which knows the references that are held whole."""
        if load not in self._steps:
            step = self.step(load, texts)
            rows: dict[str, list[pa.RecordBatch]] = {}
            for one in held:
                if origin.load_of(one) == load:
                    rows.setdefault(rule_of(one), []).append(origin.visible(one).replace_schema_metadata(None))
            for rule, batches in rows.items():
                step.refer(rule, pa.Table.from_batches(batches))
        return self._steps[load]


@dataclass(frozen=True)
class _Looked:
    """What came of a batch: judged, or held back with its keys sent to the shards."""

    load: str
    rows: int
    state: Any
    applied: Applied | None = None
    outputs: Sequence[TaggedOutput] = ()


def _alone(step: Validate, batch: pa.RecordBatch, apart: Sequence[int]) -> tuple[dict[int, Judgement], float]:
    """What the rules say that a batch alone tells, and how long it took."""
    began = time.perf_counter()
    return step.alone(batch, apart), time.perf_counter() - began


def _late(output: Any) -> Any:
    """Wrap what a bundle gives when it ends."""
    if isinstance(output, TaggedOutput):
        return TaggedOutput(output.tag, in_global_window(output.value))
    return in_global_window(output)


class _ReferenceFn(_ValidateFn):
    """Rows that a foreign key refers to: held whole, or their keys to the shards."""

    def __init__(self, job: Job, position: int, rule: str) -> None:
        super().__init__(job, position)
        self._rule = rule

    def process(self, batch: pa.RecordBatch, sizes: Iterable[tuple[str, str, int]], texts: dict[str, str]) -> Iterator[Any]:
        load = origin.load_of(batch)
        step = self.step(load, texts)
        self._facts[load] = replace(self._facts[load], right=self._facts[load].right + batch.num_rows)
        if self.near(load, self._rule, sizes):
            yield told_of(self._rule, batch)
            return
        at = step.place(self._rule)
        (rule,) = (one for one in step.foreign_keys if one.id == self._rule)
        keys = [Field.find(name, batch.schema).read(batch) for name in rule.reference.names]
        for keyed in sharded(load, at, REFERENCE, keys, {}, {}, one_type=False):
            yield TaggedOutput(_KEYS, keyed)


class _JudgeFn(_ValidateFn):
    """Judges what needs no other rows at once; holds back the rest, and sends its keys to the shards."""

    def start_bundle(self) -> None:
        super().start_bundle()
        self._places = Places(self._job.definition.steps[: self._position])
        self._measured: dict[str, Any] = {}
        self._later: list[tuple[str, Callable[[], Any]]] = []

    def process(
        self, batch: pa.RecordBatch, sizes: Iterable[tuple[str, str, int]], held: Iterable[pa.RecordBatch], texts: dict[str, str]
    ) -> Iterator[Any]:
        load = origin.load_of(batch)
        step = self.opened(load, texts, held)
        apart = [at for at, rule in enumerate(step.rules) if rule.unique is not None]
        apart += [step.place(rule.id) for rule in step.foreign_keys if not self.near(load, rule.id, sizes)]
        places = self._places.of(load, batch) if apart else 0
        for one in self._ahead.put(lambda: self._looked_at(load, step, sorted(apart), batch, places)):
            yield from self._told(one)

    def _looked_at(self, load: str, step: Validate, apart: Sequence[int], batch: pa.RecordBatch, places: int | Positions) -> _Looked:
        with self.timed(load):
            state = step.measures.measure(origin.visible(batch))
            if not apart:
                return _Looked(load, batch.num_rows, state, step.judge(batch, {}))
            name = uuid.uuid4().hex
            outputs = [part for at in apart for part in self._keys(load, step, at, batch, name, places)]
            outputs.append(TaggedOutput(_HELD, (load, name, data := beside.packed(name, batch))))
            if not data:
                self._later.append((name, partial(_alone, step, batch, apart)))
            return _Looked(load, batch.num_rows, state, outputs=outputs)

    def _told(self, one: _Looked) -> Iterator[Any]:
        measures = self._steps[one.load].measures
        self._measured[one.load] = measures.merge(self._measured[one.load], one.state) if one.load in self._measured else one.state
        if one.applied is None:
            self._facts[one.load] = replace(self._facts[one.load], records_in=self._facts[one.load].records_in + one.rows)
            yield from one.outputs
            return
        self.count(one.load, one.applied, one.rows)
        yield from one.applied.batches

    def finish_bundle(self) -> Iterator[Any]:
        for one in self._ahead.rest():
            yield from map(_late, self._told(one))
        if self._later:
            self._judge_ahead()
        for load, state in self._measured.items():
            if state:
                self._facts[load] = replace(self._facts[load], states=(state,))
        yield from super().finish_bundle()

    def _judge_ahead(self) -> None:
        """Hold the batches that wait in this process against their other rules while the shards are looked at, which leave a core idle."""
        ahead = Ahead[Any]()
        for name, work in self._later:
            beside.begin(name, ahead.begin(work))
        for step in self._steps.values():  # they are that thread's from here on
            ahead.begin(step.close)
        self._steps = {}
        ahead.end()

    def _keys(self, load: str, step: Validate, at: int, batch: pa.RecordBatch, name: str, places: int | Positions) -> Iterator[Any]:
        rule, visible = step.rules[at], origin.visible(batch)
        about = {BATCH: name}
        if rule.unique is None:
            assert isinstance(rule.row, References)
            more = {ROW: pa.array(np.arange(batch.num_rows, dtype=np.int32))}
            for keyed in sharded(load, at, ROWS, rule.row.keys(visible), more, about, one_type=False):
                yield TaggedOutput(_KEYS, keyed)
            return
        columns, rows = rule.unique.keys(visible)
        if not len(rows):
            return
        more = {ROW: pa.array(rows.astype(np.int32))}
        if isinstance(places, int):
            about[PLACE] = str(places)
        else:
            more[PLACE] = pa.array(places[rows])
            # Rows of one place, as a join makes them of one row, are told apart by what is in them: on every run they are in one order.
            ties = hashing.row_hashes(visible, visible.schema.names, one_type=True)[rows]
            more[TIE] = pa.array(ties.astype(np.uint64))
        for block in hashed(load, at, name, columns, rows):
            yield TaggedOutput(_HASHES, block)
        yield TaggedOutput(_KEYED, packed(load, at, name, columns, more, about))


class _ShardFn(ShuffleFn[Validate]):
    """Tells of the keys of a shard which violate, by batch."""

    def process(self, shard: tuple[Shard, Iterable[Block]], texts: dict[str, str]) -> Iterator[pa.RecordBatch]:
        (load, at, _), blocks = shard
        with self.timed(load):
            step = self.step(load, texts)
            rule = step.rules[at]
            sides: tuple[list[pa.RecordBatch], list[pa.RecordBatch]] = ([], [])
            for side, name, packed in blocks:
                part = beside.unpacked(name, packed)
                sides[side].append(told_whole(part) if side == ROWS else part)
            if not sides[ROWS]:
                return
            notes: list[pa.RecordBatch] = []
            if rule.unique is not None:
                names = sides[ROWS][0].schema.names
                columns = [joined([part.column(name) for part in sides[ROWS]]) for name in names]
                rows = pa.RecordBatch.from_arrays(columns, names=names)
                found, note = repeated_rows(rows, rule.unique.keep)
                fact, counts = self._facts[load], {rule.model.id: asdict(Tally().repeating(found))}
                self._facts[load] = replace(fact, rules=add_rules(fact.rules, counts))
                notes = [note]
            else:
                known = Known([key_column(sides[REFERENCE], key, sides[ROWS][0]) for key in key_names(sides[ROWS][0])])
                notes = [note_of(rows, unknown(rows, known)) for rows in sides[ROWS]]
        for note in notes:
            for part in size.split(note):
                if part.num_rows:
                    yield told_of(str(at), part.replace_schema_metadata({origin.LOAD: load.encode()}))


class _SplitFn(_ValidateFn):
    """Judges the batches that were held back, with what the shards told of them."""

    def start_bundle(self) -> None:
        super().start_bundle()
        self._told: dict[tuple[str, str], dict[int, Positions]] | None = None

    def process(
        self,
        held: tuple[str, str, bytes],
        notes: Iterable[pa.RecordBatch],
        sizes: Iterable[tuple[str, str, int]],
        references: Iterable[pa.RecordBatch],
        texts: dict[str, str],
    ) -> Iterator[pa.RecordBatch]:
        load, name, packed = held
        with self.timed(load):
            if self._told is None:
                self._told = by_batch(notes)
            step = self.opened(load, texts, references)
            nobody = np.zeros(0, dtype=np.int64)
            found = {step.place(rule.id): nobody for rule in step.foreign_keys if not self.near(load, rule.id, sizes)}
            found |= self._told.get((load, name), {})
        for judged in self._ahead.put(lambda: (load, self._judged(load, step, name, beside.unpacked(name, packed), found))):
            yield from self._counted(*judged)

    def _judged(self, load: str, step: Validate, name: str, batch: pa.RecordBatch, found: Mapping[int, Positions]) -> Applied:
        with self.timed(load):
            known, seconds = beside.begun(name) or ({}, 0.0)
            self._seconds[load] = self._seconds.get(load, 0.0) + seconds
            return step.judge(batch, found, known=known)

    def _counted(self, load: str, applied: Applied) -> Iterator[pa.RecordBatch]:
        self.count(load, applied)
        yield from applied.batches

    def finish_bundle(self) -> Iterator[Any]:
        for judged in self._ahead.rest():
            yield from map(in_global_window, self._counted(*judged))
        self._told = None
        yield from super().finish_bundle()


class ValidateRows(beam.PTransform):
    """One validate step of a definition, over the rows of every worker.

    Takes the rows, in one stream or several, and those of each foreign key's reference. Gives the rows that go on, in the streams that they
    came in, and the facts.

    Args:
        job: The service.
        position: Of the step.
        windows: One element, `{load: window as text}`.
    """

    def __init__(self, job: Job, position: int, windows: PCollection) -> None:
        super().__init__()
        self._job, self._position, self._windows = job, position, windows

    def expand(self, given: Any) -> Any:
        streams, references = given
        windows = AsSingleton(self._windows)
        sizes, held, keys, facts = self._referred(references, windows)
        judge = beam.ParDo(_JudgeFn(self._job, self._position), sizes, held, windows)
        apart = {_HASHES: HASHES_TYPE, _KEYED: KEYED_TYPE, _KEYS: _KEYS_TYPE, _HELD: tuple[str, str, bytes], FACTS: StepFact}
        each = judge.with_output_types(pa.RecordBatch, **apart).with_outputs(*apart, main="rows")
        judged = [rows | f"Judge{number or ''}" >> each for number, rows in enumerate(streams)]
        told = beam.ParDo(_ShardFn(self._job, self._position), windows).with_output_types(pa.RecordBatch, **{FACTS: StepFact})
        if self._all_later:
            keys += self._suspects(judged)
        together = (*(one[_KEYS] for one in judged), *keys) | "Keys" >> beam.Flatten()
        notes = together | "Shards" >> beam.GroupByKey() | "Tell" >> told.with_outputs(FACTS, main="notes")
        split = beam.ParDo(_SplitFn(self._job, self._position), AsIter(notes.notes), sizes, held, windows)
        split = split.with_output_types(pa.RecordBatch, **{FACTS: StepFact})
        later = [one[_HELD] | f"Split{number or ''}" >> split.with_outputs(FACTS, main="rows") for number, one in enumerate(judged)]
        facts += [notes[FACTS], *(one[FACTS] for one in (*judged, *later))]
        if self._all_later:
            return tuple(one.rows for one in later), facts
        pairs = enumerate(zip(judged, later, strict=True))
        rows = [(now.rows, then.rows) | f"Rows{number or ''}" >> beam.Flatten() for number, (now, then) in pairs]
        return tuple(rows), facts

    def _suspects(self, judged: Sequence[Any]) -> list[PCollection]:
        """The keys of rows that may repeat one."""
        hashes = [one[_HASHES] for one in judged]
        # Of one collection no flat is made: Beam's local runner would copy it.
        together = hashes[0] if len(hashes) == 1 else hashes | "Hashes" >> beam.Flatten()
        alike = together | "Alike" >> beam.GroupByKey() | "Suspects" >> beam.ParDo(SuspectFn()).with_output_types(pa.RecordBatch)
        keys = beam.ParDo(SuspectKeysFn(), AsIter(alike)).with_output_types(_KEYS_TYPE)
        return [one[_KEYED] | f"Suspect keys{number or ''}" >> keys for number, one in enumerate(judged)]

    @property
    def _all_later(self) -> bool:
        """Whether every batch is held back, whatever the references weigh: Beam's local runner holds what it flattens once more."""
        rules = cast("ValidateStep", self._job.definition.steps[self._position]).rules
        return any(rule.type == "unique" for rule in rules)

    def _referred(self, references: Mapping[str, PCollection], windows: Any) -> Any:
        """How large the references are, those that are held whole, the keys of the others, and facts."""
        pipeline = self._windows.pipeline
        sized = [
            rows | f"Sizes {rule}" >> beam.ParDo(_SizeFn(rule)).with_output_types(tuple[str, str, int]) for rule, rows in references.items()
        ]
        # Flattened also when there are none: a flat of nothing is an empty collection.
        sizes = AsIter(tuple(sized) | "Sizes" >> beam.Flatten(pipeline=pipeline))
        each = []
        for rule, rows in references.items():
            refer = beam.ParDo(_ReferenceFn(self._job, self._position, rule), sizes, windows)
            refer = refer.with_output_types(pa.RecordBatch, **{_KEYS: _KEYS_TYPE, FACTS: StepFact})
            each.append(rows | f"Reference {rule}" >> refer.with_outputs(_KEYS, FACTS, main="rows"))
        held = AsIter(tuple(one.rows for one in each) | "References" >> beam.Flatten(pipeline=pipeline))
        return sizes, held, [one[_KEYS] for one in each], [one[FACTS] for one in each]
