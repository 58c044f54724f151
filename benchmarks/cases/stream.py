"""Events of a real broker into windows of a minute by user, read from beginning to end, against other engines on the same topics.

Of millions of events, what a program takes before its first one is left out on both sides alike: it is timed on a topic of a few events
as well. Against Beam, which gets fewer, whole processes are compared, with import and start.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from beam_pipelines.testing.kafka import real_broker
from benchmarks.contest import Contestant, Rounds, hold
from benchmarks.events import PARTITIONS, Events, expect, send
from benchmarks.process import Command, run
from benchmarks.result import Line, at_least, at_most, compared
from benchmarks.service import OurStream
from benchmarks.settings import Settings

__all__ = ["stream"]

_PEERS = Path(__file__).parent.parent / "peers"
_FEW = Events("few", 100, 10)
_RATE = 250_000  # events a second
_MOST_ROUNDS = 3  # a round takes minutes
_SOURCE = "SELECT substr(userId, 6)::bigint AS u, epoch_ms(windowStart) AS w, eventCount AS n, total, different FROM target.results"
_LIGHTER = "count and sum alone, for it has no exact distinct; without changelog topics"

Program = Callable[[Events, Path], Command]


def stream(settings: Settings) -> list[Line]:
    """Count, sum and exact distinct of 1-minute windows: 1,000 users and 100,000."""
    folder = settings.folder / "stream"
    folder.mkdir()
    many = 2 * settings.rows
    low, high, slow = Events("low", many, 1_000), Events("high", many, 100_000), Events("slow", many // 10, 100_000)
    try:
        with real_broker() as broker:
            for events in (_FEW, low, high, slow):
                broker.create(events.topic, PARTITIONS)
                send(broker.servers, events)
            return _measured(_Programs(settings, broker.servers), settings, folder, low, high, slow)
    finally:
        shutil.rmtree(folder)


def _measured(programs: _Programs, settings: Settings, folder: Path, low: Events, high: Events, slow: Events) -> list[Line]:
    rounds = min(settings.rounds, _MOST_ROUNDS)
    lines: list[Line] = []
    against: list[tuple[Events, dict[str, tuple[Program, bool]]]] = [
        (low, {"Quix Streams": (programs.quix, False), "bytewax": (programs.bytewax, True)}),
        (high, {"Quix Streams": (programs.quix, False)}),
        (slow, {"Beam": (programs.beam, True)}),
    ]
    for events, peers in against:
        place = folder / events.topic
        contestants = [_ours("ours", programs, events, place)]
        contestants += [_peer(name, program, events, place, distinct=distinct) for name, (program, distinct) in peers.items()]
        few = [_ours("ours", programs, _FEW, place / "few")]
        few += [_peer(name, program, _FEW, place / "few", distinct=False) for name, (program, _) in peers.items()]
        starts = {one.name: 0.0 for one in few}
        if events is not slow:
            starts = {one.name: statistics.median(run(one.prepare()).seconds for _ in range(rounds)) for one in few}
        lines += _lines(hold(contestants, rounds), events, starts, rated=events is low)
    return lines


def _lines(rounds: Rounds, events: Events, starts: dict[str, float], *, rated: bool) -> list[Line]:
    job = f"{events.count:,} JSON events of Kafka, 1-minute windows by {events.users:,} users"

    def taken(name: str) -> list[float]:
        return [max(seconds - starts[name], 1e-3) for seconds in rounds.seconds(name)]

    ours = taken("ours")
    what = "time above the start" if starts["ours"] else "whole process"
    lines = []
    for name in rounds.taken:
        if name != "ours":
            note = _LIGHTER if name == "Quix Streams" else ""
            shown = f"{name}, {_LIGHTER}" if note else name
            lines.append(at_least(compared("stream", f"{job}: {what}", "s", ours, taken(name), shown, note=note), 2.0))
    rate = events.count / statistics.median(ours)
    line = Line("stream", f"{job}: {what}", rate, "events/s", note=f"the start: {starts['ours']:.2f} s")
    if rated:
        line = replace(line, target=f"at least {_RATE:,} events/s", met=rate >= _RATE)
    memory = rounds.peak_bytes("ours") / 1e6
    return [line, *lines, at_most(Line("stream", f"{job}: peak memory", memory, "MB"), 2_000, of=memory, unit=" MB")]


class _Programs:
    """The commands of the contestants; each writes its windows to `windows.json` of its folder, ours to `target.duckdb`."""

    def __init__(self, settings: Settings, servers: str) -> None:
        self._python, self._servers = settings.peers_python, servers

    def ours(self, events: Events, place: Path) -> Command:
        service = OurStream(
            place,
            {"type": "kafka", "topic": events.topic, "outOfOrderness": "5s"},
            [
                {
                    "id": "minutes",
                    "type": "window",
                    "window": {"type": "tumbling", "size": "1m"},
                    "groupBy": ["userId"],
                    "aggregations": {"total": "sum:value", "different": "count_distinct:value"},
                }
            ],
            [{"type": "database", "connection": "target", "table": "results"}],
            {"kafka": {"bootstrap.servers": self._servers}, "target": f"duckdb:///{place / 'target.duckdb'}"},
        )
        service.forget()
        return service.command("latest")

    def quix(self, events: Events, place: Path) -> Command:
        return self._peer("quix_stream.py", events, place, str(place / "state"))

    def bytewax(self, events: Events, place: Path) -> Command:
        return self._peer("bytewax_stream.py", events, place)

    def beam(self, events: Events, place: Path) -> Command:
        return self._peer("beam_stream.py", events, place)

    def _peer(self, program: str, events: Events, place: Path, *more: str) -> Command:
        argv = [self._python, str(_PEERS / program), self._servers, events.topic, str(place / "windows.json"), *more]
        return Command(argv, place)


def _ours(name: str, programs: _Programs, events: Events, place: Path) -> Contestant:
    folder = place / "ours"
    return Contestant(
        name, lambda: programs.ours(events, _emptied(folder)), lambda: expect(name, events, _SOURCE, attach=folder / "target.duckdb")
    )


def _peer(name: str, program: Program, events: Events, place: Path, *, distinct: bool) -> Contestant:
    folder = place / name.replace(" ", "_")
    found = f"SELECT * FROM read_json('{folder / 'windows.json'}', format = 'newline_delimited')"
    return Contestant(name, lambda: program(events, _emptied(folder)), lambda: expect(name, events, found, distinct=distinct))


def _emptied(place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place
