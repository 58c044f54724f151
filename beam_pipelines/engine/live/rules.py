"""Rules over a stream: what takes other rows to tell is told by shards of keys, which remember those of the drains before.

As of bounded runs (`engine.validate`) keys travel and rows wait. But a row waits in a grouping, under the name of its batch, until all
shards have told of it, for on Prism a step may be shown a side input that is not there yet (`engine.live.noted`); and what a foreign key
refers to goes to the shards however small it is. Which rows repeat a key is a pure function in `rules.key.horizon`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_pipelines.columnar import hashing, origin
from beam_pipelines.engine import beside
from beam_pipelines.engine.bundle import FACTS
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.live import held_blocks
from beam_pipelines.engine.live.kept_states import KeptFn, Sharded, is_kept, keep, states_of
from beam_pipelines.engine.live.noted import reads_of, view_of
from beam_pipelines.engine.live.reached import watermark_of
from beam_pipelines.engine.live.small import Small
from beam_pipelines.engine.live.state_blocks import state_blocks
from beam_pipelines.engine.rule_keys import BATCH, ROW, RULE, by_name, key_batch, key_column, key_names, note_of, rule_of, told_of, unknown
from beam_pipelines.engine.shuffle import SHARDS, ShuffleFn, cut
from beam_pipelines.rules.field import Field
from beam_pipelines.rules.judgement import Positions
from beam_pipelines.rules.key.horizon import HIGH, LOW, UNTIL, Memory, Rows
from beam_pipelines.rules.key.known import Known
from beam_pipelines.rules.key.reference import References
from beam_pipelines.runs.facts import OPEN, ReadFact, StepFact
from beam_pipelines.runs.offsets import Offsets
from beam_pipelines.transforms.validate import Validate

__all__ = ["HoldRows"]

_HELD = "held"
_TIMES, _ORDER = "times", "order"  # columns of rows that ask whether they repeat a key; of the order there are several
_WAITS = -1  # beside what comes together under the name of a batch: it is the batch itself; from 0 on it is the place of a rule

_Named = tuple[tuple[str, str], tuple[int, bytes]]  # load and name of a batch


class _AskFn(ShuffleFn[Validate]):
    """Sends the keys of rows to the shards, those of many batches together, and lets the rows wait."""

    def start_bundle(self) -> None:
        super().start_bundle()
        self._small = Small[tuple[str, str]]()
        self._measured: dict[str, Any] = {}

    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[Any]:
        load, name = origin.load_of(batch), uuid.uuid4().hex
        with self.timed(load):
            step = self.step(load, texts)
            state = step.measures.measure(origin.visible(batch))
            self._measured[load] = step.measures.merge(self._measured[load], state) if load in self._measured else state
            self._facts[load] = replace(self._facts[load], records_in=self._facts[load].records_in + batch.num_rows)
            for rule, keys in _asked(step, batch, name):
                self._small.add((load, rule), keys)
        yield TaggedOutput(_HELD, ((load, name), (_WAITS, beside.packed(name, batch))))
        if self._small.enough:
            yield from self._sent()

    def _sent(self) -> Iterator[Sharded]:
        for (load, rule), keys in self._small.take():
            yield from _sharded(load, told_of(rule, keys))

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(self.told, self._sent())
        for load, state in self._measured.items():
            if state:
                self._facts[load] = replace(self._facts[load], states=(state,))
        yield from super().finish_bundle()


def _asked(step: Validate, batch: pa.RecordBatch, name: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    """By the id of a rule the keys of a batch, each with where its row is."""
    for at, rule in enumerate(step.rules):
        if at in step.horizons:
            asked, rows = step.asked(at, batch)
            columns: dict[str, Any] = {HIGH: asked.high, LOW: asked.low, _TIMES: asked.times, UNTIL: asked.until}
            columns |= {f"{_ORDER}{number}": column for number, column in enumerate(asked.order)}
            yield rule.model.id, key_batch([], {**{key: pa.array(one) for key, one in columns.items()}, **_where(name, rows)})
        elif isinstance(rule.row, References):
            yield rule.model.id, key_batch(rule.row.keys(origin.visible(batch)), _where(name, np.arange(batch.num_rows)))


def _where(name: str, rows: Positions) -> dict[str, pa.Array]:
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), dtype=np.int32)), pa.array([name]))
    return {BATCH: names, ROW: pa.array(rows.astype(np.int32))}


def _sharded(load: str, keys: pa.RecordBatch) -> Iterator[Sharded]:
    """Cut keys into those of each shard: by their digests, or by what they are where those of a reference are of other types."""
    names = [HIGH, LOW] if HIGH in keys.schema.names else key_names(keys)
    for number, part in cut(keys, hashing.shard(keys, names, SHARDS, one_type=HIGH in names)):
        yield (load, number), part


class _ReferenceFn(ShuffleFn[Validate]):
    """Sends the keys of the rows that a foreign key refers to to the shards."""

    def __init__(self, job: Job, position: int, rule: str) -> None:
        super().__init__(job, position)
        self._rule = rule

    def process(self, batch: pa.RecordBatch, texts: dict[str, str]) -> Iterator[Sharded]:
        load = origin.load_of(batch)
        with self.timed(load):
            step = self.step(load, texts)
            self._facts[load] = replace(self._facts[load], right=self._facts[load].right + batch.num_rows)
            (rule,) = (one for one in step.foreign_keys if one.id == self._rule)
            keys = key_batch([Field.find(name, batch.schema).read(batch) for name in rule.reference.names])
        yield from _sharded(load, told_of(self._rule, keys))


class _KeptFn(KeptFn[Validate]):
    def version(self, step: Validate, states: pa.RecordBatch) -> str | None:
        return step.state_versions.get(rule_of(states))

    def cut(self, load: str, step: Validate, states: pa.RecordBatch) -> Iterator[Sharded]:  # noqa: ARG002 - digests tell the shard
        return _sharded(load, states)


class _TellFn(ShuffleFn[Validate]):
    """Tells of the keys of a shard which violate, under the names of their batches, and remembers them."""

    def process(
        self, shard: tuple[tuple[str, int], Iterable[pa.RecordBatch]], texts: dict[str, str], facts: Iterable[ReadFact]
    ) -> Iterator[_Named]:
        (load, number), given = shard
        blocks: dict[str, list[pa.RecordBatch]] = {}
        for block in (block for batch in given for block in held_blocks.opened(load, batch)):
            blocks.setdefault(rule_of(block), []).append(block)
        step, notes = self.step(load, texts), list[tuple[int, pa.RecordBatch]]()
        watermark = watermark_of(self._job, self.window(load, texts), facts) if step.horizons else None
        for at, rule in enumerate(step.rules):
            mine = blocks.get(rule.model.id, [])
            with self.timed(load):
                if mine and at in step.horizons:
                    notes += [(at, note) for note in self._remembered(load, step, at, number, mine, watermark)]
                elif mine:
                    notes += [(at, note) for note in _unknown(mine)]
        for at, note in notes:
            for name, rows in by_name(note):
                yield (load, name), (at, rows.tobytes())

    def _remembered(
        self, load: str, step: Validate, at: int, number: int, blocks: Sequence[pa.RecordBatch], watermark: int | None
    ) -> Iterator[pa.RecordBatch]:
        rule, horizon = step.rules[at].model.id, step.horizons[at]
        # Keys that another version has left in other shards are no block that is kept, but no rows that ask either.
        kept, came = ([block for block in blocks if (_TIMES in block.schema.names) == asks] for asks in (False, True))
        memory = Memory(kept)
        if came:
            rows = pa.concat_batches(came)
            yield note_of(rows, memory.meet(_rows(rows)))
        memory.forget(horizon, watermark)
        fact = self._facts[load]
        self._facts[load] = replace(fact, remembered=fact.remembered + len(memory))
        if len(memory):
            whole, changed = memory.parts()
            states = [*whole, *(() if changed is None else state_blocks(changed, [UNTIL, HIGH, LOW]))]
            told = {**states_of(step.id, step.state_versions[rule]), RULE: rule.encode()}
            keep(self.aside_box(load, step.id, OPEN), number, states, [*filter(is_kept, kept)], told)


def _rows(keys: pa.RecordBatch) -> Rows:
    order = [name for name in keys.schema.names if name.startswith(_ORDER)]
    high, low, times, until, *places = (np.asarray(keys.column(name)) for name in (HIGH, LOW, _TIMES, UNTIL, *order))
    return Rows(high, low, times, until, places)


def _unknown(blocks: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows whose keys are not among those of the reference."""
    asked = [block for block in blocks if BATCH in block.schema.names]
    if asked:
        reference = [block for block in blocks if BATCH not in block.schema.names]
        known = Known([key_column(reference, name, asked[0]) for name in key_names(asked[0])])
        yield from (note_of(rows, unknown(rows, known)) for rows in asked)


