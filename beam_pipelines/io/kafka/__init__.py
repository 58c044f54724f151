"""Kafka topics, by librdkafka: reading partitions by offsets, and writing messages."""
