"""Values of Avro in Confluent's wire format: a zero, four bytes that name the schema in a registry, and the record.

Schemas are asked for once each, by the numbers that stand in the messages; what they are called changes nothing.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import fastavro
import numpy as np
import pyarrow as pa

from beam_pipelines.errors import FatalError, PlanError, SpecError, TransientError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.files.avro.blocks import bare
from beam_pipelines.io.files.avro.source import Column
from beam_pipelines.io.files.avro.types import Known, columns_of
from beam_pipelines.io.kafka.decode import Bad, Decoded, Positions, gathered, without_null
from beam_pipelines.io.kafka.settings import REGISTRY

__all__ = ["AvroDecoder", "Registry"]

_URL, _USER = f"{REGISTRY}url", f"{REGISTRY}basic.auth.user.info"
_HEAD = 5  # bytes before the record
_LARGEST = 8 << 20  # bytes of an answer


@dataclass(frozen=True)
class _Written:
    """A schema that messages are written in.

    Args:
        reader: As fastavro reads it, without the logical types that are made a column at a time.
        columns: What it has.
        record: It is a record; else there is one column, `value`.
    """

    reader: Any
    columns: pa.Schema
    record: bool


class Registry:
    """The schemas of a registry.

    Args:
        connection: The brokers, with `schema.registry.url`, and `schema.registry.basic.auth.user.info` where it asks for a user.

    Raises:
        SpecError: It does not say where the registry is (`connection-invalid`).
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[int, _Written | str] = {}
        settings = connection.settings
        if not settings.get(_URL):
            raise SpecError(
                f"connection {connection.name!r}: values of Avro name their schema by its number in a registry; expected {_URL}, got none",
                code="connection-invalid",
            )
        self._base = str(settings[_URL]).rstrip("/")
        user = settings.get(_USER)
        self._headers = {"Authorization": f"Basic {base64.b64encode(str(user).encode()).decode()}"} if user else {}

    def columns(self, topic: str, values: Sequence[bytes]) -> pa.Schema:
        """The columns of a topic: those of the newest schema that is registered for its values, else of the newest among some of them.

        Raises:
            PlanError: Nothing tells them (`column-missing`), or a type is none of ours (`type-unsupported`).
        """
        subject = f"{topic}-value"
        found = self._asked(f"subjects/{quote(subject, safe='')}/versions/latest")
        if found is not None:
            return _columns(_schema(found), f"the schema {subject!r}")
        for number in sorted({_number(value) for value in values if _has_number(value)}, reverse=True):
            known = self.schema(number)
            if isinstance(known, _Written):
                return known.columns
        raise PlanError(
            f"topic {topic!r} does not tell its columns: the registry has no {subject!r}, and none of its newest messages names a schema",
            code="column-missing",
        )

    def decoder(self, schema: pa.Schema) -> AvroDecoder:
        """What makes values into the planned columns."""
        return AvroDecoder(schema, self)

    def schema(self, number: int) -> _Written | str:
        """A schema by its number; a text says why there is none.

        Raises:
            TransientError: The registry does not answer (`unreachable`).
            FatalError: It does not let us in (`authentication-failed`).
        """
        if number not in self._known:
            self._known[number] = self._written(number)
        return self._known[number]

    def _written(self, number: int) -> _Written | str:
        found = self._asked(f"schemas/ids/{number}")
        if found is None:
            return f"expected a schema of the registry, got the number {number}, which it does not know"
        if found.get("schemaType", "AVRO") != "AVRO" or found.get("references"):
            return f"expected a schema of Avro without references to others, got the schema {number}, which is none"
        try:
            schema = _schema(found)
            columns = _columns(schema, f"the schema {number}")
            return _Written(fastavro.parse_schema(bare(schema)), columns, isinstance(schema, dict) and schema.get("type") == "record")
        except PlanError as bad:
            return bad.message
        except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType):
            return f"expected a schema of Avro, got the schema {number}, which cannot be understood"

    def _asked(self, path: str) -> Any:
        from beam_pipelines.io.http.client import Client, Limits, Refusal
        from beam_pipelines.io.http.place import HttpPlace

        @dataclass(frozen=True)
        class Get:
            target: str
            method: str = "GET"
            body: bytes | None = None

        async def ask() -> Any:
            place = HttpPlace(self._connection.name, self._base, "", self._headers)
            client = await Client(place, Limits(timeout=10.0, concurrency=1, size=_LARGEST)).open()
            try:
                return (await client.ask([Get(f"/{path}")]))[0]
            finally:
                await client.close()

        try:
            answer = asyncio.run(ask())
        except FatalError as away:
            if away.code != "unreachable":
                raise
            raise TransientError(f"the schema registry: {away.message}", code="unreachable") from None
        if isinstance(answer, Refusal):
            message = f"connection {self._connection.name!r}: the schema registry was asked for {path}: {answer.message}"
            raise TransientError(message, code="unreachable")
        return answer


