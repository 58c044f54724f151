"""A job whose sources are rows that somebody wrote down: what a test of a definition runs, without a connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.types import parse_name
from beam_pipelines.columnar.written import inferred, written
from beam_pipelines.engine.job import Job
from beam_pipelines.errors import PlanError, Problem, SpecError
from beam_pipelines.io.connections import Connections
from beam_pipelines.io.connector import Described, Source, SourceTraits
from beam_pipelines.io.kafka.event_time import EventTime, behind
from beam_pipelines.io.kafka.source import DEFAULT_TIME
from beam_pipelines.runs.context import RunContext
from beam_pipelines.spec import Case, MockedRows
from beam_pipelines.spec.position import format_path, parse_path
from beam_pipelines.spec.values import shown

if TYPE_CHECKING:
    from beam_pipelines.spec.source import TopicSource

__all__ = ["MockedJob", "rows_of"]


class MockedSource:
    """Rows in the place of a source: what plans and previews ask of one. Nothing is read by ranges, so it has none.

    Args:
        name: What the rows are of.
        rows: The rows.
        topic: Of a stream, its source: the rows are the messages of one partition, in their order.
        path: Of the rows in the definition, for problems.
    """

    traits = SourceTraits(system="mocked", incremental=False)
    cursor = None

    def __init__(self, name: str, rows: pa.RecordBatch, topic: TopicSource | None = None, path: str = "tests[0].input") -> None:
        self._name, self._rows, self._topic, self._path = name, rows, topic, path

    def identity(self, table: str) -> str:
        """Of no source that is there."""
        return f"mocked {table}"

    def tables(self) -> list[str]:
        """One: steps do not know which of several tables their rows are of."""
        return [self._name]

    def describe(self, table: str) -> Described:
        """Columns as they were written down."""
        del table
        return Described(self._rows.schema, rows=self._rows.num_rows)

    def sample(self, table: str, limit: int) -> pa.RecordBatch:
        """All rows: a test that looked at a part of them would lie."""
        del limit
        if self._topic is None:
            return origin.attach(self._rows, table, first_row=1)
        times = event_times(self._rows, self._topic, self._path)
        before, _ = behind(times, None, self._topic.out_of_orderness // timedelta(milliseconds=1))
        offsets = pa.array(range(self._rows.num_rows), pa.int64())
        return origin.attach_offsets(self._rows, self._topic.topic, 0, offsets, pa.array(times, pa.int64()), before)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class MockedJob(Job):
    """A job with rows in the place of its sources.

    Args:
        mocks: Rows by the step that reads them; those of the job's own source by the empty text.
        reads: For the job of a right side: the step that it is of.
        case: Path of the test, for problems.
        read: Steps whose sources were opened, filled on the way.
    """

    mocks: Mapping[str, pa.RecordBatch] = field(default_factory=dict)
    reads: str = ""
    case: str = "tests"
    read: set[str] = field(default_factory=set, compare=False)

    def open_source(self, context: RunContext | None) -> Source:
        """The rows that were written down for this source.

        Raises:
            PlanError: There are none.
        """
        del context
        if self.reads not in self.mocks:
            message = f"expected rows for the source of the step {self.reads!r}, got none"
            path = format_path([*parse_path(self.case), "sources"])
            problem = Problem(message, path, hint=f"sources: {{{self.reads}: [{{...}}]}}")
            raise PlanError("a test needs rows for every source", problems=[problem], code="spec-invalid")
        self.read.add(self.reads)
        timed = self.beside or (not self.reads and (self.window_at is not None or self.live_joins or self.remembers))
        topic = cast("TopicSource | None", self.definition.source if timed else None)
        place = ["sources", self.reads] if self.reads else ["input"]
        path = format_path([*parse_path(self.case), *place])
        return cast("Source", MockedSource(self.reads or "input", self.mocks[self.reads], topic, path))

    def connections(self, context: RunContext | None) -> Connections:
        """There are none, also where the environment has some: what a step would ask of its own is not asked.

        Raises:
            PlanError: Always.
        """
        del context
        raise PlanError("a test connects to nothing, so it cannot carry out a step that asks a connection", code="not-served")

    def _side(self, step: str) -> Job:
        return replace(super()._side(step), reads=step)  # type: ignore[call-arg]


def event_times(rows: pa.RecordBatch, topic: TopicSource, path: str) -> Any:
    """The event times of rows that were written down, ms since the epoch, as the source reads them of messages.

    Raises:
        SpecError: A row has none: a message would be a dead letter.
    """
    name = topic.timestamp_field or DEFAULT_TIME
    if name not in rows.schema.names:
        hint = "a message without one has the time of Kafka's own, which rows of a test do not have"
        raise SpecError("the rows of a test have no event time", problems=[Problem(f"expected a column {name!r}", path, hint=hint)])
    times, bad = EventTime(name, rows.schema.field(name).type, topic.timestamp_unit, topic.timestamp_zone).read(rows.column(name))
    if bad:
        problems = [Problem(why, format_path([*parse_path(path), row, name])) for row, why in bad.items()]
        raise SpecError("rows of a test have no event time", problems=problems)
    return times


def rows_of(case: Case, path: str) -> dict[str, pa.RecordBatch]:
    """Return the rows of every source of a test, by step.

    Args:
        case: The test.
        path: Where it stands in the definition.

    Raises:
        SpecError: Values do not fit their types, or have none; all of them.
    """
    problems: list[Problem] = []
    found = {}
    for step, mock in case.mocks.items():
        given = case.sources[step] if step else case.input
        place: list[Any] = [*parse_path(path), *(["sources", step] if step else ["input"])]
        found[step] = _batch(mock, place, [*place, "rows"] if isinstance(given, MockedRows) else place, problems)
    if problems:
        raise SpecError("the rows of a test do not fit their types", problems=problems)
    return found


def _batch(mock: MockedRows, place: list[Any], at: list[Any], problems: list[Problem]) -> pa.RecordBatch:
    names = dict.fromkeys([name for row in mock.rows for name in row] + list(mock.types))
    if mock.rows and not names:
        problems.append(
            Problem("expected rows with columns, got rows without any", format_path(at), hint="write null for what is not there")
        )
    arrays, fields = [], []
    for name in names:
        values = [row.get(name) for row in mock.rows]
        kind = _type(name, values, mock, place, at, problems)
        if kind is None:
            continue
        array, wrong = written(values, kind)
        wanted = mock.types.get(name) or str(kind).replace("int64", "bigint")
        problems += [Problem(f"expected {wanted}, got {shown(values[row])}", format_path([*at, row, name])) for row in wrong]
        arrays.append(array)
        fields.append(pa.field(name, kind))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _type(name: str, values: list[Any], mock: MockedRows, place: list[Any], at: list[Any], problems: list[Problem]) -> pa.DataType | None:
    if name in mock.types:
        try:
            return parse_name(mock.types[name])
        except PlanError as error:
            problems.append(Problem(error.message, format_path([*place, "types", name])))
            return None
    kind = inferred(values)
    if kind is not None:
        return kind
    first = next((row for row, value in enumerate(values) if value is not None), None)
    why = "only null" if first is None else "values of several kinds"
    where = [*at, 0 if first is None else first, name]
    hint = f"types: {{{name}: text}}, beside rows: [...]"
    problems.append(Problem(f"expected a type for the column {name!r}, which holds {why}", format_path(where), hint=hint))
    return None
