"""A Kafka topic as a sink of a stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_pipelines.columnar import size
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.sinks.refused import Refused
from beam_pipelines.runs.context import RunContext

if TYPE_CHECKING:
    from beam_pipelines.io.kafka.producer import TopicWriter

from beam_pipelines.engine.sinks.sink import Sink

__all__ = ["TopicSink"]


class TopicSink(Sink):
    """A Kafka topic: messages are flushed before it is noted that they are there, so a death in between writes them again."""

    @property
    def repeats(self) -> bool:
        return True

    @property
    def what(self) -> str:
        return f"the topic {self.model.topic!r}"

    @property
    def promise(self) -> str:
        return (
            f"messages to {self.model.topic!r} ({self.id}) are written again when the service dies before it is noted that they are there"
        )

    @property
    def line(self) -> str:
        return f"produce to the topic {self.model.topic} ({self.id}), after the commit"

    def check(self, job: Job, context: RunContext) -> None:
        self._writer(job, context).close()

    def write(self, job: Job, context: RunContext, run: str, batches: Iterator[pa.RecordBatch], letters: Refused) -> int:
        del run
        first = 0
        with contextlib.closing(self._writer(job, context)) as writer:
            for batch in size.gather(batches):
                if not first:
                    writer.check(batch.schema)
                writer.write(batch)
                refused = writer.flush()
                if refused:
                    rows, reasons = zip(*refused, strict=True)
                    letters.add(batch, rows, ["target-refused"] * len(rows), reasons, first)
                first += batch.num_rows
        return 0

    def _writer(self, job: Job, context: RunContext) -> TopicWriter:
        from beam_pipelines.io.kafka.producer import TopicWriter

        return TopicWriter(self.model, job.connections(context).get(self.model.connection))
