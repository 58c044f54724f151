from __future__ import annotations

from collections.abc import Callable

import pytest

from beam_pipelines.errors import FatalError, TransientError
from beam_pipelines.io.kafka.consumer import Reader
from beam_pipelines.testing.kafka import mock_broker
from tests.io.kafka.conftest import Topic, connection

Make = Callable[..., Topic]


def offsets(reader: Reader, topic: Topic, start: int, stop: int, partition: int = 0) -> list[int]:
    given = list(reader.read(topic.name, partition, start, stop))
    assert [place for _, place in given] == sorted(place for _, place in given)
    assert not given or given[-1][1] == stop
    return [message.offset() or 0 for some, _ in given for message in some]


def test_a_range_has_its_messages_and_no_others(topic: Make) -> None:
    events = topic(2)
    events.put(*(b"%d" % number for number in range(3_000)))
    events.put(b"other", partition=1)
    reader = Reader(connection(events.servers), patience=10)
    for start, stop in ((0, 3_000), (0, 1), (2_999, 3_000), (1_000, 2_500), (5, 5)):
        assert offsets(reader, events, start, stop) == list(range(start, stop))
    assert offsets(reader, events, 0, 1, partition=1) == [0]
    assert reader.ends(events.name, [0, 1]) == {0: (0, 3_000), 1: (0, 1)}
    reader.close()
    reader.close()


def test_a_range_that_nobody_reads_to_its_end_does_not_disturb_the_next(topic: Make) -> None:
    events = topic()
    events.put(*(b"%d" % number for number in range(5_000)))
    reader = Reader(connection(events.servers), patience=10)
    left = reader.read(events.name, 0, 0, 5_000)
    next(left)
    other = reader.read(events.name, 0, 4_000, 5_000)
    first, place = next(other)
    assert first[0].offset() == 4_000
    assert reader.partitions(events.name) == [0]  # asked while a range is read
    left.close()
    rest = [message.offset() for some, _ in other for message in some]
    assert [*(message.offset() for message in first), *rest] == list(range(4_000, 5_000))
    assert place < 5_000 or not rest
    reader.close()


def test_offsets_that_are_not_there_end_the_range_with_what_is_wrong(topic: Make) -> None:
    events = topic()
    events.put(b"1", b"2")
    reader = Reader(connection(events.servers), patience=0.5)
    with pytest.raises(FatalError, match="they are gone") as gone:
        list(reader.read(events.name, 0, 100, 110))
    assert gone.value.code == "read-failed"
    with pytest.raises(TransientError, match=r"messages of partition 0 of 'topic-.*' from offset 2 to 3") as no:
        list(reader.read(events.name, 0, 0, 3))
    assert no.value.code == "unreachable"
    reader.close()


def test_a_broker_that_comes_back_is_read_on() -> None:
    with mock_broker(t=1) as broker:
        events = Topic(broker.servers, "t")
        events.put(*(b"%d" % number for number in range(10)))
        reader = Reader(connection(broker.servers), patience=0.5)
        assert offsets(reader, events, 0, 5) == [0, 1, 2, 3, 4]
        broker.down()
        with pytest.raises(TransientError, match=r"no broker gave it within 0\.5 s"):
            reader.ends("t", [0])
        with pytest.raises(TransientError, match="from offset 5 to 10"):
            list(reader.read("t", 0, 5, 10))
        broker.up()
        again = Reader(connection(broker.servers), patience=30)
        assert offsets(again, events, 5, 10) == [5, 6, 7, 8, 9]
        again.close()
        reader.close()
