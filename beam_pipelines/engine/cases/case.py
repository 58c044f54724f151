"""One test of a definition, carried out: its rows go through the steps as in a preview, and what comes is held against what is expected."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.plain import plain
from beam_pipelines.columnar.written import written
from beam_pipelines.engine import preview
from beam_pipelines.engine.cases.alignment import Place, Record, Within, align
from beam_pipelines.engine.cases.difference import Difference
from beam_pipelines.engine.cases.mocked import MockedJob, rows_of
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.prepare import NothingToSampleError, named
from beam_pipelines.errors import BeamPipelinesError, FatalError, PlanError, Problem
from beam_pipelines.runs.context import RunContext
from beam_pipelines.spec import Case, DeadRow, Definition, Expectation
from beam_pipelines.spec.case import OUTPUT

__all__ = ["Verdict", "run"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What came of one test.

    Args:
        name: Of the test.
        path: Where it stands in the definition: `tests[0]`.
        differences: What is not as expected; empty where the test passed.
        dead: Rows that died on the way: step, code, message; for people who look why rows are missing.
        error: Why it could not be carried out, None: it was.
        seconds: It took.
    """

    name: str
    path: str
    differences: tuple[Difference, ...] = ()
    dead: tuple[tuple[str, str, str], ...] = ()
    error: BeamPipelinesError | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.error is None and not self.differences

    def __str__(self) -> str:
        return self.name

    def check(self) -> None:
        """Let a passed test pass: for pytest and its like.

        Raises:
            AssertionError: It failed; the text says in what.
            BeamPipelinesError: It could not be carried out.
        """
        if self.error is not None:
            raise self.error
        if self.differences:
            raise AssertionError("\n".join([self.name, *self.lines()]))

    def lines(self) -> Iterator[str]:
        """Yield what differs, for people."""
        for difference in self.differences:
            yield difference.headline
            yield from (f"  {line}" for line in difference.lines())
        if self.dead and any(difference.what == "rows" for difference in self.differences):
            yield "rows that died:"
            counts: dict[tuple[str, str, str], int] = {}
            for letter in self.dead:
                counts[letter] = counts.get(letter, 0) + 1
            yield from (_on_one_line(f"  {count} in {step}: {code}: {message}") for (step, code, message), count in counts.items())

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": self.path,
            "outcome": "passed" if self.passed else "failed" if self.error is None else "error",
            "seconds": round(self.seconds, 3),
            "differences": [{"step": one.step, "what": one.what, **entry} for one in self.differences for entry in one.entries()],
            "dead": [dict(zip(("step", "code", "message"), letter, strict=True)) for letter in self.dead],
        }


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def run(definition: Definition, folder: Path | None, position: int) -> Verdict:
    """Carry out one test of a definition. It connects to nothing, and writes nothing.

    Args:
        definition: The service.
        folder: Of the definition, for functions.
        position: Of the test.
    """
    case, path = definition.tests[position], f"tests[{position}]"
    began = time.perf_counter()
    context = RunContext(run="000000000000", started_at=case.now or datetime.now(timezone.utc).isoformat(timespec="microseconds"))
    try:
        job = MockedJob(Job.of(definition, folder).text, str(folder) if folder else None, mocks=rows_of(case, path), case=path)
        passed = _passed(job, context, case, path)
        differences = tuple(_differences(case, passed))
    except BeamPipelinesError as error:
        return Verdict(case.name, path, error=error, seconds=time.perf_counter() - began)
    except Exception as defect:  # noqa: BLE001 - of ours or of a function's: it costs its own test, not those behind it
        _LOG.debug("the test %r raised", case.name, exc_info=True)
        told = FatalError(f"{type(defect).__name__}: {defect}", code="internal")
        return Verdict(case.name, path, error=told, seconds=time.perf_counter() - began)
    dead = tuple(
        (step, *letter)
        for step, one in passed.items()
        if step != OUTPUT
        for rows in one.dead
        for letter in zip(rows.codes, rows.messages, strict=True)
    )
    return Verdict(case.name, path, differences, dead, seconds=time.perf_counter() - began)


def _passed(job: MockedJob, context: RunContext, case: Case, path: str) -> Mapping[str, preview.Passed]:
    """What became of the rows in every step, and what reaches the destination."""
    try:
        passed, batches, schema = preview.follow(job, context)
    except NothingToSampleError:
        hint = "give it a row, or declare the output: of the functions"
        problem = Problem("expected rows, for what a function of the steps gives is not declared, got none", f"{path}.input", hint=hint)
        raise PlanError("a test without rows", problems=[problem], code="type-unsupported") from None
    unread = [step for step in case.sources if step not in job.read]
    if unread:
        problems = [Problem("expected a step that reads a source of its own, got another one", f"{path}.sources.{step}") for step in unread]
        raise PlanError("a test gives rows that no step reads", problems=problems, code="spec-invalid")
    reached = named(job, schema)
    last = tuple(origin.visible(batch).rename_columns(reached.names) for batch in batches)
    return {**passed, OUTPUT: preview.Passed(reached, last, 0, ())}


