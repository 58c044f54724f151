"""Reads partitions of a topic between offsets, and looks at topics: where they begin, where they end, which offset a time has.

Partitions are assigned, never subscribed to: no group moves them about while a range is read. The client connects again by itself when a
broker comes back; how long that is waited for is bounded here.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connections import Connection
from beam_pipelines.io.kafka import settings
from beam_pipelines.io.kafka.failures import Failures, passes
from beam_pipelines.io.kafka.message import all_good

if TYPE_CHECKING:
    from confluent_kafka import Message

__all__ = ["PATIENCE", "Reader"]

PATIENCE = 60.0  # seconds without an answer: a broker that is started again is back sooner
_TRY = 1.0  # seconds that one call may take; between two of them we look whether we are locked out
_PAUSE = 0.02  # seconds before it is asked again
_WAIT = 0.1  # seconds in which messages are gathered
_MOST, _FIRST, _BYTES = 20_000, 1_000, 8 << 20  # messages of a batch, of the first one, and about their bytes
_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)


class Reader:
    """A client that reads topics.

    Args:
        connection: The brokers.
        group: Named to them; whose offsets are committed.
        patience: Seconds without an answer, or without a message where there must be some, after which the brokers are given up.
    """

    def __init__(self, connection: Connection, group: str = "beam-pipelines", patience: float = PATIENCE) -> None:
        self._connection, self._patience = connection, patience
        self._failures = Failures(connection)
        self._consumer = settings.consumer(connection, group, self._failures)
        self._turn = 0

    def close(self) -> None:
        """Let go of the connections; may be called twice."""
        with contextlib.suppress(RuntimeError):  # closed already
            self._consumer.close()

    def cluster(self) -> str:
        """The cluster's own id."""
        found: Any = self._asked("its id", lambda: self._consumer.cluster_id(timeout=_TRY))
        return str(found)

    def topics(self) -> int:
        """How many topics there are that we may see."""
        return len(self._asked("the topics", lambda: self._consumer.list_topics(timeout=_TRY)).topics)

    def partitions(self, topic: str) -> list[int]:
        """The numbers of a topic's partitions, ascending.

        Raises:
            PlanError: There is no such topic (`table-missing`); names the nearest one.
        """

        def ask() -> Any:
            found = self._consumer.list_topics(topic, timeout=_TRY).topics.get(topic)
            if found is None or (found.error is not None and found.error.name() in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC")):
                raise self._missing(topic)
            if found.error is not None and not passes(found.error):
                raise self._failures.told(found.error, f"the partitions of {topic!r}")
            return found if found.error is None and found.partitions else None

        return sorted(self._asked(f"the partitions of {topic!r}", ask).partitions)

    def ends(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Of each partition its first offset, and the one behind its last committed message."""
        from confluent_kafka import TopicPartition

        return {
            number: self._asked(
                f"where partition {number} of {topic!r} ends",
                lambda number=number: self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TRY),  # type: ignore[misc]
            )
            for number in partitions
        }

    def at_time(self, topic: str, partitions: Sequence[int], ms: int) -> dict[int, int | None]:
        """Of each partition the first offset whose message has a timestamp of at least so many ms since the epoch; None: there is none."""
        from confluent_kafka import TopicPartition

        asked = [TopicPartition(topic, number, ms) for number in partitions]
        found = self._asked(f"the offsets of {topic!r} at a time", lambda: self._consumer.offsets_for_times(asked, timeout=_TRY))
        for one in found:
            if one.error is not None:
                raise self._failures.told(one.error, f"the offsets of {topic!r} at a time")
        return {one.partition: one.offset if one.offset >= 0 else None for one in found}

    def mirror(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Tell the brokers how far a topic is read, for tools that show the lag of a group; nothing is read from what is told here.

        It is sent, and not waited for: the service has its own offsets. While others subscribe with the group, they are not told. (An
        admin client can do the same, and ends the process by an assertion when the brokers go while it asks: librdkafka 2.16.)

        Args:
            topic: The topic.
            offsets: Of each partition the offset that is read next.
        """
        from confluent_kafka import KafkaException, TopicPartition

        told = [TopicPartition(topic, number, offset) for number, offset in sorted(offsets.items())]
        try:
            if told:
                self._consumer.commit(offsets=told, asynchronous=True)
        except KafkaException as bad:
            _LOG.warning("the offsets of %r are not told to the brokers: %s", topic, self._connection.redact(bad.args[0].str()))

    def read(self, topic: str, partition: int, start: int, stop: int) -> Generator[tuple[list[Message], int], None, None]:
        """Read what a partition has from one offset up to another.

        Offsets in between may have no message: those of transactions' markers, of what was aborted, and of what compaction took.

        Args:
            topic: Its topic.
            partition: Its number.
            start: The first offset.
            stop: The one behind the last; at most where the partition ends.

        Yields:
            Messages in order, and the offset behind which nothing is read yet; at the end that is `stop`. No messages where none came for a
            while: the reader may be left then.

        Raises:
            TransientError: No broker answers, or none has the messages (`unreachable`).
            FatalError: Offsets are gone (`read-failed`), or we may not read (`authentication-failed`).
        """
        from confluent_kafka import TopicPartition

        if start >= stop:
            return
        self._turn = turn = self._turn + 1
        self._consumer.assign([TopicPartition(topic, partition, start)])
        try:
            place, many, progress = start, _FIRST, time.monotonic()
            while place < stop:
                got, end = self._sorted(self._consumer.consume(min(many, stop - place), _WAIT), topic, partition)
                messages = _within(got, partition, place, stop)
                after = _offset(messages[-1]) + 1 if messages else place
                # The last offsets of the range may have no message: then the partition's end, or a message behind it, tells.
                if end >= stop or (len(got) > len(messages) and _passed(got[-1], partition, stop)):
                    after = stop
                if messages:
                    many = max(1, min(_MOST, _BYTES * len(messages) // max(1, sum(map(len, messages)))))
                if after > place:
                    progress = time.monotonic()
                elif self._failures.locked_out is not None or time.monotonic() - progress > self._patience:
                    what = f"the messages of partition {partition} of {topic!r} from offset {place} to {stop}"
                    raise self._failures.away(what, self._patience)
                place = after
                yield messages, place
        finally:
            if turn == self._turn:  # else somebody else reads by now
                with contextlib.suppress(RuntimeError):  # closed by now
                    self._consumer.unassign()

    def _sorted(self, got: list[Message], topic: str, partition: int) -> tuple[list[Message], int]:
        """What came apart: messages, and the offset at which the partition ends, -1 where that was not told."""
        if all_good(got):
            return got, -1
        others = [one for one in got if one.error() is not None]
        end = -1
        for one in others:
            error = one.error()
            assert error is not None
            if error.name() == "_PARTITION_EOF":
                end = max(end, _offset(one)) if one.partition() == partition else end
            elif error.name() in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
                raise FatalError(
                    f"{self._failures.where}: expected the messages of partition {partition} of {topic!r} that this run was to read,"
                    f" and they are gone: retention removed them, or the topic was made anew; start the service again ({error.str()})",
                    code="read-failed",
                )
            elif not passes(error):
                raise self._failures.told(error, f"the messages of partition {partition} of {topic!r}")
        return [one for one in got if one.error() is None], end

    def _asked(self, what: str, ask: Callable[[], _T | None]) -> _T:
        """Ask until there is an answer.

        Raises:
            TransientError: There is none.
            FatalError: We are not let in.
        """
        from confluent_kafka import KafkaException

        begun = time.monotonic()
        while True:
            try:
                found = ask()
                if found is not None:
                    return found
            except KafkaException as bad:
                # Where a partition is led is not known for a while when its broker goes.
                if not passes(bad.args[0]) and bad.args[0].name() not in ("_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC"):
                    raise self._failures.told(bad.args[0], what) from None
                self._failures(bad.args[0])
            if self._consumer.assignment():  # a poll would take messages
                time.sleep(_PAUSE)
            else:
                self._consumer.poll(_PAUSE)  # the client tells `failures` within it
            if self._failures.locked_out is not None or time.monotonic() - begun > self._patience:
                raise self._failures.away(what, self._patience)

    def _missing(self, topic: str) -> PlanError:
        known = self._asked("the topics", lambda: self._consumer.list_topics(timeout=_TRY)).topics
        near = difflib.get_close_matches(topic, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {len(known)} topics"
        message = f"{self._failures.where}: expected a topic, got {topic!r}, which is not there; {hint}"
        return PlanError(message, code="table-missing", details={"topic": topic})


def _offset(message: Message) -> int:
    return cast(int, message.offset())  # of a message that was read


def _within(messages: list[Message], partition: int, place: int, stop: int) -> list[Message]:
    """Those of the range: none that an earlier assignment left in the client's queue, and none behind its end."""
    if not messages:
        return messages
    first, last = messages[0], messages[-1]
    if first.partition() == last.partition() == partition and _offset(first) >= place and _offset(last) < stop:
        return messages
    return [one for one in messages if one.partition() == partition and place <= _offset(one) < stop]


def _passed(last: Message, partition: int, stop: int) -> bool:
    return last.partition() == partition and _offset(last) >= stop
