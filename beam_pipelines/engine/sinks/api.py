"""An HTTP API as a sink of a stream: a commit's rows are posted, and what an API refuses for good stops the stream or is a dead letter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pyarrow as pa

from beam_pipelines.engine.job import Job
from beam_pipelines.engine.refusal import refusal
from beam_pipelines.engine.sinks.refused import Refused
from beam_pipelines.engine.sinks.sink import Sink
from beam_pipelines.errors import FatalError, SpecError, TransientError
from beam_pipelines.runs.context import RunContext

if TYPE_CHECKING:
    from beam_pipelines.io.http.client import Refusal
    from beam_pipelines.io.http.place import HttpPlace
    from beam_pipelines.io.http.sink import Post

__all__ = ["ApiSink"]


class ApiSink(Sink):
    """An HTTP API: requests that were sent are sent again when the service dies before it is noted, with the same keys and bodies."""

    @property
    def repeats(self) -> bool:
        return True

    @property
    def promise(self) -> str:
        return (
            f"requests to {self._where} are sent again when the service dies before it is noted that they were answered, each with the same"
            " Idempotency-Key and body: an API that heeds the key takes each row once"
        )

    @property
    def line(self) -> str:
        return f"post to {self._where}, {self.model.batch_size} rows a request at most, after the commit"

    @property
    def what(self) -> str:
        """Which API, without path and query, where a key may be."""
        return f"the API at {urlsplit(self.model.endpoint).netloc}"

    def check(self, job: Job, context: RunContext) -> None:
        """See that URL and secret are there; nothing is asked, for each request may cost."""
        self._place(job, context)

    def _place(self, job: Job, context: RunContext) -> HttpPlace:
        from beam_pipelines.io.http.place import HttpPlace

        key = None
        try:
            if self.model.api_key is not None:
                key = job.connections(context).secret(self.model.api_key, f"{self.path}.apiKey")
        except SpecError as error:
            raise refusal(f"{self.path}.apiKey", error.message, error.code) from None
        try:
            return HttpPlace.at(self.model.endpoint, key, self._where)
        except SpecError as error:
            raise refusal(f"{self.path}.endpoint", error.message, error.code) from None

    def write(self, job: Job, context: RunContext, run: str, batches: Iterator[pa.RecordBatch], letters: Refused) -> int:
        from beam_pipelines.io.http.sink import posts, send
        from beam_pipelines.transforms.concurrent import Loop

        place = self._place(job, context)

        def refused(post: Post, why: Refusal) -> None:
            self._judge(run, post, why)
            first = post.first
            for part in post.rows:
                count = part.num_rows
                letters.add(part, range(count), ["target-refused"] * count, [f"{self._where}: {why.message}"] * count, first)
                first += count

        loop = Loop(self._where)  # the caller's thread may have one, as notebooks do
        with contextlib.closing(loop):
            try:
                loop.run(send(place, posts(batches, self.model.batch_size, job.service, self.key, run), refused))
            except FatalError as error:
                if error.code == "unreachable":
                    raise TransientError(error.message) from error
                raise
        return 0

    def _judge(self, run: str, post: Post, why: Refusal) -> None:
        """Let a request go that was refused because of its rows, if the definition says so.

        Raises:
            TransientError: It may be taken another time.
            FatalError: The definition says to stop, or it is not the rows that are to blame.
        """
        if why.passing:
            raise TransientError(f"{self._where}: {why.message}")
        what = f"{self._where} refuses rows {post.first + 1} to {post.first + post.count} of commit {run}: {why.message}"
        kept = "the rows are kept, and are sent first by the next start"
        if why.status is None or not 400 <= why.status < 500:
            raise FatalError(f"{what}; {kept}", code="target-refused")
        if self.model.error_handling == "stop":
            raise FatalError(
                f"{what}; {kept}: mend what is wrong, or have such rows become dead letters by errorHandling: continue",
                code="target-refused",
            )
