"""Writes rows to a topic, a JSON object a message, each once however often the client has to send it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.convert import decoded, family
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.errors import BeamPipelinesError, PlanError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.files.writing.json import json_rows
from beam_pipelines.io.kafka import settings
from beam_pipelines.io.kafka.failures import Failures, passes

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

    from beam_pipelines.spec.destination import KafkaDestination

__all__ = ["PATIENCE", "TopicWriter"]

PATIENCE = 60.0  # seconds in which a message must be taken by the brokers
_PAUSE = 0.1
_TOO_LARGE = {"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"}
# What a broker says of one message, and of none of the others.
_REFUSED = {*_TOO_LARGE, "INVALID_RECORD", "INVALID_MSG", "INVALID_TIMESTAMP", "_INVALID_ARG", "_BAD_MSG"}
Sent = tuple["bytes | None", bytes, "list[tuple[str, bytes | None]] | None"]


class TopicWriter:
    """A producer of one topic.

    Messages of one key stay in order, but for those that stood in one request with another that is too large: they are sent again.
    What a process that dies has sent stays there: whoever starts again sends it again.

    Args:
        model: The destination of the definition.
        connection: The brokers.
        patience: Seconds in which a message must be taken.
    """

    def __init__(self, model: KafkaDestination, connection: Connection, patience: float = PATIENCE) -> None:
        self._model, self._patience = model, patience
        self._failures = Failures(connection)
        bound = {"message.timeout.ms": round(patience * 1000), "request.timeout.ms": max(1, min(30_000, round(patience * 500)))}
        self._producer = settings.producer(connection, self._failures, **bound)
        self._sent: list[Sent] = []
        self._failed: dict[int, KafkaError] = {}

    def check(self, schema: pa.Schema) -> None:
        """Refuse a definition whose columns are not there.

        Raises:
            PlanError: Names the column, and those that there are (`column-missing`).
        """
        for key, names in (("key", self._model.key), ("headers", self._model.headers.values())):
            for name in names:
                if name not in origin.names(schema):
                    known = ", ".join(map(repr, origin.names(schema)))
                    raise PlanError(
                        f"expected columns as {key!r} of topic {self._model.topic!r}, got {name!r}: there are {known}",
                        code="column-missing",
                        details={"column": name},
                    )

    def write(self, batch: pa.RecordBatch) -> None:
        """Hand rows to the client, which sends them; `flush` says what became of them.

        Raises:
            TransientError: The brokers take nothing (`unreachable`).
            FatalError: They do not let us in (`authentication-failed`).
        """
        rows = origin.visible(batch)
        values = json_rows(rows).cast(pa.binary()).to_pylist()
        keys = self._keys(rows)
        headers = self._headers(rows)
        for key, value, more in zip(keys, values, headers, strict=True):
            self._sent.append((key, value, more))
            self._send(len(self._sent) - 1)
        self._producer.poll(0)

    def flush(self) -> list[tuple[int, str]]:
        """Wait until the brokers have all that was written since the last time.

        Returns:
            Rows that they refuse, counted from the first one written, and why.

        Raises:
            TransientError: Some were not taken in time; how many of them. They may be there all the same (`unreachable`).
            FatalError: They do not let us in (`authentication-failed`), or there is no such topic (`read-failed`).
        """
        self._wait()
        # A request that is too large is refused with all that is in it: each of these is sent by itself.
        alone = sorted(row for row, error in self._failed.items() if error.name() in _TOO_LARGE)
        if len(alone) > 1 or (alone and len(self._sent) > 1):
            for row in alone:
                del self._failed[row]
                self._send(row)
                self._wait()
        refused = sorted((row, error) for row, error in self._failed.items() if error.name() in _REFUSED)
        lost = [error for error in self._failed.values() if error.name() not in _REFUSED]
        count = len(self._sent)
        self._sent, self._failed = [], {}
        if lost:
            raise self._undelivered(lost, count)
        return [(row, f"the brokers refuse the message: {error.str()}") for row, error in refused]

    def close(self) -> None:
        """Let go of what was not flushed; may be called twice."""
        self._producer.purge()
        self._producer.flush(0)

    def _send(self, row: int) -> None:
        from confluent_kafka import KafkaException

        key, value, headers = self._sent[row]
        more: dict[str, Any] = {"headers": headers} if headers else {}
        begun = time.monotonic()
        while True:
            try:
                self._producer.produce(self._model.topic, value, key, on_delivery=partial(self._told, row), **more)
                return
            except BufferError:
                self._producer.poll(_PAUSE)
                if self._failures.locked_out is not None or time.monotonic() - begun > 2 * self._patience:
                    raise self._failures.away(f"topic {self._model.topic!r} to take messages", self._patience) from None
            except KafkaException as bad:
                self._failed[row] = bad.args[0]
                return

    def _told(self, row: int, error: KafkaError | None, message: Message) -> None:
        del message
        if error is not None:
            self._failed[row] = error

    def _wait(self) -> None:
        while self._producer.flush(_PAUSE):
            if self._failures.locked_out is not None:
                raise self._failures.away(f"topic {self._model.topic!r} to take messages", self._patience)

    def _undelivered(self, lost: list[KafkaError], count: int) -> BeamPipelinesError:
        what = f"topic {self._model.topic!r} to take {count} messages, {len(lost)} of which it did not take"
        return self._failures.away(what, self._patience) if passes(lost[0]) else self._failures.told(lost[0], what)

    def _keys(self, rows: pa.RecordBatch) -> list[bytes | None]:
        names = self._model.key
        if not names:
            return [None] * rows.num_rows
        if len(names) == 1:
            return _contents(rows.column(names[0]))
        made: list[bytes | None] = json_rows(rows.select(list(names))).cast(pa.binary()).to_pylist()
        return made

    def _headers(self, rows: pa.RecordBatch) -> list[list[tuple[str, bytes | None]] | None]:
        if not self._model.headers:
            return [None] * rows.num_rows
        contents = [_contents(rows.column(name)) for name in self._model.headers.values()]
        return [list(zip(self._model.headers, row, strict=True)) for row in zip(*contents, strict=True)]


def _contents(column: pa.Array) -> list[bytes | None]:
    """Values as keys and headers have them: text and bytes as they are, what is neither as its JSON (texts without quotes), null none."""
    column = decoded(column)
    if is_text(column.type) or family(column.type) == "bytes":
        found: list[bytes | None] = column.cast(pa.large_binary()).to_pylist()
        return found
    texts = json_rows(pa.record_batch([column], names=["v"])).to_pylist()
    bare = [text[len('{"v":') : -1] for text in texts]
    plain = [text[1:-1] if text.startswith('"') else text for text in bare]
    return [None if missing else text.encode() for text, missing in zip(plain, column.is_null().to_pylist(), strict=True)]
