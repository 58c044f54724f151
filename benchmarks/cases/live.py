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

__all__ = ["drains", "live", "long"]

_ROOT = Path(__file__).parent.parent.parent
_DRAINS, _LEAD = 200, 5  # and the first ones, in which a process warms up
_OPEN = 100_000  # groups whose windows are open beside those that events come for
_KEYS = 1_000_000  # that a rule remembers beside those of the events that come
_RATE, _SIZE, _BEHIND = 20_000, 5_000, 1_000  # events a second; ms of a window and of outOfOrderness
_SECONDS, _LONG = 60, 600
_START = 6  # seconds from the start of the service to the first event


def drains(settings: Settings, databases: Databases) -> list[Line]:
    """Drains of 1,000 messages, from the start of each to its commit, into DuckDB and PostgreSQL; also beside what earlier ones left."""
    count = max(20, min(_DRAINS, _DRAINS * settings.rows // 1_000_000))
    lines = []
    with real_broker() as broker:
        for users, before, step in (
            (1_000, 0, _windows("1m")),
            (1_000, _OPEN, _windows("1h")),
            (10, _OPEN, _windows("1h")),
            (1_000, 0, _ONCE),
            (1_000, _KEYS * settings.rows // 1_000_000, _ONCE),
        ):
            for system in ("DuckDB", "PostgreSQL"):
                folder = settings.folder / "drains"
                databases.empty("drains")
                url = databases.url("drains") if system == "PostgreSQL" else f"duckdb:///{folder / 'target.duckdb'}"
                topic = f"{system}-{step['id']}-{users}-{before}"
                broker.create(topic, events.PARTITIONS)
                try:
                    _stream(folder, broker.servers, topic, url, step, "5s")
                    argv = [
                        sys.executable,
                        "-m",
                        "benchmarks.drains",
                        broker.servers,
                        topic,
                        str(folder),
                        *map(str, (count, users, before)),
                    ]
                    told = json.loads(run(Command(argv, folder, {"PYTHONPATH": str(_ROOT)})).output.splitlines()[-1])
                finally:
                    shutil.rmtree(folder)
                if len(told["seconds"]) != count:
                    raise BenchmarkError(f"{topic}: expected {count} drains, found {len(told['seconds'])}")
                lines.append(_drain(system, users, before, step, told, count))
    return lines


def _drain(system: str, users: int, before: int, step: dict[str, Any], told: dict[str, list[float]], count: int) -> Line:
    rule = step is _ONCE
    beside = f" beside {before:,} {'keys that are remembered' if rule else 'open windows'}" if before else ""
    what = f"{MESSAGES:,} messages {'that occur once' if rule else f'of {users:,} users'}"
    job = f"a drain of {what} into {system}{beside}, from its start to its commit, median of {count}"
    seconds, processor = sorted(told["seconds"][_LEAD:]), statistics.median(told["processor"][_LEAD:])
    median = statistics.median(seconds)
    note = f"99th percentile: {seconds[int(len(seconds) * 0.99)]:.3f} s; processor time from commit to commit: {processor:.3f} s"
    line = Line("stream-drains", job, median, "s", note=note)
    return at_most(line, 0.15, of=median, unit=" s") if system == "DuckDB" and not before and not rule else line


def live(settings: Settings) -> list[Line]:
    """20,000 events a second for a minute, windows of five seconds by 1,000 users, as they come, on both local engines."""
    return [
        *_live(settings, "stream-live", _SECONDS, "DirectRunner"),
        *_live(settings, "stream-live", _SECONDS, "PrismRunner", f"--prism_location={made()}"),
    ]


def long(settings: Settings) -> list[Line]:
    """The same for ten minutes, on Prism."""
    return _live(settings, "stream-long", _LONG, "PrismRunner", f"--prism_location={made()}")


def _live(settings: Settings, case: str, seconds: int, runner: str, *options: str) -> list[Line]:
    folder = settings.folder / "live"
    count = _RATE * seconds
    try:
        with real_broker() as broker:
            broker.create("live", events.PARTITIONS)
            _stream(folder, broker.servers, "live", f"duckdb:///{folder / 'target.duckdb'}", _windows("5s"), "1s")
            begin = round((time.time() + _START) * 1000)
            feeder = [sys.executable, "-m", "benchmarks.feed", broker.servers, "live", *map(str, (begin, count, _RATE))]
            with subprocess.Popen(feeder, cwd=_ROOT) as process:
                try:
                    argv = [sys.executable, "-m", "benchmarks.live", broker.servers, "live", str(folder), str(count)]
                    used = run(
                        Command([*argv, f"--runner={runner}", *options], folder, {"PYTHONPATH": str(_ROOT)}, limit=_START + 5 * seconds)
                    )
                finally:
                    process.kill() if process.poll() is None else None
        commits = json.loads(used.output.splitlines()[-1])["commits"]
        _expect(folder, begin, count, commits[-1])
        return _lines(case, seconds, runner, commits, begin)
    finally:
        shutil.rmtree(folder)


def _lines(case: str, seconds: int, runner: str, commits: list[dict[str, Any]], begin: int) -> list[Line]:
    job = f"{_RATE:,} events a second for {seconds} s, {_SIZE // 1000} s windows by {feed.USERS:,} users, {runner}"
    behind = sorted(_behind(commits, begin))
    during = [one for one in commits if begin + 5_000 <= one["at"] <= begin + seconds * 1000]
    half = len(during) // 2
    if half < 2 or not behind:
        raise BenchmarkError(f"{len(commits)} commits are too few to tell anything")
    lag = [statistics.median(one["lag"] for one in part) for part in (during[:half], during[half:])]
    memory = [max(one["memory"] for one in part) / 1e6 for part in (during[:half], during[half:])]
    last = behind[min(len(behind) - 1, int(len(behind) * 0.99))]
    pace = statistics.median(one["seconds"] for one in during)
    steps = "second half / first half"
    late = Line(case, f"{job}: from a window's end to its commit, 99th percentile", last, "s", note=_NOTE)
    lags = Line(case, f"{job}: lag at a commit", lag[1], "events", lag[0], "the first half", lag[1] / max(lag[0], 1), None, steps)
    held = Line(case, f"{job}: memory", memory[1], "MB", memory[0], "the first half", memory[1] / memory[0], None, steps)
    drain = Line(case, f"{job}: a drain, median of {len(during)}", pace, "s")
    return [at_most(late, 2.5, of=last, unit=" s"), at_most(lags, 1.5), at_most(held, 1.1), drain]


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


def _windows(size: str) -> dict[str, Any]:
    return {
        "id": "windows",
        "type": "window",
        "window": {"type": "tumbling", "size": size},
        "groupBy": ["userId"],
        "aggregations": {"total": "sum:value", "different": "count_distinct:value"},
    }


_ONCE = {
    "id": "check",
    "type": "validate",
    "rules": [{"id": "once", "type": "unique", "fields": ["userId", "timestamp"], "horizon": "24h"}],
}


def _stream(place: Path, servers: str, topic: str, url: str, step: dict[str, Any], behind: str) -> None:
    service = OurStream(
        place,
        {
            "type": "kafka",
            "topic": topic,
            "outOfOrderness": behind,
            "columns": {"userId": "text", "value": "bigint", "timestamp": "bigint"},
        },
        [step],
        [{"type": "database", "connection": "target", "table": "results"}],
        {"kafka": {"bootstrap.servers": servers}, "target": url},
    )
    service.forget()
