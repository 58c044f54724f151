"""Reads a topic: a range a partition, from the service's own offsets on, with the event time of each message."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import take
from beam_pipelines.columnar.size import MAX_CELL_BYTES, split
from beam_pipelines.columnar.types.names import parse_name
from beam_pipelines.errors import PlanError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.connector import CursorSpec, Described, Fixed, SourceTraits, Unread
from beam_pipelines.io.kafka.ahead import ahead
from beam_pipelines.io.kafka.consumer import PATIENCE, Reader
from beam_pipelines.io.kafka.decode import Bad, BytesDecoder, Decoder, TextDecoder
from beam_pipelines.io.kafka.event_time import EventTime, behind
from beam_pipelines.io.kafka.json import JsonDecoder, inferred
from beam_pipelines.io.kafka.letters import unread
from beam_pipelines.io.kafka.message import offsets_of, stamps_of, values_of
from beam_pipelines.io.kafka.metadata import Metadata
from beam_pipelines.io.kafka.starts import Starts, shares
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.offsets import Offsets, Place
from beam_pipelines.runs.window import Range, Window

if TYPE_CHECKING:
    from confluent_kafka import Message

    from beam_pipelines.runs.context import RunContext
    from beam_pipelines.spec.source import TopicSource

__all__ = ["DEFAULT_TIME", "MOST", "KafkaSource"]

_LOG = logging.getLogger(__name__)
MOST = 4_000_000  # messages that one drain reads: what it holds of open windows is committed behind it
DEFAULT_TIME = "timestamp"
_KEPT = "the topic keeps its messages until they are read (retention.ms): what it lets go of before stops the service"
_AHEAD = "column %r: the time of the event is more than %d s ahead of its message's own (maxAhead), and would make all behind it late"


class KafkaSource:
    """A topic.

    A message that cannot be read as a row of the planned columns costs itself: it becomes a dead letter with its key and value.

    Args:
        model: The source of the definition.
        connection: The brokers.
        max_cell_bytes: Of the definition; no value is longer.
        context: The run, None outside of one.
        most: Messages that one run reads at most.
        patience: Seconds after which brokers that do not answer are given up.
    """

    cursor: ClassVar[CursorSpec | None] = None

    def __init__(
        self,
        model: TopicSource,
        connection: Connection,
        max_cell_bytes: int = MAX_CELL_BYTES,
        context: RunContext | None = None,
        *,
        most: int = MOST,
        patience: float = PATIENCE,
    ) -> None:
        self.model, self._connection, self._context = model, connection, context
        self._longest, self._most, self._patience = max_cell_bytes, most, patience
        self.traits = SourceTraits("kafka", incremental=True, assumptions=(_KEPT,))
        self.declared = {name: _declared(name, kind) for name, kind in (model.columns or {}).items()}
        self._metadata = Metadata(model.metadata, self.declared)
        self._places: dict[int, Offsets] = {}
        self._decoders: dict[pa.Schema, Decoder] = {}
        self._open: Reader | None = None

    @property
    def _reader(self) -> Reader:
        if self._open is None:
            self._open = Reader(self._connection, self.model.consumer_group or "beam-pipelines", self._patience)
        return self._open

    @property
    def topic(self) -> str:
        return self.model.topic

    def identity(self, table: str) -> str:
        return f"topic {table}"

    def tables(self) -> list[str]:
        return [self.topic]

    def describe(self, table: str) -> Described:
        """Columns of the values, as declared or by a sample, and those of `metadata`.

        Raises:
            PlanError: No such topic; or nothing tells the columns.
        """
        partitions = self._reader.partitions(table)
        ends = self._reader.ends(table, partitions)
        schema = pa.schema([*self._value_schema(table, ends), *self._metadata.schema])
        origin.refuse_reserved(schema.names)
        self._event_time(schema)
        return Described(schema, (), sum(high - low for low, high in ends.values()))

    def declared_schema(self) -> pa.Schema | None:
        """See `Topic`."""
        values = self._declared_values()
        return None if values is None else pa.schema([*values, *self._metadata.schema])

    def ends(self) -> dict[int, int]:
        """Of each partition that is there now, the offset behind its last message."""
        return {number: high for number, (_, high) in self._reader.ends(self.topic, self._reader.partitions(self.topic)).items()}

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Tell the brokers how far the topic is read, if there is a group whose lag is looked at."""
        if self.model.consumer_group is not None:
            self._reader.mirror(self.topic, offsets)

    def fix(self, table: str, cursor: CursorSpec | None, low: Mark | None, inclusive: bool, parts: int) -> Fixed:  # noqa: ARG002
        """One range a partition, from where the last run stopped up to what is there now.

        Raises:
            FatalError: Messages that were not read are gone (`read-failed`).
        """
        reader = self._reader
        partitions = reader.partitions(table)
        before = Offsets.of(low) if low is not None else None
        ends = reader.ends(table, partitions)
        begin = Starts(self.model, reader, self._context).of(table, ends, before)
        read = shares({number: max(0, ends[number][1] - begin[number]) for number in partitions}, self._most)
        ranges = []
        for index, number in enumerate(partitions):
            place = before.partitions.get(number) if before is not None else None
            bounds = {
                "partition": number,
                "from": begin[number],
                "to": begin[number] + read[number],
                "end": ends[number][1],
                "newest": place.newest if place is not None else None,
                "at": place.at if place is not None else None,
            }
            ranges.append(Range("", table, index, bounds, read[number]))
        return Fixed(None, False, tuple(ranges), by="the ends of the partitions")

    def read(self, part: Range, window: Window, cursor: CursorSpec | None) -> Iterator[pa.RecordBatch | Unread]:  # noqa: ARG002
        bounds, schema = part.bounds, origin.visible_schema(window.schema())
        number = int(bounds["partition"])
        reading = self._reading(part.table, number, schema, bounds["newest"])
        at: int | None = bounds["at"]
        self._places.pop(part.index, None)
        # Messages are taken from the client in one thread and made into columns in another, while the pipeline works on those before.
        came = ahead(self._reader.read(part.table, number, bounds["from"], bounds["to"]))
        for rows, stamp in ahead(_decoded(reading, came)):
            yield from rows
            at = _later(at, stamp)
        self._places[part.index] = Offsets({number: Place(max(bounds["from"], bounds["to"]), reading.newest, at)})

    def position(self, part: Range) -> Mark:
        """How far the partition of a range is read, and its newest event.

        Raises:
            KeyError: The range was not read to its end by this source.
        """
        return self._places[part.index].to_mark()

    def sample(self, table: str, limit: int) -> pa.RecordBatch:
        """The newest messages of all partitions."""
        partitions = self._reader.partitions(table)
        ends = self._reader.ends(table, partitions)
        schema = pa.schema([*self._value_schema(table, ends), *self._metadata.schema])
        none = pa.array([], pa.int64())
        found = [origin.attach_offsets(pa.RecordBatch.from_pylist([], schema), table, 0, none, none, none)]
        for number, messages in self._newest(table, ends, limit):
            reading = self._reading(table, number, schema, None)
            for rows in reading.batches(messages):
                if isinstance(rows, pa.RecordBatch):
                    found.append(rows.select(found[0].schema.names))
        return pa.concat_batches(found).slice(0, limit)

    def check(self) -> str:
        partitions = len(self._reader.partitions(self.topic))
        word = "partition" if partitions == 1 else "partitions"
        return f"Kafka, cluster {self._reader.cluster()}, topic {self.topic}, {partitions} {word}"

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _declared_values(self) -> pa.Schema | None:
        """Columns of the values, where no message is needed to tell them."""
        if self.model.format == "text":
            return TextDecoder.schema
        if self.model.format == "bytes":
            return BytesDecoder.schema
        declared = {name: kind for name, kind in self.declared.items() if name != self.model.metadata.key}
        return pa.schema(list(declared.items())) if declared and self.model.format != "avro" else None

    def _value_schema(self, table: str, ends: Mapping[int, tuple[int, int]]) -> pa.Schema:
        declared = self._declared_values()
        if declared is not None:
            return declared
        if self.model.format == "avro":
            return self._registry.columns(table, [value for _, some in self._newest(table, ends, 10) for value in _values(some)])
        values = [value for _, some in self._newest(table, ends, self.model.sample_rows) for value in _values(some)]
        found = inferred(value for value in values if len(value) <= self._longest)
        found = pa.schema([column for column in found if column.name not in self._metadata.schema.names])
        if not found.names:
            what = "none of its newest messages is a JSON object" if values else "it has no messages"
            raise PlanError(
                f"topic {table!r} does not tell its columns, for {what}: declare them (columns: {{userId: text, timestamp: bigint}})",
                code="column-missing",
                details={"sourceKey": "columns"},
            )
        return found

    def _newest(self, table: str, ends: Mapping[int, tuple[int, int]], most: int) -> Iterator[tuple[int, list[Message]]]:
        """The newest messages, as many of each partition as the others leave."""
        for number, count in shares({number: high - low for number, (low, high) in ends.items()}, most).items():
            high = ends[number][1]
            for messages, _ in self._reader.read(table, number, high - count, high) if count else ():
                yield number, messages

    def _reading(self, table: str, number: int, schema: pa.Schema, newest: int | None) -> _Reading:
        return _Reading(
            table,
            number,
            self._decoder(schema),
            self._metadata,
            self._event_time(schema),
            self._longest,
            round(self.model.out_of_orderness.total_seconds() * 1000),
            round(self.model.max_ahead.total_seconds() * 1000),
            schema,
            newest,
        )

    def _decoder(self, schema: pa.Schema) -> Decoder:
        if schema not in self._decoders:
            self._decoders[schema] = self._made(pa.schema([column for column in schema if column.name not in self._metadata.schema.names]))
        return self._decoders[schema]

    def _made(self, schema: pa.Schema) -> Decoder:
        if self.model.format == "text":
            return TextDecoder()
        if self.model.format == "bytes":
            return BytesDecoder()
        if self.model.format == "avro":
            return self._registry.decoder(schema)
        return JsonDecoder(schema, self.declared, reject=self.model.unknown_keys == "reject", topic=self.topic)

    @cached_property
    def _registry(self) -> Any:
        from beam_pipelines.io.kafka.avro import Registry

        return Registry(self._connection)

    def _event_time(self, schema: pa.Schema) -> EventTime | None:
        """What the event time is read from; None: it is the message's own."""
        column = self.model.timestamp_field
        if column is None and (self.model.format in ("text", "bytes") or DEFAULT_TIME not in schema.names):
            return None
        column = column or DEFAULT_TIME
        if column not in schema.names:
            raise PlanError(
                f"expected a column as timestampField, got {column!r}: topic {self.topic!r} has {', '.join(map(repr, schema.names))}",
                code="column-missing",
                details={"sourceKey": "timestampField"},
            )
        return EventTime(column, schema.field(column).type, self.model.timestamp_unit, self.model.timestamp_zone)