class _JudgeFn(ShuffleFn[Validate]):
    """Judges a batch that has waited, with what the shards told of it."""

    def process(self, waited: tuple[tuple[str, str], Iterable[tuple[int, bytes]]], texts: dict[str, str]) -> Iterator[pa.RecordBatch]:
        (load, name), told = waited
        with self.timed(load):
            step, low = self.step(load, texts), self.window(load, texts).low
            found: dict[int, list[Positions]] = {step.place(rule.id): [] for rule in step.foreign_keys}
            found |= {at: [] for at in step.horizons}
            for at, data in told:
                if at == _WAITS:
                    batch = beside.unpacked(name, data)
                else:
                    found[at].append(np.frombuffer(data, dtype=np.int64))
            nobody = np.zeros(0, dtype=np.int64)
            repeat = {at: np.sort(np.concatenate([nobody, *parts])) for at, parts in found.items()}
            applied = step.judge(batch, repeat, Offsets.of(low).closed if low is not None else None)
        self.count(load, applied)
        yield from applied.batches


class HoldRows(beam.PTransform):
    """A validate step of a stream whose rules take other rows to tell, over the rows of every worker and what earlier commits remember.

    Takes the rows, in one stream or several, those of each foreign key's reference, and the facts of the reads, which tell how far event
    time is. Gives the rows that go on, and the facts of the step, which name the keys that are remembered.

    Args:
        job: The service, or a side of it.
        position: Of the step.
        windows: One element, `{load: window as text}`.
    """

    def __init__(self, job: Job, position: int, windows: PCollection) -> None:
        super().__init__()
        self._job, self._position, self._windows = job, position, windows

    def expand(self, given: tuple[tuple[PCollection, ...], Mapping[str, PCollection], PCollection]) -> Any:
        streams, references, read = given
        windows = view_of(self._windows, self._job.path)
        pairs = tuple[tuple[str, int], pa.RecordBatch]
        ask = beam.ParDo(_AskFn(self._job, self._position), windows)
        ask = ask.with_output_types(pairs, **{_HELD: _Named, FACTS: StepFact})
        asked = [rows | f"Ask{number or ''}" >> ask.with_outputs(_HELD, FACTS, main="keys") for number, rows in enumerate(streams)]
        referred = []
        for rule, rows in references.items():
            refer = beam.ParDo(_ReferenceFn(self._job, self._position, rule), windows).with_output_types(pairs, **{FACTS: StepFact})
            referred.append(rows | f"Reference {rule}" >> refer.with_outputs(FACTS, main="keys"))
        keys = [one.keys for one in (*asked, *referred)]
        if not self._job.path:
            keys.append(self._windows | "Kept" >> beam.ParDo(_KeptFn(self._job, self._position)).with_output_types(pairs))
        tell = beam.ParDo(_TellFn(self._job, self._position), windows, reads_of(read))
        told = (
            tuple(keys)
            | "Keys" >> beam.Flatten()
            | "Shards" >> beam.GroupByKey()
            | "Tell" >> tell.with_output_types(_Named, **{FACTS: StepFact}).with_outputs(FACTS, main="notes")
        )
        named = (*(one[_HELD] for one in asked), told.notes) | "Named" >> beam.Flatten()
        judge = beam.ParDo(_JudgeFn(self._job, self._position), windows).with_output_types(pa.RecordBatch, **{FACTS: StepFact})
        judged = named | "Batches" >> beam.GroupByKey() | "Judge" >> judge.with_outputs(FACTS, main="rows")
        return judged.rows, [one[FACTS] for one in (*asked, *referred, told, judged)]
