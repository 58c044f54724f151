"""What one more drain costs, and how a stream keeps up with events as they come."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from beam_pipelines.testing.kafka import real_broker
from beam_pipelines.testing.prism import made
from benchmarks import events, feed
from benchmarks.drains import MESSAGES
from benchmarks.process import BenchmarkError, Command, run
from benchmarks.result import Line, at_most
from benchmarks.servers import Databases
from benchmarks.service import OurStream
from benchmarks.settings import Settings

__all__ = ["drains", "live"]

_ROOT = Path(__file__).parent.parent.parent
_DRAINS, _LEAD = 200, 5  # and the first ones, in which a process warms up
_RATE, _SECONDS, _SIZE, _BEHIND = 20_000, 60, 5_000, 1_000  # events a second; seconds; ms of a window and of outOfOrderness
_START = 6  # seconds from the start of the service to the first event


def drains(settings: Settings, databases: Databases) -> list[Line]:
    """Drains of 1,000 messages, from the start of each to its commit, into DuckDB and PostgreSQL."""
    count = max(20, min(_DRAINS, _DRAINS * settings.rows // 1_000_000))
    folder = settings.folder / "drains"
    databases.empty("drains")
    lines = []
    try:
        with real_broker() as broker:
            for name, url in (("DuckDB", f"duckdb:///{folder / 'target.duckdb'}"), ("PostgreSQL", databases.url("drains"))):
                place = folder / name
                broker.create(name, events.PARTITIONS)
                _stream(place, broker.servers, name, url, "1m", "5s")
                argv = [sys.executable, "-m", "benchmarks.drains", broker.servers, name, str(place), str(count)]
                seconds = json.loads(run(Command(argv, place, {"PYTHONPATH": str(_ROOT)})).output.splitlines()[-1])["seconds"]
                if len(seconds) != count:
                    raise BenchmarkError(f"{name}: expected {count} drains, found {len(seconds)}")
                lines.append(_drain(name, sorted(seconds[_LEAD:]), count))
    finally:
        shutil.rmtree(folder)
    return lines


def _drain(name: str, seconds: list[float], count: int) -> Line:
    job = f"a drain of {MESSAGES:,} messages into {name}, from its start to its commit, median of {count}"
    median = statistics.median(seconds)
    line = Line("stream-drains", job, median, "s", note=f"99th percentile: {seconds[int(len(seconds) * 0.99)]:.3f} s")
    return at_most(line, 0.15, of=median, unit=" s") if name == "DuckDB" else line


def live(settings: Settings) -> list[Line]:
    """20,000 events a second for a minute, windows of five seconds by 1,000 users, as they come, on both local engines."""
    return [
        *_live(settings, "DirectRunner"),
        *_live(settings, "PrismRunner", f"--prism_location={made()}"),
    ]


def _live(settings: Settings, runner: str, *options: str) -> list[Line]:
    folder = settings.folder / "live"
    count = _RATE * _SECONDS
    try:
        with real_broker() as broker:
            broker.create("live", events.PARTITIONS)
            _stream(folder, broker.servers, "live", f"duckdb:///{folder / 'target.duckdb'}", "5s", "1s")
            begin = round((time.time() + _START) * 1000)
            feeder = [sys.executable, "-m", "benchmarks.feed", broker.servers, "live", *map(str, (begin, count, _RATE))]
            with subprocess.Popen(feeder, cwd=_ROOT) as process:
                try:
                    argv = [sys.executable, "-m", "benchmarks.live", broker.servers, "live", str(folder), str(count)]
                    used = run(
                        Command([*argv, f"--runner={runner}", *options], folder, {"PYTHONPATH": str(_ROOT)}, limit=_START + 5 * _SECONDS)
                    )
                finally:
                    process.kill() if process.poll() is None else None
        commits = json.loads(used.output.splitlines()[-1])["commits"]
        _expect(folder, begin, count, commits[-1])
        return _lines(runner, commits, begin)
    finally:
        shutil.rmtree(folder)


def _lines(runner: str, commits: list[dict[str, Any]], begin: int) -> list[Line]:
    job = f"{_RATE:,} events a second for {_SECONDS} s, {_SIZE // 1000} s windows by {feed.USERS:,} users, {runner}"
    behind = sorted(_behind(commits, begin))
    during = [one for one in commits if begin + 5_000 <= one["at"] <= begin + _SECONDS * 1000]
    half = len(during) // 2
    if half < 2 or not behind:
        raise BenchmarkError(f"{len(commits)} commits are too few to tell anything")
    lag = [statistics.median(one["lag"] for one in part) for part in (during[:half], during[half:])]
    memory = [max(one["memory"] for one in part) / 1e6 for part in (during[:half], during[half:])]
    last = behind[min(len(behind) - 1, int(len(behind) * 0.99))]
    pace = statistics.median(one["seconds"] for one in during)
    steps = "second half / first half"
    return [
        at_most(
            Line("stream-live", f"{job}: from a window's end to its commit, 99th percentile", last, "s", note=_NOTE),
            2.5,
            of=last,
            unit=" s",
        ),
        at_most(
            Line(
                "stream-live", f"{job}: lag at a commit", lag[1], "events", lag[0], "the first half", lag[1] / max(lag[0], 1), None, steps
            ),
            1.5,
        ),
        at_most(
            Line("stream-live", f"{job}: memory", memory[1], "MB", memory[0], "the first half", memory[1] / memory[0], None, steps), 1.1
        ),
        Line("stream-live", f"{job}: a drain, median of {len(during)}", pace, "s"),
    ]


_NOTE = f"less outOfOrderness, {_BEHIND} ms"


def _behind(commits: list[dict[str, Any]], begin: int) -> list[float]:
    """Seconds from the end of each window, and what may come later, to the commit that closed it."""
    found, before = [], begin
    for one in commits:
        closed = one["closed"] or before
        ends = range((before // _SIZE + 1) * _SIZE, closed + 1, _SIZE)
        found += [(one["at"] - end - _BEHIND) / 1000 for end in ends]
        before = max(before, closed)
    return found


def _expect(folder: Path, begin: int, count: int, last: dict[str, Any]) -> None:
    """Compare the windows that are closed with SQL."""
    import duckdb

    closed = last["closed"] // _SIZE * _SIZE
    with duckdb.connect(str(folder / "target.duckdb"), read_only=True) as connection:
        columns = "substr(userId, 6)::bigint AS u, epoch_ms(windowStart) AS w, eventCount AS n, total::bigint AS total, different"
        found = f"SELECT {columns} FROM results"
        expected = (
            f"SELECT u, t // {_SIZE} * {_SIZE} AS w, count(*) AS n, sum(v)::bigint AS total, count(DISTINCT v) AS different"
            f" FROM ({feed.query(begin, count, _RATE)}) WHERE t < {closed} GROUP BY ALL"
        )
        for one, other in ((found, expected), (expected, found)):
            rows = connection.execute(f"SELECT count(*) FROM (({one}) EXCEPT ALL ({other}))").fetchone()
            if rows is None or rows[0]:
                raise BenchmarkError(f"live: {rows and rows[0]} windows are others than those of SQL")


def _stream(place: Path, servers: str, topic: str, url: str, size: str, behind: str) -> None:
    service = OurStream(
        place,
        {
            "type": "kafka",
            "topic": topic,
            "outOfOrderness": behind,
            "columns": {"userId": "text", "value": "bigint", "timestamp": "bigint"},
        },
        [
            {
                "id": "windows",
                "type": "window",
                "window": {"type": "tumbling", "size": size},
                "groupBy": ["userId"],
                "aggregations": {"total": "sum:value", "different": "count_distinct:value"},
            }
        ],
        [{"type": "database", "connection": "target", "table": "results"}],
        {"kafka": {"bootstrap.servers": servers}, "target": url},
    )
    service.forget()
