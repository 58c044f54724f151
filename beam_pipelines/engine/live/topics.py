"""The topics that a stream reads, open: its own, and those that it is joined with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from beam_pipelines.engine.job import Job
from beam_pipelines.io.connector import Topic
from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.offsets import shown

__all__ = ["Topics"]


class Topics:
    """The topics of a stream; partitions have the names of `runs.offsets.Offsets.named`.

    Args:
        job: The service.
        context: Of the execution.

    Raises:
        BeamPipelinesError: One cannot be opened; the others are closed again.
    """

    def __init__(self, job: Job, context: RunContext) -> None:
        jobs = {"": job, **{topic: job.side(step) for step, topic in job.live_joins.items()}}
        # Seconds without a message after which all partitions are idle.
        self.idle: float = max(one.definition.source.idle_timeout.total_seconds() for one in jobs.values())
        self._open: dict[str, Topic] = {}
        try:
            for side, one in jobs.items():
                self._open[side] = cast("Topic", one.open_source(context))
        except BaseException:
            self.close()
            raise

    def ends(self) -> dict[str, int]:
        """Of each partition that is there now, the offset behind its last message.

        Raises:
            TransientError: The brokers are away.
        """
        return {shown(side, number): end for side, topic in self._open.items() for number, end in topic.ends().items()}

    def mirror(self, offsets: Mapping[str, int]) -> None:
        """Tell whoever shows the lag of the service which offset of each partition it reads next; never fails, and is not waited for."""
        for side, topic in self._open.items():
            mine = {int(name.rpartition("/")[2]): offset for name, offset in offsets.items() if name.rpartition("/")[0] == side}
            topic.mirror(mine)

    def close(self) -> None:
        for topic in self._open.values():
            topic.close()
        self._open = {}
