"""What a step of a stream leaves to the drains after it: blocks of states, read back with where each of them is kept.

A block that is as it was when it was read is not kept anew, but named.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import pyarrow as pa

from beam_pipelines.engine.aside import AsideBox
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.lineage import remembers
from beam_pipelines.engine.live import held_blocks
from beam_pipelines.engine.prepare import windows_of
from beam_pipelines.engine.shuffle import SHARDS, Shard, ShuffleFn
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connector import Target
from beam_pipelines.runs.context import RunContext
from beam_pipelines.transforms.step import Step

__all__ = ["KeptFn", "Sharded", "check_kept", "is_kept", "keep", "states_of"]

_LOG = logging.getLogger(__name__)
_CHOICE = (
    "go on with that one until they have closed; or run with --keep-watermark, which gives them up and goes on from the stored offsets, or"
    " with --full-refresh, which reads the topic again"
)
_SHARD = b"shard"  # of the schema of states that are kept: all of them are of that one, `3/16`
_STEP, _VERSION = b"step", b"version"  # as `_SHARD`: whose they are, and what they mean

Sharded = tuple[Shard, pa.RecordBatch]


_Step = TypeVar("_Step", bound=Step)


class KeptFn(ShuffleFn[_Step]):
    """The states that the last commit left of a step, in their shards."""

    def process(self, texts: dict[str, str]) -> Iterator[Sharded]:
        mine = self._job.step_ids[self._position]
        for load, window in windows_of(texts).items():
            if mine not in window.schemas or window.full:
                continue
            names: dict[Shard, held_blocks.Names] = {}
            for states in held_blocks.read(self.target, window.service, load):
                step, told = self.step(load, texts), states.schema.metadata
                if told[_STEP] != mine.encode() or not self._same_meaning(states, step, load):
                    continue
                for shard, part in self._placed(load, step, states):
                    if not is_kept(part) or not names.setdefault(shard, held_blocks.Names(load)).add(part):
                        yield shard, part
            for shard, named in names.items():
                yield from ((shard, batch) for batch in named.batches())

    def _placed(self, load: str, step: _Step, states: pa.RecordBatch) -> Iterator[Sharded]:
        """States in their shards; a block that is known to be of one goes whole, and knows its parts."""
        told = {name: value for name, value in states.schema.metadata.items() if name not in (_STEP, _VERSION)}
        number, _, shards = told.pop(_SHARD).decode().partition("/")
        if shards == str(SHARDS):
            yield (load, int(number)), states.replace_schema_metadata(told)
        else:  # another version has left it
            del told[held_blocks.PARTS]
            yield from self.cut(load, step, states.replace_schema_metadata(told))

    def _same_meaning(self, states: pa.RecordBatch, step: _Step, load: str) -> bool:
        """Whether states can be gone on from; False: they are given up, as the user has chosen, or nobody wants them."""
        version = self.version(step, states)
        if version is None or states.schema.metadata[_VERSION] == version.encode():
            return version is not None
        if self.context.keep_watermark:
            _LOG.warning("%d states of %r are given up: they were begun by another definition", states.num_rows, step.id)
            return False
        what = {"join": "rows wait for others", "validate": "keys are remembered"}.get(step.type, "windows are open")
        raise PlanError(
            f"of {step.id!r} into {load!r} {what} that were begun by another definition of the step, or of what comes to it: {_CHOICE}",
            code="fingerprint-changed",
        )

    @abstractmethod
    def version(self, step: _Step, states: pa.RecordBatch) -> str | None:
        """What states have to mean to be gone on from; None: the step has none of that kind any more."""

    @abstractmethod
    def cut(self, load: str, step: _Step, states: pa.RecordBatch) -> Iterator[Sharded]:
        """Cut states into those of each shard."""

    def finish_bundle(self) -> Iterator[pa.RecordBatch]:
        self._leave()  # nothing came, and nothing is told of it
        yield from ()


def is_kept(states: pa.RecordBatch) -> bool:
    """Whether states are a block that a commit has kept, and not of rows that came since."""
    return held_blocks.PARTS in (states.schema.metadata or {})


def check_kept(job: Job, context: RunContext, target: Target) -> None:
    """Refuse to lose what the commits have left of a step that is no more, which may have been given another name.

    Raises:
        PlanError: `fingerprint-changed`.
    """
    if context.full_refresh or context.keep_watermark:
        return
    steps = {step.id for step in job.definition.steps if step.type == "window" or step.id in job.live_joins or remembers(step)}
    for load in target.heads(job.service):
        gone = {states.schema.metadata[_STEP].decode() for states in held_blocks.read(target, job.service, load)} - steps
        if gone:
            what = "windows are open, rows wait for others or keys are remembered of a step that the definition does not have any more"
            raise PlanError(f"into {load!r} {what}, {min(gone)!r}: give it back its name; {_CHOICE}", code="fingerprint-changed")


def states_of(step: str, version: str) -> dict[bytes, bytes]:
    """What is told of states when they are kept: the id of their step, and what they mean."""
    return {_STEP: step.encode(), _VERSION: version.encode()}


def keep(
    box: AsideBox,
    number: int,
    blocks: Iterable[pa.RecordBatch],
    kept: Sequence[pa.RecordBatch],
    told: Mapping[bytes, bytes],
) -> None:
    """Put states aside for the commits to come: of blocks that are as they were, their names alone.

    Args:
        box: Where.
        number: Of their shard.
        blocks: The states.
        kept: The blocks that earlier commits have left.
        told: What is to be known of them when they are read again, `states_of` among it.
    """
    known: dict[int, list[pa.RecordBatch]] = {}
    for block in kept:
        known.setdefault(block.num_rows, []).append(block)
    for block in blocks:
        alike = known.get(block.num_rows, [])
        place = next((place for place, one in enumerate(alike) if one is block or one.equals(block)), None)
        if place is None:
            box.block(block.replace_schema_metadata({**told, _SHARD: f"{number}/{SHARDS}".encode()}))
        else:
            # Each stands for one: blocks may be equal, of rows that an explode has made alike.
            for run, part in held_blocks.parts_of(alike.pop(place)):
                box.stays(run, part)