@dataclass
class _Reading:
    """Makes messages of one partition, in their order, into rows."""

    topic: str
    partition: int
    decoder: Decoder
    metadata: Metadata
    event_time: EventTime | None
    longest: int
    out_of_orderness: int
    ahead: int
    schema: pa.Schema
    newest: int | None

    def batches(self, messages: Sequence[Message]) -> Iterator[pa.RecordBatch | Unread]:
        if not messages:
            return
        values = values_of(messages)
        bad = self._too_long(messages, values)
        decoded = self.decoder.decode([None if place in bad else value for place, value in enumerate(values)] if bad else values)
        bad = {**decoded.bad, **bad}
        batch, rows = decoded.batch, decoded.rows
        kept = [messages[place] for place in rows.tolist()] if len(rows) < len(messages) else messages
        batch, wrong = self.metadata.beside(batch, kept, self.schema)
        times = self._times(batch, kept, wrong)
        if wrong:
            bad.update({int(rows[place]): why for place, why in wrong.items()})
            keep = np.delete(np.arange(len(rows)), list(wrong)).tolist()
            batch, times, kept = take(batch, keep), times[keep], [kept[place] for place in keep]
        if bad:
            yield from unread(self.topic, self.partition, messages, bad)
        if batch.num_rows:
            before, self.newest = behind(times, self.newest, self.out_of_orderness)
            yield from split(origin.attach_offsets(batch, self.topic, self.partition, offsets_of(kept), pa.array(times), before))

    def _too_long(self, messages: Sequence[Message], values: Sequence[bytes | None]) -> dict[int, Bad]:
        if max(map(len, messages)) <= self.longest:
            return {}
        message = f"the message's value is longer than maxCellBytes ({self.longest} bytes): it has %d bytes"
        return {
            place: ("cell-too-large", message % len(value))
            for place, value in enumerate(values)
            if value is not None and len(value) > self.longest
        }

    def _times(self, batch: pa.RecordBatch, messages: Sequence[Message], wrong: dict[int, Bad]) -> Any:
        """Event times of rows, ms; what has none is noted in `wrong`."""
        if self.event_time is not None:
            times, bad = self.event_time.read(batch.column(self.event_time.column))
            for place, why in bad.items():
                wrong.setdefault(place, ("row-invalid", why))
            for place in self._too_new(times, messages):
                wrong.setdefault(place, ("row-invalid", _AHEAD % (self.event_time.column, self.ahead // 1000)))
            return times
        known, stamps = stamps_of(messages)
        for place in np.flatnonzero(~known).tolist():
            why = "the message has no timestamp of its own: say which field has the time of the event (timestampField)"
            wrong.setdefault(place, ("row-invalid", why))
        return stamps

    def _too_new(self, times: npt.NDArray[np.int64], messages: Sequence[Message]) -> list[int]:
        """Positions of events that say they happened long after their messages were made."""
        known, stamps = stamps_of(messages)
        found: list[int] = np.flatnonzero(known & (times > stamps + self.ahead)).tolist()
        return found


def _decoded(
    reading: _Reading, came: Iterator[tuple[list[Message], int]]
) -> Generator[tuple[list[pa.RecordBatch | Unread], int], None, None]:
    """What some messages became, and the timestamp of the last of them, negative where there is none; none of both while none comes."""
    for messages, _ in came:
        yield list(reading.batches(messages)), messages[-1].timestamp()[1] if messages else -1


def _values(messages: Sequence[Message]) -> list[bytes]:
    return [value for value in values_of(messages) if value is not None]


def _later(at: int | None, ms: int) -> int | None:
    return at if ms < 0 else max(ms, at) if at is not None else ms


def _declared(name: str, kind: str) -> pa.DataType:
    try:
        return parse_name(kind)
    except PlanError as bad:
        raise PlanError(bad.message, code=bad.code, details={"sourceKey": f"columns.{name}"}) from bad
