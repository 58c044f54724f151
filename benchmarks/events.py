"""The events of the stream cases: by formula, sent to topics of a broker, and the windows that must come out of them by SQL."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.process import BenchmarkError

__all__ = ["BEGIN", "MINUTE", "PARTITIONS", "Events", "expect", "send"]

PARTITIONS = 4
MINUTE = 60_000
BEGIN = 1_700_000_040_000  # ms; a full minute
_MINUTES = 11
_DISORDER = 5_000  # ms
_SENT = 100_000  # events at a time


@dataclass(frozen=True)
class Events:
    """Events of eleven minutes, up to five seconds out of order, none of them late.

    Args:
        topic: Where they are.
        count: How many.
        users: Of how many users, by chance; all of a user are in one partition.
    """

    topic: str
    count: int
    users: int

    @property
    def query(self) -> str:
        """Rows `u` (number of the user), `v` (whole number below 1,000) and `t` (ms since 1970), in the order in which they are sent."""
        n = self.count
        return (
            f"SELECT (hash(i) % {self.users})::bigint AS u, (hash(i + {n}) % 1000)::bigint AS v,"
            f" {BEGIN} + i * {_MINUTES * MINUTE} // {n} + {_DISORDER - 1} - (hash(i + {2 * n}) % {_DISORDER})::bigint AS t"
            f" FROM range({n}) AS r(i) ORDER BY i"
        )

    @property
    def windows(self) -> str:
        """Rows `u`, `w` (start, ms), `n`, `total` and `different` of the windows that are closed when all events are read."""
        return (
            f"SELECT u, t // {MINUTE} * {MINUTE} AS w, count(*) AS n, sum(v)::bigint AS total, count(DISTINCT v) AS different"
            f" FROM ({self.query}) WHERE t < {BEGIN + (_MINUTES - 1) * MINUTE} GROUP BY ALL"
        )


def send(servers: str, events: Events) -> None:
    """Send events as JSON, keyed by their user."""
    import duckdb
    from confluent_kafka import Producer

    settings = {"linger.ms": 50, "batch.size": 1 << 20, "compression.type": "lz4", "queue.buffering.max.messages": 2 * _SENT}
    producer = Producer({"bootstrap.servers": servers, **settings})
    rows = (
        f"SELECT 'user-' || u AS k, '{{\"userId\":\"user-' || u || '\",\"value\":' || v || ',\"timestamp\":' || t || '}}' AS j,"
        f" (u % {PARTITIONS})::integer AS p FROM ({events.query})"
    )
    with duckdb.connect() as connection:
        result = connection.execute(rows)
        while some := result.fetchmany(_SENT):
            for key, value, partition in some:
                while True:
                    try:
                        producer.produce(events.topic, value, key, partition)
                        break
                    except BufferError:
                        producer.poll(0.1)
            producer.poll(0)
    if producer.flush(60):
        raise BenchmarkError(f"not all events reached {events.topic}")


def expect(name: str, events: Events, found: str, *, attach: Path | None = None, distinct: bool = True) -> None:
    """Compare windows with what SQL makes of the events.

    Args:
        name: Whose they are.
        events: What was read.
        found: Query of the windows, as `Events.windows` has them; those that were not closed are left out.
        attach: A database of DuckDB, `target` in the query.
        distinct: Whether different values were counted.

    Raises:
        BenchmarkError: Others.
    """
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        if attach is not None:
            connection.execute(f"ATTACH '{attach}' AS target (READ_ONLY)")
        columns = "u, w, n, total" + (", different" if distinct else "")
        connection.execute(f"CREATE TABLE expected AS SELECT {columns} FROM ({events.windows})")
        last = BEGIN + (_MINUTES - 1) * MINUTE
        connection.execute(f"CREATE TABLE found AS SELECT {columns} FROM ({found}) WHERE w < {last}")
        for one, other in (("expected", "found"), ("found", "expected")):
            rows: Any = connection.execute(f"SELECT count(*) FROM (TABLE {one} EXCEPT ALL TABLE {other})").fetchone()
            if rows[0]:
                raise BenchmarkError(f"{name}: {rows[0]} windows of {one} are not among those of {other}")
        if attach is not None:
            with contextlib.suppress(duckdb.Error):
                connection.execute("DETACH target")
