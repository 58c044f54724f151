"""What the tests of the store do in processes of their own: race, hold locks, and die. Run as a script.

processes.py kill URL            end runs, killed by SIGKILL at every statement; prints a JSON object {run: where it died}
processes.py acquire URL RUN     one line on stdin a round, with a service; answers `won` or the error
processes.py finish URL          one line on stdin a round, with a run; answers `True` or `False`
processes.py open URL            waits for a line, opens the store, prints its id
processes.py stream URL WHAT     advance streams, or charge their hours, killed by SIGKILL at every statement; prints as `kill` does
processes.py charge URL          one line on stdin a round, with a service; answers how many hours it settled
processes.py hold PATH           takes SQLite's write lock until stdin ends
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace

from sqlalchemy import event

from beam_pipelines.errors import ActiveRunError
from beam_pipelines.pricing import Charge, Usage, charge, charge_hour
from beam_pipelines.state import (
    Advance,
    Execution,
    Failure,
    Incident,
    Metrics,
    Outcome,
    StateStore,
    Step,
    Transformation,
    Watermark,
    this_process,
)
from beam_pipelines.state.record import Files

START = datetime(2026, 3, 1, 9, 0, 0, tzinfo=timezone.utc)
HOURLY = SimpleNamespace(model="per-hour", rate=Decimal("1.50"), currency="USD", includes=100, overage=Decimal("0.01"))
PRICE = SimpleNamespace(model="per-gb", rate=Decimal("1.0"), currency="USD", minimum_charge=Decimal("0.1"), additional_costs={})


def execution(run: str, service: str = "customers") -> Execution:
    return Execution(service, run, START, name="Customer Data ETL", request="q-7", customer="c-9", guarantee="exactly-once effect")


QUALITY = {"total": 899, "passed": 890, "failed": 9, "warnings": 4}
RULE = {"rule": "once", "evaluated": 899, "violated": 9, "notEvaluated": 0, "ruleErrors": 0}
EXAMPLES = [{"rule": "once", "value": "secret@x.org", "record": {"id": 1, "email": "secret@x.org"}}]
PROFILE = {"rows": 899, "columns": {"email": {"type": "string", "count": 899, "top": [{"value": "secret@x.org", "count": 2}]}}}


def outcome(service: str = "customers", *, failures: int = 101) -> Outcome:
    """A run that touches every table: steps, rules, a watermark, a charge, dead letters and, with 101 of them, an alert."""
    told = QUALITY | {"examples": EXAMPLES, "profile": PROFILE}
    transformations = (
        Transformation("normalize", True, 12, 1000, 899, records_dead_lettered=101),
        Transformation("check", True, 5, 899, 899, rules=(RULE,), quality=told),
    )
    steps = (
        Step("extract", record_count=1000),
        Step("transform", record_count=899, transformations=transformations),
        Step("load", loaded=899, errors=0, method="merge"),
    )
    return Outcome(
        "success",
        Metrics(1000, 899, 899, 3 * 1024**3, 0, 0, 0, 101, 500, 300, 90, 7, 2, 40),
        steps,
        completed_at=START + timedelta(seconds=2),
        failures=(Failure("normalize", "function-failed", failures, "file:///dead/1.arrow", "expected an e-mail", "customers"),),
        watermarks=(Watermark(service, "customers", {"type": "int", "text": "41"}, "f1", 1, "r"),),
        charge=charge(PRICE, Usage(bytes=3 * 1024**3)),
    )


def batch_outcome(service: str = "customers") -> Outcome:
    """The same of a batch, which tells what became of files."""
    files = Files(2, 899, 3 * 1024**3, 7, 1, 1, ({"file": "bad.csv", "error": "cut off"}, {"file": "a.csv"}, {"file": "b.csv"}))
    return replace(outcome(service), files=files, to_read=4 * 1024**3)


def hour_price(hour: datetime, events: int) -> Charge:
    return charge_hour(HOURLY, hour=hour, events=events)


def stream(run: str) -> Execution:
    return Execution(run, run, START, name="Clicks", kind="stream", customer="c-9")


def drained(service: str, generation: int, at: datetime = START) -> Advance:
    """A drain that touches every table: 101 failures, so an alert, and an incident."""
    return Advance(
        drain=f"d{generation}",
        generation=generation,
        load="windows",
        committed_at=at,
        metrics=Metrics(150, 49, 49, 9000, 101, 0, 0, 101),
        steps=(Step("extract", record_count=150), Step("transform", transformations=(Transformation("known", records_in=49),))),
        failures=(Failure("extract", "decode-failed", 101, "/letters/d.jsonl"),),
        watermark=Watermark(service, "windows", {"type": "offsets", "text": f"{generation}"}, "f", generation, f"d{generation}"),
        events=150,
        incidents=(Incident("idle: 3", "partition 3 is silent"),),
        live={"eventsPerSecond": 5.0, "late": 1, "windowsWritten": 4},
    )


def clock() -> datetime:
    return START + timedelta(seconds=3)


def kill(url: str) -> None:
    died: dict[str, str] = {}
    number = 0
    while True:
        number += 1
        run = f"run-{number:02d}"
        child = os.fork()
        if child == 0:
            _die_at(url, run, number)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        died[run] = f"statement {number}"
    for run, point in (("run-commit", "before commit"), ("run-done", "after commit")):
        child = os.fork()
        if child == 0:
            _die_at(url, run, None if point == "before commit" else 0)
        os.waitpid(child, 0)
        died[run] = point
    _say(json.dumps(died))


def _die_at(url: str, run: str, number: int | None) -> None:
    """Begin a run, then end it, killed at its n-th statement; None: at the commit, 0: just after it."""
    try:
        store = StateStore(url, clock=clock)
        store.begin(execution(run, run))
        statements = commits = 0

        def at_statement(*_: object) -> None:
            nonlocal statements
            statements += 1
            if statements == number:
                os.kill(os.getpid(), signal.SIGKILL)

        def at_commit(_: object) -> None:
            nonlocal commits
            commits += 1
            if number is None and commits == 2:  # the first ends the read that looks the service up
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(store._database.engine, "before_cursor_execute", at_statement)
        event.listen(store._database.engine, "commit", at_commit)
        store.finish(run, batch_outcome(run))
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 (a forked child must never return into the parent's loop)
        sys.stderr.write(f"{error!r}\n")
        os._exit(3)


def kill_streams(url: str, what: str) -> None:
    died: dict[str, str] = {}
    number = 0
    while number <= len(died):
        number += 1
        run = f"{what}-{number:02d}"
        child = os.fork()
        if child == 0:
            _die_in(url, run, number, what)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            died[run] = f"statement {number}"
    run = f"{what}-done"
    child = os.fork()
    if child == 0:
        _die_in(url, run, 0, what)
    os.waitpid(child, 0)
    died[run] = "after commit"
    _say(json.dumps(died))


def _die_in(url: str, run: str, number: int, what: str) -> None:
    """Begin a stream, then advance it, or charge the hour in which it advanced, killed at the n-th statement; 0: when it is done."""
    try:
        later = START + timedelta(hours=1)
        store = StateStore(url, clock=(lambda: later) if what == "charge" else clock)
        store.begin(stream(run))
        if what == "charge":
            store.advance(run, drained(run, 1))
        statements = 0

        def at_statement(*_: object) -> None:
            nonlocal statements
            statements += 1
            if statements == number:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(store._database.engine, "before_cursor_execute", at_statement)
        doing: Callable[[], object] = (
            (lambda: store.charge_hours(run, hour_price)) if what == "charge" else (lambda: store.advance(run, drained(run, 1)))
        )
        doing()
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 (a forked child must never return into the parent's loop)
        sys.stderr.write(f"{error!r}\n")
        os._exit(3)


def charge_streams(url: str) -> None:
    store = StateStore(url, clock=lambda: START + timedelta(days=1))
    _say("ready")
    for line in sys.stdin:
        _say(len(store.charge_hours(line.strip(), hour_price)))


def _say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def acquire(url: str, run: str) -> None:
    store = StateStore(url)
    _say("ready")
    for line in sys.stdin:
        try:
            store.acquire(line.strip(), run, ttl_seconds=60, holder=this_process())
            _say("won")
        except ActiveRunError as error:
            _say(error)


def finish(url: str) -> None:
    store = StateStore(url, clock=clock)
    _say("ready")
    for line in sys.stdin:
        _say(store.finish(line.strip(), outcome(line.strip())))


def open_store(url: str) -> None:
    _say("ready")
    sys.stdin.readline()
    _say(StateStore(url).id)


def hold(path: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    _say("ready")
    sys.stdin.read()


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"kill": kill, "acquire": acquire, "finish": finish, "open": open_store, "hold": hold}
    commands |= {"stream": kill_streams, "charge": charge_streams}
    commands[sys.argv[1]](*sys.argv[2:])
