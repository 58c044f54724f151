"""Dead letters on their way out of staging: one JSON Lines file a run, and an index of what is in it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.engine.numbers import Numbers
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.errors import BeamPipelinesError, FatalError
from beam_pipelines.io.connector import LedgerRow, Target
from beam_pipelines.io.staging_files import sync
from beam_pipelines.runs.facts import Staged
from beam_pipelines.state.record import Failure

__all__ = ["Archive", "LettersFile", "drop", "export"]

Positions = npt.NDArray[np.int64]

_LOG = logging.getLogger(__name__)
_TOLD = ["load", "step", "at", "code", "message"]  # what many letters have alike
_AT_ONCE = 8_192  # letters: the text of more of them takes new memory each time, which takes as long as to write it
_GONE = ("staging-lost", "table-missing")


@dataclass(frozen=True)
class Archive:
    """Where the dead letters of a service live: `FOLDER/SERVICE/RUN.jsonl`, and `RUN.SINK.jsonl` of what another sink refused.

    Args:
        folder: `deadLetters` of the definition, else `dead-letters/` beside the state store.
    """

    folder: Path

    @classmethod
    def of(cls, place: str | None, beside: Path) -> Archive:
        """Open the place a definition names.

        Raises:
            PlanError: It is not a local folder: object stores are not served yet.
        """
        if place and "://" in place and not place.startswith("file://"):
            raise refusal("deadLetters", f"expected a local folder, got {place!r}; object stores are not served yet", "not-served")
        path = Path(place.removeprefix("file://")) if place else Path("dead-letters")
        return cls(path if path.is_absolute() else beside / path)

    def path(self, service: str, run: str, sink: str = "") -> Path:
        """The file of a run, or of one of the other sinks of a stream in one of its commits."""
        name = "".join(letter for letter in sink if letter.isalnum())
        return self.folder / service / (f"{run}.{name}.jsonl" if name else f"{run}.jsonl")

    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        """Letters of one file, one at a time."""
        with path.open("rb") as lines:
            for line in lines:
                yield orjson.loads(line)


class LettersFile:
    """A file of dead letters being written: beside its place, where it appears whole, or not at all.

    Args:
        path: Its place.
        service: Service id.
        run: Run id.

    Raises:
        FatalError: It cannot be written; so do its methods.
    """

    def __init__(self, path: Path, service: str, run: str) -> None:
        self._path, self._service, self._run = path, service, run
        self._part = path.with_suffix(".part")
        self._counts: dict[tuple[str, str, str], Failure] = {}
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._out = self._part.open("wb")

    def write(self, batch: pa.RecordBatch, attempt: str) -> None:
        """Add letters, in the schema `columnar.dead.SCHEMA`."""
        with self._writing():
            for first in range(0, batch.num_rows, _AT_ONCE):
                some = batch.slice(first, _AT_ONCE)
                _write(self._out, some, self._service, self._run, attempt, self._counts, str(self._path))

    def finish(self) -> tuple[Failure, ...]:
        """Put it in its place, in the place of one that is there; gives the letters by load, step and code."""
        with self._writing():
            self._out.flush()
            os.fsync(self._out.fileno())
            self._out.close()
            os.replace(self._part, self._path)
            sync(self._path.parent)  # what they were made of is dropped next: the new name must have reached the disk
        return tuple(self._counts.values())

    def abandon(self) -> None:
        """Leave what stands in its place."""
        with contextlib.suppress(OSError):
            self._out.close()
            self._part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as failed:
            raise FatalError(
                f"the dead letters of run {self._run} cannot be written to {self._path.parent}: {failed.strerror}", code="stage-failed"
            ) from failed


def export(target: Target, archive: Archive, service: str, rows: Iterable[LedgerRow], *, missing_ok: bool = False) -> tuple[Failure, ...]:
    """Write the dead letters that a run's ledger rows name, and count them by load, step and code.

    Safe to repeat: the file is the run's, and one that is there is not exchanged for one with less in it.

    Args:
        target: Where they are staged.
        archive: Where they go.
        service: Service id.
        rows: Ledger rows of one run.
        missing_ok: Staging that is gone costs its letters and a line in the log, unless they are in the file already.

    Raises:
        FatalError: The folder cannot be written, or a staging object is gone.
    """
    rows = [row for row in rows if row.counts and row.counts.letters]
    if not rows:
        return ()
    path = archive.path(service, rows[0].run)
    there = missing_ok and path.exists()
    lost: list[str] = []
    file = LettersFile(path, service, rows[0].run)
    try:
        for row in rows:
            numbers = Numbers.of(row)
            for letter in row.counts.letters if row.counts else ():
                for batch in _staged(target, letter.staged, missing_ok, lost):
                    known = batch if numbers is None else numbers.told(batch, batch.schema.get_field_index("origin"))
                    file.write(known, letter.staged.name[-16:])
                if lost and there:  # they were dropped because they had been written
                    file.abandon()
                    return _counted(archive, path)
    except BaseException:
        file.abandon()
        raise
    for message in lost:
        _LOG.error("%s", message)
    return file.finish()


def _counted(archive: Archive, path: Path) -> tuple[Failure, ...]:
    """The letters of a file that is there, by load, step and code."""
    counts: dict[tuple[str, str, str], Failure] = {}
    for letter in archive.read(path):
        key = (letter["table"], letter["step"], letter["code"])
        known = counts.get(key) or Failure(letter["step"], letter["code"], 0, str(path), letter["error"], letter["table"])
        counts[key] = replace(known, count=known.count + 1)
    return tuple(counts.values())


def _staged(target: Target, staged: Staged, missing_ok: bool, lost: list[str]) -> Iterator[pa.RecordBatch]:
    """The letters of one staging object. Where they are gone for good, `missing_ok` notes what is lost and goes on."""
    found = 0
    try:
        for batch in target.read_staged(staged):
            found += batch.num_rows
            yield batch
    except BeamPipelinesError as gone:
        if not missing_ok or gone.code not in _GONE:
            raise
        lost.append(f"{staged.rows - found} dead letters are lost, though the run's record counts them: {gone}")
        return
    if found < staged.rows:
        # PostgreSQL empties unlogged tables when it recovers from a crash.
        lost.append(f"{staged.rows - found} of {staged.rows} dead letters are lost, though the run's record counts them")


def _write(
    out: Any, batch: pa.RecordBatch, service: str, run: str, attempt: str, counts: dict[tuple[str, str, str], Failure], url: str
) -> None:
    """Write letters as lines, and count them. Most of a line is that of many letters, so it is written once and put before each of them."""
    firsts, which = _kinds(batch)
    heads = []
    for letter, count in zip(batch.select(_TOLD).take(pa.array(firsts)).to_pylist(), np.bincount(which).tolist(), strict=True):
        head = {
            "pipelineId": service,
            "runId": run,
            "table": letter["load"],
            "step": letter["step"],
            "timestamp": letter["at"].isoformat(),
            "code": letter["code"],
            "error": letter["message"],
        }
        heads.append(orjson.dumps(head)[:-1] + b',"origin":')
        key = (letter["load"], letter["step"], letter["code"])
        known = counts.get(key)
        message = known.message if known else letter["message"]
        counts[key] = Failure(letter["step"], letter["code"], (known.count if known else 0) + count, url, message, letter["load"])
    wide = pa.large_binary()
    told, record = (batch.column(name).cast(pa.large_string()).cast(wide) for name in ("origin", "payload"))
    between = pa.scalar(b',"attempt":' + orjson.dumps(attempt) + b',"record":', wide)
    before = pa.array(heads, wide).take(pa.array(which))
    out.write(_joined(pc.binary_join_element_wise(before, told, between, record, pa.scalar(b"}\n", wide), pa.scalar(b"", wide))))


def _kinds(batch: pa.RecordBatch) -> tuple[Positions, Positions]:
    """Rows that are the first of their kind, in order, and the kind of each row: all but origin and payload is alike in one."""
    codes: Positions = np.zeros(batch.num_rows, dtype=np.int64)
    for name in _TOLD:
        column = batch.column(name)
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        # As dense as before, so that they never grow beyond the number of rows, squared.
        codes = np.unique(codes * len(encoded.dictionary) + np.asarray(encoded.indices), return_inverse=True)[1]
    _, firsts, which = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return firsts[order], places[which]


def _joined(texts: pa.Array) -> memoryview:
    """All texts one after the other, as they stand in memory."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(data)[int(ends[0]) : int(ends[-1])]


def drop(target: Target, rows: Iterable[LedgerRow]) -> None:
    """Drop staged dead letters that were exported and indexed."""
    target.drop_staged([letter.staged.name for row in rows if row.counts for letter in row.counts.letters])
