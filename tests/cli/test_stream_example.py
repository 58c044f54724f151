"""The bare command, for real but faster than it is for people: what it shows and writes, against its events summed up in plain Python."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_pipelines.cli import stream
from beam_pipelines.examples import replay
from beam_pipelines.examples.event_stream.events import events
from beam_pipelines.examples.log_aggregation_complete.lines import lines
from beam_pipelines.examples.stream import EXAMPLES, place

MINUTES, SPEED = 3, 90.0
MINUTE = 60_000
PARTITIONS = 4


@dataclass
class Bare:
    """The bare command in an empty folder."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    begun: list[int] = field(default_factory=list)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = stream.main(words)
        said = self.capture.readouterr()
        return code, said.out, said.err

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.folder / "beam_pipelines_example" / database), read_only=True) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Bare:
    monkeypatch.chdir(tmp_path)
    made = Bare(tmp_path, capfd)

    class Noted(replay.Replay):
        def __enter__(self) -> replay.Replay:
            made.begun.append(self.begin)
            return super().__enter__()

    monkeypatch.setattr(replay, "Replay", Noted)
    monkeypatch.setattr(replay, "SPEED", SPEED)
    monkeypatch.setattr(replay, "MINUTES", MINUTES)
    return made


def in_time(sent: Iterable[tuple[str, int, Any]], out_of_orderness: int, size: int, slide: int) -> Iterator[tuple[int, Any]]:
    """Windows (their begins) in which events count, one after the other; `sent`: key, event time and event, in the order they are sent."""
    newest: dict[int, int] = {}
    for key, time, event in sent:
        partition = zlib.crc32(key.encode()) % PARTITIONS
        behind = newest[partition] - out_of_orderness if partition in newest else None
        newest[partition] = max(time, newest.get(partition, time))
        for begin in range(time - time % slide, time - size, -slide):
            if behind is None or begin + size > behind:
                yield begin, event


def closed(begin: int, size: int) -> bool:
    """Whether a window has ended with the last whole minute: the events behind it close it."""
    return begin + size <= MINUTES * MINUTE


def test_user_events_are_summed_up_by_the_minute_and_nothing_is_said_that_does_not_help(bare: Bare) -> None:
    code, out, err = bare()
    assert code == 0, err
    (begin,) = bare.begun
    sent = [event for step in events(begin, MINUTES) for event in step]
    users, values, counts = defaultdict(set), defaultdict(float), defaultdict(int)
    counted = list(in_time([(event["userId"], event["timestamp"], event) for event in sent], 0, MINUTE, MINUTE))
    for window, event in counted:
        users[window].add(event["userId"])
        values[window] += event["value"] or 0.0
        counts[window] += 1
    expected = [
        (window, counts[window], counts[window], len(users[window]), pytest.approx(values[window]))
        for window in sorted(counts)
        if closed(window - begin, MINUTE)
    ]
    query = "SELECT epoch_ms(windowStart), eventCount, event_count, unique_users, total_value FROM event_aggregates ORDER BY 1"
    assert bare.rows("stream/analytics.duckdb", query) == expected
    assert len(expected) >= MINUTES

    lines_shown = [line.split() for line in err.splitlines() if re.match(r"  \d\d:\d\d-", line)]
    assert [(line[1], line[2]) for line in lines_shown] == [
        (f"{counts[window]:,}", str(len(users[window]))) for window in sorted(counts) if window >= begin and closed(window - begin, MINUTE)
    ]
    assert f"- {len(sent) - len(counted):,} late-row in aggregate\n" in out
    told_by_librdkafka = [line for line in (out + err).splitlines() if re.match(r"%\d\|", line)]
    assert told_by_librdkafka == []
    assert len(out.splitlines()) < 45


def test_log_lines_are_summed_up_by_service_each_minute(bare: Bare) -> None:
    code, out, err = bare("--example", "log-aggregation")
    assert code == 0, err
    (begin,) = bare.begun
    every = [line for step in lines(begin, MINUTES) for line in step]
    sent = [
        (one["service"], round(datetime.fromisoformat(one["timestamp"]).timestamp() * 1000), one) for one in every if isinstance(one, dict)
    ]
    latencies, errors = defaultdict(list), defaultdict(int)
    for window, line in in_time(sent, 5_000, 5 * MINUTE, MINUTE):
        if line["level"] != "DEBUG":
            latencies[window, line["service"]].append(line["latency"])
            errors[window, line["service"]] += line["level"] == "ERROR"
    expected = [
        (*key, len(latencies[key]), errors[key], pytest.approx(percentile(latencies[key], 0.99)))
        for key in sorted(latencies)
        if closed(key[0] - begin, 5 * MINUTE)
    ]
    query = "SELECT epoch_ms(windowStart), service, lines, errors, p99_latency FROM service_health ORDER BY 1, 2"
    assert bare.rows("log-aggregation/logs.duckdb", query) == expected
    broken = sum(isinstance(one, str) for one in every)
    assert broken
    assert f"- {broken} row-invalid in extract\n" in out
    heads = [line.split() for line in err.splitlines() if "window (UTC)" in line]
    assert heads == [["window", "(UTC)", "service", "lines", "errors", "p99_latency"]]
    assert sum("-" in line and " checkout " in line for line in err.splitlines()) == sum(
        key[1] == "checkout" for key in latencies if key[0] + 5 * MINUTE > begin and closed(key[0] - begin, 5 * MINUTE)
    )


def percentile(values: list[float], share: float) -> float:
    """Between two values by their distance."""
    values = sorted(values)
    place = share * (len(values) - 1)
    low = int(place)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (place - low)


def test_one_that_is_stopped_early_says_nothing_of_its_broker(bare: Bare) -> None:
    code, out, err = bare("--until", "1s")
    assert code == 0, err
    assert [line for line in (out + err).splitlines() if re.match(r"%\d\|", line)] == []


def test_the_example_is_none_of_a_definition_of_the_user_s(bare: Bare) -> None:
    code, _, err = bare("--service", "mine.yaml", "--example", "log-aggregation")
    assert code == 2
    assert "--example names a packaged example" in err


def test_there_is_a_definition_and_a_script_for_each_name() -> None:
    from beam_pipelines import examples

    for example in EXAMPLES.values():
        assert example.definition in examples.names()
        assert next(example.reads.steps(0, 1))


@pytest.mark.parametrize("windows", [True, False], ids=["renamed", "no windows"])
def test_an_example_that_the_user_has_edited_runs_and_shows_what_it_can(bare: Bare, *, windows: bool) -> None:
    placed = place(bare.folder / "mine")
    text = placed.definition.read_text()
    if not windows:
        text = re.sub(r"    - id: aggregate\n.*?  sinks:", "  sinks:", text, flags=re.DOTALL)
    else:
        behind = "    - {id: renamed, type: map, mappings: {started: {source: windowStart}, users: {source: unique_users}}}\n  sinks:"
        text = text.replace("  sinks:", behind).replace("table: event_aggregates", "table: event_aggregates\n      mode: insert")
    placed.definition.write_text(text)
    code, _, err = bare("--example-dir", "mine", "--yes")
    assert code == 0, err
    assert not re.findall(r"^  \d\d:\d\d-", err, flags=re.MULTILINE)
    assert ("they are not shown here" in err) == windows
