"""Columns for what Kafka says of a message beside its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_pipelines.errors import PlanError
from beam_pipelines.io.kafka.decode import Bad, texts
from beam_pipelines.io.kafka.message import keys_of, offsets_of, stamps_of

if TYPE_CHECKING:
    from confluent_kafka import Message

    from beam_pipelines.spec.source import Metadata as Wanted

__all__ = ["Metadata"]

_KINDS = {
    "key": pa.string(),
    "headers": pa.map_(pa.string(), pa.string()),
    "partition": pa.int32(),
    "offset": pa.int64(),
    "timestamp": pa.timestamp("ms", "UTC"),
}
_KEY = "expected text as key, got bytes that are no UTF-8: declare its column as bytes (columns: {%s: bytes})"


class Metadata:
    """Makes the columns that a definition wants.

    Args:
        wanted: Their names.
        declared: Types of columns; of these the key's may be `bytes`.

    Raises:
        PlanError: The key is declared as something else (`type-unsupported`).
    """

    def __init__(self, wanted: Wanted, declared: Mapping[str, pa.DataType]) -> None:
        kinds = dict(_KINDS)
        if wanted.key is not None and wanted.key in declared:
            kinds["key"] = declared[wanted.key]
            if kinds["key"] not in (pa.string(), pa.binary()):
                raise PlanError(
                    f"expected text or bytes as the type of a message's key, got {kinds['key']}",
                    code="type-unsupported",
                    details={"sourceKey": f"columns.{wanted.key}"},
                )
        self._parts = list(wanted.columns.values())
        self.schema = pa.schema([(name, kinds[part]) for name, part in wanted.columns.items()])

    def beside(self, batch: pa.RecordBatch, messages: Sequence[Message], schema: pa.Schema) -> tuple[pa.RecordBatch, dict[int, Bad]]:
        """Put the columns beside those of the values.

        Args:
            batch: Of each message the columns of its value.
            messages: As many.
            schema: Planned: which columns there are, in order.

        Returns:
            The planned columns, and which rows cannot be, with code and reason.
        """
        bad: dict[int, Bad] = {}
        if not self._parts:
            return batch, bad
        made = {
            name: getattr(self, f"_{part}")(messages, kind, bad)
            for name, kind, part in zip(self.schema.names, self.schema.types, self._parts, strict=True)
            if name in schema.names
        }
        columns = [made[name] if name in made else batch.column(name) for name in schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=schema), bad

    def _key(self, messages: Sequence[Message], kind: pa.DataType, bad: dict[int, Bad]) -> pa.Array:
        keys = keys_of(messages)
        if kind == pa.binary():
            return pa.array(keys, kind)
        name = next(name for name, part in zip(self.schema.names, self._parts, strict=True) if part == "key")
        return texts(keys, lambda place: bad.__setitem__(place, ("row-invalid", _KEY % name)))

    def _headers(self, messages: Sequence[Message], kind: pa.DataType, bad: dict[int, Bad]) -> pa.Array:
        del bad
        return pa.array([_pairs(message) for message in messages], kind)

    def _partition(self, messages: Sequence[Message], kind: pa.DataType, bad: dict[int, Bad]) -> pa.Array:
        del bad
        return pa.array([message.partition() for message in messages], kind)

    def _offset(self, messages: Sequence[Message], kind: pa.DataType, bad: dict[int, Bad]) -> pa.Array:
        del bad
        return offsets_of(messages).cast(kind)

    def _timestamp(self, messages: Sequence[Message], kind: pa.DataType, bad: dict[int, Bad]) -> pa.Array:
        del bad
        known, ms = stamps_of(messages)
        return pa.array(ms, pa.int64(), mask=~known).cast(kind)


def _pairs(message: Message) -> list[tuple[str, str | None]]:
    """Of a header that comes several times the last, as Kafka's own clients give it; bytes that are no text as escapes."""
    found: Any = message.headers() or ()
    return [(name, None if value is None else value.decode("utf-8", "backslashreplace")) for name, value in dict(found).items()]
