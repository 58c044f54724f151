"""Ask an API about rows: each distinct key once, what was answered before from memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from threading import Lock
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.expression import UNREADABLE
from beam_pipelines.columnar.kinds import plain_type
from beam_pipelines.columnar.path import FieldPath, PathProblem, find_path
from beam_pipelines.columnar.size import gather
from beam_pipelines.errors import Code, FatalError, PlanError, Problem
from beam_pipelines.spec.step.enrich import EnrichStep
from beam_pipelines.transforms.declared import schema_of_names
from beam_pipelines.transforms.enrich.answer import Failure, Found, Nothing, Reader
from beam_pipelines.transforms.enrich.request import Key, Request, Template, askable, keys_of
from beam_pipelines.transforms.enrich.several import Several
from beam_pipelines.transforms.enrich.table import MISSING, converted_default, refuse_clashes
from beam_pipelines.transforms.rows import MAX_ROWS, to_columns
from beam_pipelines.transforms.step import Applied, dead_rows

__all__ = ["Api", "Ask", "Lease"]

Known = Found | Nothing | Failure
_NO_PATH = Failure("the row's value would make another path of the request: it is empty, '.' or '..'")


class Api(Protocol):
    """An API that can be asked, and what it answered so far; shared by all that ask it in a worker process."""

    @property
    def answers(self) -> MutableMapping[Key, Any]:
        """What is remembered, by key; used under `lock`."""

    @property
    def lock(self) -> Lock:
        """Guards `answers`."""

    def ask(self, requests: Sequence[Request], read: Read) -> list[Any]:
        """Return for each request what `read` gives for the answer, or a `Failure`.

        Args:
            requests: What is asked.
            read: A function of the position of a request and the JSON that was answered: as it is, and with exact numbers
                (`io.http.json.Json`). None is answered where nothing is known (404).
        """


Read = Callable[[int, Any, Any], Any]
Lease = Callable[[], AbstractContextManager[Api]]


class Ask:
    """An enrich step against an HTTP API.

    What comes out: the columns of the row, then those of `output`. Rows are looked at 1,000 at a time; each distinct key of them is asked
    for once, unless its answer is remembered. A row with a null in its key asks nothing, and counts as not found.

    Args:
        model: From the definition, with a connection.
        path: Where the step stands in it.
    """

    type = "enrich"
    needs_sample = False

    def __init__(self, model: EnrichStep, path: str) -> None:
        assert model.request is not None
        assert model.output is not None
        self.id, self.required = model.id, model.required
        self._model, self._path = model, path
        self._request, self._output = model.request, model.output
        self._template = Template(model.request)
        self._stack = contextlib.ExitStack()
        self._lease: Lease | None = None
        self._api: Api | None = None
        self._fields: list[FieldPath] = []
        self._made = pa.schema([])

    @property
    def model(self) -> EnrichStep:
        return self._model

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the row that are asked with; known when the step is open."""
        return frozenset(field.name for field in self._fields)

    @property
    def makes(self) -> frozenset[str]:
        """The new columns."""
        return frozenset(self._output)

    def reach(self, lease: Lease) -> None:
        """Say how the API is had, before `open`; it is asked for with the first row."""
        self._lease = lease

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (no API is asked for a plan)
        self._bind(schema)
        made = schema_of_names(self._output, f"{self._path}.output")
        refuse_clashes(made.names, schema, self._path)
        self._defaults(made)
        return pa.schema([*schema, *made])

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (it has no clock)
        self.close()
        self._fields = self._bind(schema_in)
        self._made = pa.schema(list(schema_out)[len(schema_out) - len(self._output) :])
        nulls = {field.name: pa.nulls(1, field.type) for field in self._made}
        self._missing = [{**nulls, **self._defaults(self._made)}[name] for name in self._made.names]
        self._failed = list(nulls.values())
        texts = [field.name for field in self._made if family(field.type) == "text"]
        decimals = [field.name for field in self._made if family(field.type) == "decimal"]
        self._reader = Reader(self._model.taken or {name: name for name in self._output}, texts, decimals)
        kinds = {name: plain_type(field.type) for name, field in zip(self._request.fields, self._fields, strict=True)}
        self._several = Several(self._request.batch, kinds, self._reader) if self._request.batch else None

    def close(self) -> None:
        self._api = None
        self._stack.close()

    def apply(self, batch: pa.RecordBatch) -> Applied:
        if self._api is None:
            if self._lease is None:
                raise FatalError(f"step {self.id!r} does not know its API", code="internal")
            self._api = self._stack.enter_context(self._lease())
        parts = [self._applied(self._api, batch.slice(begin, MAX_ROWS)) for begin in range(0, batch.num_rows, MAX_ROWS)]
        return Applied(
            tuple(gather(out for part in parts for out in part.batches)) if any(part.batches for part in parts) else (),
            filtered=sum(part.filtered for part in parts),
            nulled=sum(part.nulled for part in parts),
            dead=tuple(dead for part in parts for dead in part.dead),
        )

    def _applied(self, api: Api, batch: pa.RecordBatch) -> Applied:
        """Look up one slice. Columns are made of the distinct keys' answers, and one row each for what is missing and what failed."""
        try:
            keys = keys_of(batch, self._fields)
        except UnicodeDecodeError:
            return self._without_unreadable(api, batch)
        known = self._known(api, keys.distinct)
        found = [one for one in known if isinstance(one, dict)]
        columns, misfits = to_columns(found, self._made)
        failed: dict[int, tuple[Code, str]] = {}
        places = np.empty(len(known) + 1, dtype=np.int64)  # where the columns have what a key gave; the last one is of rows without a key
        missing, broken = len(found), len(found) + 1
        places[-1] = missing
        at = 0
        for number, one in enumerate(known):
            if isinstance(one, dict):
                places[number] = broken if at in misfits else at
                if at in misfits:
                    failed[number] = ("cast-failed", misfits[at])
                at += 1
            elif isinstance(one, Failure):
                places[number], failed[number] = broken, one.reason
            else:
                places[number] = missing
        of_rows = places[keys.numbers]
        whole = [pa.concat_arrays(parts) for parts in zip(columns, self._missing, self._failed, strict=True)]
        return self._judged(batch, whole, of_rows, keys.numbers, failed, missing)

    def _without_unreadable(self, api: Api, batch: pa.RecordBatch) -> Applied:
        """Look up the rows whose keys are text; the others are dead letters."""
        readable = np.ones(batch.num_rows, dtype=np.bool_)
        for row in range(batch.num_rows):
            try:
                keys_of(batch.slice(row, 1), self._fields)
            except UnicodeDecodeError:
                readable[row] = False
        applied = self._applied(api, take(batch, np.flatnonzero(readable)))
        bad = dead_rows(batch, {int(row): ("row-invalid", UNREADABLE) for row in np.flatnonzero(~readable)})
        return replace(applied, dead=(*applied.dead, *bad))

    def _judged(
        self,
        batch: pa.RecordBatch,
        columns: Sequence[pa.Array],
        of_rows: Any,
        numbers: Any,
        failed: dict[int, tuple[Code, str]],
        missing: int,
    ) -> Applied:
        """Decide what becomes of each row, and put the new columns beside those that go on."""
        broken, lonely = np.flatnonzero(of_rows == missing + 1), np.flatnonzero(of_rows == missing)
        dead: dict[int, tuple[Code, str]] = {}
        nulled = 0
        if self.required and self._model.on_error == "deadletter":
            dead = {int(row): failed[int(numbers[row])] for row in broken}
        else:
            nulled = len(broken)
        on_missing = self._model.on_missing
        if on_missing == "deadletter" and self.required:
            dead |= {int(row): MISSING for row in lonely}
        elif on_missing == "deadletter":
            nulled += len(lonely)
        kept = np.ones(batch.num_rows, dtype=np.bool_)
        kept[list(dead)] = False
        if on_missing == "drop":
            kept[lonely] = False
        rows = np.flatnonzero(kept)
        out = batch if len(rows) == batch.num_rows else take(batch, rows)
        made = [column.take(pa.array(of_rows[rows])) for column in columns]
        shown = origin.visible(out)
        schema = pa.schema([*shown.schema, *self._made])
        together = origin.carry(out, pa.RecordBatch.from_arrays([*shown.columns, *made], schema=schema))
        return Applied(
            (together,) if len(rows) else (),
            filtered=len(lonely) if on_missing == "drop" else 0,
            nulled=nulled,
            dead=dead_rows(batch, dead),
        )

    def _known(self, api: Api, keys: Sequence[Key]) -> list[Known]:
        """Return what is known of each key: remembered, else asked for. Failures are not remembered."""
        with api.lock:
            known: list[Any] = [api.answers.get(key) for key in keys]
        unknown = [position for position, one in enumerate(known) if one is None]
        if not unknown:
            return known
        answers = self._asked(api, [keys[position] for position in unknown])
        with api.lock:
            for position, answer in zip(unknown, answers, strict=True):
                known[position] = answer
                if not isinstance(answer, Failure):
                    api.answers[keys[position]] = answer
        return known

    def _asked(self, api: Api, keys: Sequence[Key]) -> list[Known]:
        step = self._template.batch_size
        groups = [keys[begin : begin + step] for begin in range(0, len(keys), step)]
        requests = [self._template.of(group) for group in groups]
        sent = [(group, request) for group, request in zip(groups, requests, strict=True) if request is not None]

        def read(position: int, answer: Any, exact: Any) -> list[Known]:
            if self._several is not None:
                return self._several.read(answer, exact, sent[position][0])
            return [self._reader.read(answer, exact)]

        given = iter(api.ask([request for _, request in sent], read))
        answers: list[Known] = []
        for group, request in zip(groups, requests, strict=True):
            answer = _NO_PATH if request is None else next(given)
            answers += [answer] * len(group) if isinstance(answer, Failure) else answer
        return answers

    def _bind(self, schema: pa.Schema) -> list[FieldPath]:
        fields, problems = [], []
        for name in self._request.fields:
            try:
                field = find_path(name, schema)
                if not askable(field.type):
                    raise PathProblem(f"{name!r} is {field.type}, which cannot stand in a request", "convert it in a map step before")
                fields.append(field)
            except PathProblem as problem:
                problems.append(Problem(problem.message, f"{self._path}.request", hint=problem.hint))
        if problems:
            raise PlanError("rows cannot be looked up", problems=problems, code="column-missing")
        return fields

    def _defaults(self, made: pa.Schema) -> dict[str, pa.Array]:
        return {
            name: converted_default(value, made.field(name), f"{self._path}.default.{name}") for name, value in self._model.default.items()
        }
