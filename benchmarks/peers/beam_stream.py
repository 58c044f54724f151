"""Idiomatic Beam: tumbling windows of a minute by user, count, sum and exact distinct, one record at a time on FnApiRunner.

python beam_stream.py SERVERS TOPIC OUTPUT

Beam's own source of Kafka needs Java: here a DoFn reads a partition each, by confluent-kafka.
"""

import json
import sys

import apache_beam as beam
import orjson
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.window import FixedWindows, TimestampedValue


class _Read(beam.DoFn):
    def __init__(self, servers: str, topic: str) -> None:
        self._servers, self._topic = servers, topic

    def process(self, partition):
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self._servers, "group.id": "bench", "enable.auto.commit": False})
        place, end = consumer.get_watermark_offsets(TopicPartition(self._topic, partition))
        consumer.assign([TopicPartition(self._topic, partition, place)])
        while place < end:
            for message in consumer.consume(10_000, 0.1):
                place = message.offset() + 1
                yield message.value()
        consumer.close()


class _Sums(beam.CombineFn):
    def create_accumulator(self):
        return 0, 0, set()

    def add_input(self, accumulator, value):
        count, total, values = accumulator
        values.add(value)
        return count + 1, total + value, values

    def merge_accumulators(self, accumulators):
        counts, totals, values = zip(*accumulators, strict=True)
        return sum(counts), sum(totals), set().union(*values)

    def extract_output(self, accumulator):
        return accumulator[0], accumulator[1], len(accumulator[2])


def _row(pair, window=beam.DoFn.WindowParam):
    user, (n, total, different) = pair
    return json.dumps({"u": int(user[5:]), "w": window.start.micros // 1000, "n": n, "total": total, "different": different})


def main() -> None:
    servers, topic, target = sys.argv[1:]
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = (
        pipeline
        | beam.Create(range(4))
        | beam.ParDo(_Read(servers, topic))
        | beam.Map(orjson.loads)
        | beam.Map(lambda event: TimestampedValue((event["userId"], event["value"]), event["timestamp"] / 1000))
        | beam.WindowInto(FixedWindows(60))
        | beam.CombinePerKey(_Sums())
        | beam.Map(_row)
        | beam.io.WriteToText(target, shard_name_template="")
    )
    pipeline.run().wait_until_finish()


if __name__ == "__main__":
    main()
