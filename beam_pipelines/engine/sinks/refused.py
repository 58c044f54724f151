"""What another sink of a stream refuses of a commit: dead letters in a file of their own, counted where those of the drain are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import dead
from beam_pipelines.engine.letters import Archive, LettersFile
from beam_pipelines.runs.names import new_attempt
from beam_pipelines.state.record import Failure

__all__ = ["Refused"]


class Refused:
    """Dead letters of one sink and one commit. Their file begins with the first one, and appears whole (`finish`) or not at all.

    Args:
        archive: Where it goes.
        service: Service id.
        run: Of the drain that committed.
        load: Ledger key of the stream's load.
        sink: Id of the sink: it stands in the letters where a step would.
        at: When, aware.
    """

    def __init__(self, archive: Archive, service: str, run: str, load: str, sink: str, at: datetime) -> None:
        self._path, self._service, self._run = archive.path(service, run, sink), service, run
        self._load, self._sink, self._at = load, sink, at
        self._attempt = new_attempt()
        self._file: LettersFile | None = None

    def add(self, batch: pa.RecordBatch, rows: Sequence[int], codes: Sequence[str], messages: Sequence[str], first: int) -> None:
        """Add rows of a batch.

        Args:
            batch: Visible columns.
            rows: Positions in it.
            codes: One a row.
            messages: One a row, without values of it.
            first: Position of the batch's first row among all rows of the commit.
        """
        origins: list[dict[str, Any]] = [{"commit": self._run, "row": first + row} for row in rows]
        made = dead.letters(batch, rows, load=self._load, step=self._sink, codes=codes, messages=messages, at=self._at, origins=origins)
        self._opened().write(made, self._attempt)

    def take(self, letters: pa.RecordBatch) -> None:
        """Add letters that a target has written of rows that it could not load."""
        for at, name in ((0, self._load), (1, self._sink)):
            field = dead.SCHEMA.field(at)
            letters = letters.set_column(at, field, pa.array(np.full(letters.num_rows, name, dtype=object), field.type))
        self._opened().write(letters, self._attempt)

    def finish(self) -> tuple[Failure, ...]:
        """Put the file in its place; gives what is in it, by code. Safe to repeat with the same rows."""
        return self._file.finish() if self._file is not None else ()

    def abandon(self) -> None:
        """Leave no file, or the one that an earlier try has left."""
        if self._file is not None:
            self._file.abandon()

    def _opened(self) -> LettersFile:
        if self._file is None:
            self._file = LettersFile(self._path, self._service, self._run)
        return self._file