def _differences(case: Case, passed: Mapping[str, preview.Passed]) -> Iterator[Difference]:
    for step, expectation in case.expectations.items():
        came = passed[step]
        for what, pairs in (("rows", _rows), ("dead", _dead), ("filtered", _filtered)):
            found = pairs(step, what, expectation, came)
            if found is not None and not all(pair.fits for pair in found.pairs):
                yield found


def _filtered(step: str, what: str, expectation: Expectation, came: preview.Passed) -> Difference | None:
    if expectation.filtered is None:
        return None
    expected: tuple[Record, ...] = ({("",): expectation.filtered},)
    got: tuple[Record, ...] = ({("",): came.filtered},)
    return Difference(step, what, expected, got, tuple(align(expected, got, ordered=True)))


def _rows(step: str, what: str, expectation: Expectation, came: preview.Passed) -> Difference | None:
    if expectation.rows is None:
        return None
    names = came.schema.names
    got = _records([origin.visible(batch) for batch in came.batches], ())
    expected = _expected(expectation.rows, {field.name: field.type for field in came.schema}, ())
    if expectation.exact:
        expected = [{**{(name,): None for name in names}, **row} for row in expected]
    keys = tuple((key,) for key in expectation.key_fields)
    pairs = align(expected, got, ordered=expectation.ordered, keys=keys)
    return Difference(step, what, tuple(expected), tuple(got), tuple(pairs), keys, tuple(names))


def _dead(step: str, what: str, expectation: Expectation, came: preview.Passed) -> Difference | None:
    if expectation.dead is None:
        return None
    got: list[Record] = []
    kinds: dict[str, pa.DataType] = {}
    for died in came.dead:
        rows = take(origin.visible(died.batch), died.rows)
        kinds |= {field.name: field.type for field in rows.schema}
        told = zip(_records([rows], ("row",)), died.codes, died.messages, strict=True)
        got += [{("code",): code, ("message",): message, **row} for row, code, message in told]
    rows_expected = _expected([dead.row for dead in expectation.dead], kinds, ("row",))
    expected = [{**_said(dead), **row} for dead, row in zip(expectation.dead, rows_expected, strict=True)]
    pairs = align(expected, got)
    return Difference(step, what, tuple(expected), tuple(got), tuple(pairs), columns=tuple(kinds))


def _said(dead: DeadRow) -> dict[Place, Any]:
    """Code and message of a dead letter, as far as they are expected."""
    told: dict[Place, Any] = {("code",): dead.code, ("message",): None if dead.message is None else Within(dead.message)}
    return {place: value for place, value in told.items() if value is not None}


def _records(batches: Sequence[pa.RecordBatch], above: Place) -> list[Record]:
    """Rows as values that can be compared, by place."""
    records: list[Record] = []
    for batch in batches:
        columns = [_values(column) for column in batch.columns]
        places = [(*above, name) for name in batch.schema.names]
        records += [dict(zip(places, row, strict=True)) for row in zip(*columns, strict=True)] if columns else [{}] * batch.num_rows
    return records


def _expected(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, pa.DataType], above: Place) -> list[dict[Place, Any]]:
    """Rows as they were written, each value as it would come out of a column of the type that is there; one that does not fit as it is."""
    records: list[dict[Place, Any]] = [{(*above, name): value for name, value in row.items()} for row in rows]
    for name, kind in kinds.items():
        at, place = [position for position, row in enumerate(rows) if name in row], (*above, name)
        array, wrong = written([rows[position][name] for position in at], kind)
        misfits = {at[position] for position in wrong}
        for position, value in zip(at, _values(array), strict=True):
            records[position][place] = rows[position][name] if position in misfits else value
    return records


def _values(array: pa.Array) -> list[Any]:
    values = plain(array)
    if family(array.type) == "json":
        return [None if value is None else orjson.loads(value) for value in values]
    if pa.types.is_decimal(array.type):
        return [None if value is None else Decimal(value) for value in values]
    if pa.types.is_timestamp(array.type):
        return [None if value is None else _trimmed(value) for value in values]
    return values


def _trimmed(moment: str) -> str:
    """A time without the noughts behind its seconds."""
    head, dot, fraction = moment.partition(".")
    if not dot:
        return moment
    digits = fraction.removesuffix("+00:00")
    kept = digits.rstrip("0")
    return head + (f".{kept}" if kept else "") + fraction[len(digits) :]