class AvroDecoder:
    """Makes records into the planned columns, by name: one that a record's own schema lacks is null.

    Args:
        schema: Planned.
        registry: Knows the schemas.
    """

    def __init__(self, schema: pa.Schema, registry: Registry) -> None:
        self.schema, self._registry = schema, registry

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        there, places, bad = without_null(values)
        parts: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for value, place in zip(there, places.tolist(), strict=True):
            if _has_number(value):
                parts[_number(value)].append((place, value))
            else:
                bad[place] = "row-invalid", "expected Avro with the number of its schema (a zero and four bytes before it), got other bytes"
        return gathered([part for number, some in parts.items() for part in self._part(number, some, bad)], self.schema, bad)

    def _part(self, number: int, values: list[tuple[int, bytes]], bad: dict[int, Bad]) -> list[tuple[Positions, pa.RecordBatch]]:
        written = self._registry.schema(number)
        if isinstance(written, str):
            bad.update((place, ("row-invalid", written)) for place, _ in values)
            return []
        rows, places = [], []
        for place, value in values:
            try:
                rows.append(_record(value, written.reader))
                places.append(place)
            except Exception as no:  # noqa: BLE001 (whatever fastavro raises of bytes that are none of its)
                bad[place] = "row-invalid", f"expected a record of the schema {number}, got bytes that are none ({type(no).__name__})"
        try:
            return [(np.array(places, np.int64), self._batch(rows, written))]
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            return self._one_by_one(number, rows, places, written, bad)

    def _one_by_one(
        self, number: int, rows: list[Any], places: list[int], written: _Written, bad: dict[int, Bad]
    ) -> list[tuple[Positions, pa.RecordBatch]]:
        parts = []
        for row, place in zip(rows, places, strict=True):
            try:
                parts.append((np.array([place], np.int64), self._batch([row], written)))
            except (pa.ArrowException, ValueError, TypeError, OverflowError):
                bad[place] = "cast-failed", f"expected values of the types of the schema {number}, got some that they do not hold"
        return parts

    def _batch(self, rows: list[Any], written: _Written) -> pa.RecordBatch:
        columns = []
        for planned in self.schema:
            if planned.name not in written.columns.names:
                columns.append(pa.nulls(len(rows), planned.type))
                continue
            values = [row[planned.name] for row in rows] if written.record else rows
            columns.append(Column(written.columns.field(planned.name).type).array(values))
        return pa.RecordBatch.from_arrays(columns, names=self.schema.names)


def _record(value: bytes, schema: Any) -> Any:
    data = io.BytesIO(value)
    data.seek(_HEAD)
    found = fastavro.schemaless_reader(data, schema, None)
    if data.tell() != len(value):
        raise ValueError("bytes are left over")
    return found


def _has_number(value: bytes) -> bool:
    return len(value) >= _HEAD and value[0] == 0


def _number(value: bytes) -> int:
    return int.from_bytes(value[1:_HEAD], "big")


def _schema(answer: Any) -> Any:
    """The schema in an answer of the registry.

    Raises:
        PlanError: There is none (`type-unsupported`).
    """
    try:
        return json.loads(answer["schema"])
    except (KeyError, TypeError, ValueError):
        raise PlanError("the schema registry answered something else than a schema", code="type-unsupported") from None


def _columns(schema: Any, name: str) -> pa.Schema:
    try:
        return columns_of(schema, Known(name))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        raise PlanError(f"{name} is none of Avro's", code="type-unsupported") from None
