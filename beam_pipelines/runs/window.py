"""What a run reads and where it may write: fixed once, in Prepare, before the first row; a retry finds the same.

A window belongs to one load, that is one (service, target table). It lives in the target's ledger and travels with every range.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa

from beam_pipelines.runs.held import Held
from beam_pipelines.runs.mark import Mark

__all__ = ["Range", "Window", "schema_from_text", "schema_to_text"]


def schema_to_text(schema: pa.Schema) -> str:
    """Arrow IPC schema message, base64: exact, whatever the type."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


@lru_cache(maxsize=64)  # asked for each file of a batch: of 20,000 small ones 8 s of 300
def schema_from_text(text: str) -> pa.Schema:
    """The schema that `schema_to_text` wrote."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


@dataclass(frozen=True)
class Range:
    """A part of a window that one worker reads from start to end, and can read again with the same result.

    Args:
        load: The ledger key of the load (the target table).
        table: What is read: a table, a file or the query's name, as origins and messages show it.
        index: Position among the window's ranges, from 0.
        bounds: The connector's own JSON: key bounds, row groups, offsets.
        rows: Rows expected, 0 when unknown (progress only).
        bytes: Bytes expected, 0 when unknown (progress only).
    """

    load: str
    table: str
    index: int
    bounds: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Window:
    """What one run of one load reads: `(low, ceiling)` of the cursor, cut into ranges.

    Args:
        service: Service id.
        load: Ledger key: the target table as configured (`{table}` filled in).
        table: The source table, query or file set.
        run: Run id.
        generation: Commits of this load before this run; Commit moves it on by one, or is refused.
        low: The stored watermark, None on the first or a full run.
        inclusive: Read `>= low` (idempotent writes) rather than `> low`.
        ceiling: Upper bound of the cursor: rows with `cursor < ceiling` only (`<=` when `ceiling_inclusive`); None: no bound.
        ceiling_inclusive: For sequences: the noted maximum itself is read.
        ranges: Parts, together exactly the window.
        fingerprint: Of source, query, cursor and target; a watermark belongs to one fingerprint.
        started_at: Start of the run, ISO 8601 UTC; `now()` in expressions.
        full: The window holds the whole source, whatever the watermark was.
        schemas: Planned schema by step id (`""` is the source), as `schema_to_text` writes them.
        source_key: Columns of the *source* that tell its rows apart (its primary key), empty when unknown.
        origin_key: What tells the source's rows apart: its column, and the column of the target that it arrives in unchanged; empty when
            unknown, or when one of them does not arrive so.
        unique_on: Columns of the target known to be unique among the rows read (the source's primary key where it arrives), or empty.
        key_fields: Columns of the target that identify a row, as decided when the run was prepared.
        version_column: Column of the target that orders versions of a row, None: no guard.
        snapshot: Token of the snapshot all ranges are read from, None: each reads its own.
        ceiling_by: How the ceiling was found, in words, for the record (`clock and oldest transaction`).
        held: What holds the ceiling back for too long, None: nothing does.
        there: The target table was there when the run was prepared.
        by_file: The unit is the file: a range holds rows of one.
        options: A digest of how files are read: one that could not be is read again when that is another.
        skipped: Files that are there, and that earlier runs are done with.
        waiting: Those of them that could not be read, and have not changed since.
        hidden: Files that are left out, for their name begins with `.` or `_`.
        closed: Folders of the source that cannot be read.
        gone: Files whose outputs were written, where the folder of all outputs is not there any more.
        early: Windows that are open come out as well, as far as they are.
        session: Run id of the execution that this is a part of; empty: it is one of its own.
        live: Of a stream: what a commit leaves is kept for those after it.
        waits: Who is to get what the commit keeps: of each sink a note, which is what it gets (`runs.facts.KEPT`) and which sink it is,
            as `pending 0123456789ab`; and what messages call it.
        sides: What is read of the right side of each join, by the step's id: windows of the same load, without a cursor.
    """

    service: str
    load: str
    table: str
    run: str
    generation: int
    low: Mark | None = None
    inclusive: bool = False
    ceiling: Mark | None = None
    ceiling_inclusive: bool = False
    ranges: tuple[Range, ...] = ()
    fingerprint: str = ""
    started_at: str = ""
    full: bool = True
    schemas: dict[str, str] = field(default_factory=dict)
    source_key: tuple[str, ...] = ()
    origin_key: tuple[tuple[str, str], ...] = ()
    unique_on: tuple[str, ...] = ()
    key_fields: tuple[str, ...] = ()
    version_column: str | None = None
    snapshot: str | None = None
    ceiling_by: str = ""
    held: Held | None = None
    there: bool = False
    by_file: bool = False
    options: str = ""
    skipped: int = 0
    waiting: int = 0
    hidden: int = 0
    closed: int = 0
    gone: int = 0
    session: str = ""
    early: bool = False
    live: bool = False
    waits: tuple[tuple[str, str], ...] = ()
    sides: dict[str, Window] = field(default_factory=dict)

    def schema(self, step: str = "") -> pa.Schema:
        """The planned output schema of a step; `""` is the source's."""
        return schema_from_text(self.schemas[step])

    def with_schema(self, step: str, schema: pa.Schema) -> Window:
        return replace(self, schemas={**self.schemas, step: schema_to_text(schema)})

    def to_text(self) -> str:
        """JSON, as the ledger keeps it."""
        return json.dumps(self._to_json(), sort_keys=True)

    def _to_json(self) -> dict[str, Any]:
        data = dict(self.__dict__)
        data["low"] = self.low.to_json() if self.low else None
        data["ceiling"] = self.ceiling.to_json() if self.ceiling else None
        data["ranges"] = [part.to_json() for part in self.ranges]
        data["held"] = self.held.to_json() if self.held else None
        data["sides"] = {step: side._to_json() for step, side in self.sides.items()}
        return data

    @classmethod
    def from_text(cls, text: str) -> Window:
        return cls._from_json(json.loads(text))

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> Window:
        data["low"] = Mark.from_json(data["low"])
        data["ceiling"] = Mark.from_json(data["ceiling"])
        data["ranges"] = tuple(Range(**part) for part in data["ranges"])
        data["held"] = Held.from_json(data.get("held"))
        data["sides"] = {step: cls._from_json(side) for step, side in data.get("sides", {}).items()}
        for names in ("source_key", "unique_on", "key_fields"):
            data[names] = tuple(data.get(names, ()))
        data["waits"] = tuple((note, who) for note, who in data.get("waits", ()))
        data["origin_key"] = tuple((source, target) for source, target in data.get("origin_key", ()))
        return cls(**data)
