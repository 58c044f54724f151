"""Clock hours of streams: each is charged once, whatever dies and whoever races, and no event is lost or paid twice."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from beam_pipelines.errors import FatalError
from beam_pipelines.state import Advance, Execution, Metrics, Outcome, StateStore, Watermark
from beam_pipelines.state.hours import hour_key

HOUR = timedelta(hours=1)


def begin(store: StateStore, clock: Any, run: str, service: str = "clicks", **more: Any) -> None:
    store.begin(Execution(service, run, clock.now, name="Clicks", kind="stream", **more))


def drained(generation: int, events: int, at: datetime, service: str = "clicks") -> Advance:
    watermark = Watermark(service, "w", None, "f", generation, f"d{generation}")
    return Advance(f"d{generation}", generation, "w", at, Metrics(records_extracted=events), (), (), watermark, events)


def told(store: StateStore, service: str = "clicks") -> list[tuple[int, int, str | None]]:
    return [(one.hour.hour, one.events, None if one.amount is None else str(one.amount)) for one in store.hours(service)]


def test_an_hour_is_charged_when_it_has_passed_and_not_again(store: StateStore, clock: Any, processes: ModuleType) -> None:
    begin(store, clock, "r1", customer="c-9", request="q-7")
    store.touch_hour("r1")
    store.advance("r1", drained(1, 130, clock.now))
    clock.pass_(minutes=59, seconds=59)
    assert store.charge_hours("clicks", processes.hour_price) == []
    clock.pass_(seconds=1)
    (settled,) = store.charge_hours("clicks", processes.hour_price)
    assert (settled.hour, settled.events, settled.amount, settled.run) == (processes.START, 130, Decimal("1.80"), "r1")
    assert store.charge_hours("clicks", processes.hour_price) == []
    (charge,) = store.charges("clicks")
    version = processes.hour_price(clock.now, 0).price_version
    assert charge.key == settled.charge == hour_key("clicks", processes.START, version)
    assert (charge.run, charge.customer, charge.request, charge.amount) == ("r1", "c-9", "q-7", Decimal("1.80"))
    (payment,) = store.events(type="Payment.charge")
    assert payment.data == {
        "customerId": "c-9",
        "amount": "1.80",
        "currency": "USD",
        "description": "Stream Pipeline - hour 2026-03-01T09Z, 130 events processed",
    }


def test_a_stream_pays_for_hours_without_a_message_and_not_for_those_in_which_it_did_not_run(
    store: StateStore, clock: Any, processes: ModuleType
) -> None:
    begin(store, clock, "r1")
    for _ in range(70):  # a heartbeat a minute: into the next hour
        store.touch_hour("r1")
        clock.pass_(minutes=1)
    store.finish("r1", Outcome("success"))
    store.touch_hour("r1")  # a heartbeat that came late
    clock.pass_(hours=3)
    store.touch_hour("r1")
    begin(store, clock, "r2")
    store.touch_hour("r2")
    clock.pass_(hours=1)
    assert [(one.hour.hour, one.run) for one in store.charge_hours("clicks", processes.hour_price)] == [(9, "r1"), (10, "r1"), (13, "r2")]
    assert told(store) == [(9, 0, "1.50"), (10, 0, "1.50"), (13, 0, "1.50")]


def test_two_executions_in_one_hour_pay_for_it_once(store: StateStore, clock: Any, processes: ModuleType) -> None:
    for number in (1, 2):
        begin(store, clock, f"r{number}", customer=f"c{number}")
        store.touch_hour(f"r{number}")
        store.advance(f"r{number}", drained(number, 60, clock.now))
        store.finish(f"r{number}", Outcome("success"))
        clock.pass_(minutes=10)
    clock.pass_(hours=1)
    store.charge_hours("clicks", processes.hour_price)
    assert [(one.run, one.customer, str(one.amount)) for one in store.charges()] == [("r1", "c1", "1.70")]


def test_an_execution_shows_its_hours_and_their_sum(store: StateStore, clock: Any, processes: ModuleType) -> None:
    begin(store, clock, "r1")
    for generation in range(1, 4):
        store.advance("r1", drained(generation, 99 * generation, clock.now))
        clock.pass_(hours=1)
    store.charge_hours("clicks", processes.hour_price)
    store.touch_hour("r1")
    found = store.execution("r1")
    assert found
    record = found.to_json()
    assert record["charge"] == {"amount": "7.45", "currency": "USD", "description": "3 hours"}  # 1.50 + 2.48 + 3.47
    assert record["charges"] == [
        {"hour": f"2026-03-01T{hour:02}:00:00.000000+00:00", "events": events, "amount": amount, "currency": "USD"}
        for hour, events, amount in ((9, 99, "1.50"), (10, 198, "2.48"), (11, 297, "3.47"))
    ]
    (listed,) = store.executions()
    assert (listed.charge, "charges" in listed.to_json()) == (record["charge"], False)
    store.finish("r1", Outcome("success"))
    ended = store.execution("r1")
    assert ended
    assert (ended.charge, ended.charges) == (found.charge, found.charges)


def test_what_is_told_after_its_hour_was_charged_counts_into_the_next_that_is_not(
    store: StateStore, clock: Any, processes: ModuleType
) -> None:
    begin(store, clock, "r1")
    committed = clock.now
    for _ in range(3):
        store.touch_hour("r1")
        clock.pass_(hours=1)
    store.charge_hours("clicks", processes.hour_price)
    store.touch_hour("r1")
    assert store.advance("r1", drained(1, 7, committed))
    assert told(store) == [(9, 0, "1.50"), (10, 0, "1.50"), (11, 0, "1.50"), (12, 7, None)]


def test_what_is_told_late_when_no_hour_is_open_counts_into_that_in_which_it_is_told(
    store: StateStore, clock: Any, processes: ModuleType
) -> None:
    begin(store, clock, "r1")
    store.touch_hour("r1")
    committed = clock.now
    clock.pass_(hours=2)
    store.charge_hours("clicks", processes.hour_price)
    clock.pass_(hours=3)
    store.advance("r1", drained(1, 0, committed))  # nothing to count opens no hour
    assert told(store) == [(9, 0, "1.50")]
    store.advance("r1", drained(2, 7, committed))
    assert told(store) == [(9, 0, "1.50"), (14, 7, None)]


def test_a_clock_that_went_back_charges_no_hour_twice(store: StateStore, clock: Any, processes: ModuleType) -> None:
    begin(store, clock, "r1")
    store.touch_hour("r1")
    clock.pass_(hours=1)
    store.charge_hours("clicks", processes.hour_price)
    clock.pass_(hours=-1)
    store.touch_hour("r1")
    store.advance("r1", drained(1, 7, clock.now))
    assert told(store) == [(9, 0, "1.50"), (10, 7, None)]


def test_hours_without_a_price_are_settled_so_that_a_later_price_does_not_reach_back(
    store: StateStore, clock: Any, processes: ModuleType
) -> None:
    begin(store, clock, "r1")
    store.advance("r1", drained(1, 7, clock.now))
    clock.pass_(hours=1)
    (settled,) = store.charge_hours("clicks", lambda *_: None)
    assert (settled.charge, settled.amount, settled.charged_at) == (None, None, clock.now)
    store.touch_hour("r1")
    clock.pass_(hours=1)
    assert [one.hour.hour for one in store.charge_hours("clicks", processes.hour_price)] == [10]
    found = store.execution("r1")
    assert found
    assert [one["amount"] for one in found.to_json()["charges"]] == ["1.50"]
    assert found.to_json()["charge"]["description"] == "1 hour"


def test_a_price_that_fails_leaves_the_hour_to_be_charged(store: StateStore, clock: Any, processes: ModuleType) -> None:
    def fails(hour: datetime, events: int) -> Any:
        raise FatalError("no price")

    begin(store, clock, "r1")
    store.touch_hour("r1")
    clock.pass_(hours=1)
    with pytest.raises(FatalError, match="no price"):
        store.charge_hours("clicks", fails)
    assert told(store) == [(9, 0, None)]
    assert len(store.charge_hours("clicks", processes.hour_price)) == 1


# Whatever happens, in any order.


@dataclass
class Books:
    """What is owed, kept by hand: the plain model that the store is held against."""

    events: dict[datetime, int] = field(default_factory=dict)
    charged: dict[datetime, int] = field(default_factory=dict)

    def run_in(self, at: datetime) -> datetime:
        hour = at.replace(minute=0, second=0, microsecond=0)
        if hour not in self.charged:
            self.events.setdefault(hour, 0)
        return hour

    def commit(self, at: datetime, now: datetime, events: int) -> None:
        hour = self.run_in(at)
        if hour in self.charged and events:
            hour = min((one for one in self.events if one > hour), default=now.replace(minute=0, second=0, microsecond=0))
        if hour not in self.charged:
            self.events[hour] = self.events.get(hour, 0) + events

    def charge(self, now: datetime) -> list[datetime]:
        due = sorted(hour for hour in self.events if hour + HOUR <= now)
        for hour in due:
            self.charged[hour] = self.events.pop(hour)
        return due


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(1, 100)),
        st.tuples(st.just("touch"), st.just(0)),
        st.tuples(st.just("commit"), st.integers(0, 300)),
        st.tuples(st.just("commit-and-die"), st.integers(1, 300)),
        st.tuples(st.just("charge"), st.just(0)),
        st.tuples(st.just("restart"), st.integers(0, 150)),
    ),
    max_size=25,
)


class DeadError(Exception):
    """The process is gone."""


def interrupted(store: StateStore, at: int, do: Callable[[], object]) -> None:
    """Do something that dies at one of its statements, or when it is done if it has fewer."""
    count = 0

    def dies(*_: object) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise DeadError

    event.listen(store._database.engine, "before_cursor_execute", dies)
    try:
        do()
    except DeadError:
        pass
    finally:
        event.remove(store._database.engine, "before_cursor_execute", dies)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(actions=ACTIONS, deaths=st.lists(st.integers(1, 30), min_size=25, max_size=25))
def test_each_hour_is_charged_once_and_the_events_add_up(
    store: StateStore, clock: Any, processes: ModuleType, actions: list[tuple[str, int]], deaths: list[int]
) -> None:
    service, books = uuid.uuid4().hex, Books()  # a service of its own: one store serves all examples
    clock.now = processes.START
    run, generation = f"{service}-0", 0
    untold: list[Advance] = []  # committed by a process that died before it told
    begin(store, clock, run, service)
    for number, (action, size) in enumerate(actions):
        if action == "pass":
            clock.pass_(minutes=size)
        elif action == "touch":
            interrupted(store, deaths[number], lambda run=run: store.touch_hour(run))
            store.touch_hour(run)
            books.run_in(clock.now)
        elif action.startswith("commit"):
            generation += 1
            untold.append(drained(generation, size, clock.now, service))
        elif action == "charge":
            interrupted(store, deaths[number], lambda: store.charge_hours(service, processes.hour_price))
            store.charge_hours(service, processes.hour_price)
            books.charge(clock.now)
        if action == "restart":
            clock.pass_(minutes=size)
        if action != "commit-and-die" and action != "pass" and action != "charge":
            for one in untold:  # in the order of their generations, as the ledger has them
                interrupted(store, deaths[number], lambda one=one, run=run: store.advance(run, one))
                store.advance(run, one)
                assert store.advance(run, one) is False
                books.commit(one.committed_at, clock.now, one.events)
            untold = []
        if action == "restart":
            store.finish(run, Outcome("lost"))
            run = f"{service}-{number + 1}"
            begin(store, clock, run, service)
            store.touch_hour(run)
            books.run_in(clock.now)
        expected = {**books.charged, **books.events}
        assert {one.hour: one.events for one in store.hours(service)} == expected
    clock.pass_(hours=200)
    store.charge_hours(service, processes.hour_price)
    books.charge(clock.now)
    charges = store.charges(service)
    owed = {hour: Decimal("1.50") + max(0, events - 100) * Decimal("0.01") for hour, events in books.charged.items()}
    assert {one.hour: one.amount for one in store.hours(service)} == owed
    assert Counter(one.description for one in charges) == Counter(
        f"Stream Pipeline - hour {hour:%Y-%m-%dT%H}Z, {events} events processed" for hour, events in books.charged.items()
    )
    assert len(store.events(service, type="Payment.charge")) == len(charges) == len(owed)
    assert sum(books.charged.values()) == sum(one.metrics.records_extracted for one in store.executions(service))
    told_of = [one.charge for one in store.executions(service) if one.charge]
    assert sum((Decimal(one["amount"]) for one in told_of), Decimal(0)) == sum(owed.values(), Decimal(0))


# Processes.


def trace(store: StateStore, run: str) -> dict[str, Any]:
    """All that a stream has in the store; run and service have the same name here."""
    found = store.execution(run)
    assert found
    return {
        "record": (found.metrics.records_extracted, found.live and found.live["late"], found.charge, found.watermark),
        "steps": [step.phase for step in found.steps],
        "failures": [(one.position, one.count) for one in store.failed_records(run=run)],
        "watermarks": [one.generation for one in store.watermarks(run)],
        "hours": [(one.events, one.amount) for one in store.hours(run)],
        "alerts": sorted(one.message for one in store.alerts(run)),
        "charges": [one.amount for one in store.charges(run)],
        "events": [(one.sequence, one.type) for one in store.events(run=run)],
    }


@pytest.mark.parametrize("what", ["advance", "charge"])
def test_a_process_killed_at_any_statement_leaves_all_or_nothing(
    store_url: str, open_store: Callable[..., StateStore], child: Callable[..., Any], processes: ModuleType, what: str
) -> None:
    died = json.loads(child("stream", store_url, what).end())
    later = processes.START + HOUR
    store = open_store(store_url, clock=(lambda: later) if what == "charge" else processes.clock)
    act: Callable[[str], object] = (
        (lambda run: store.charge_hours(run, processes.hour_price))
        if what == "charge"
        else (lambda run: store.advance(run, processes.drained(run, 1)))
    )
    store.begin(processes.stream("model"))
    if what == "charge":
        store.advance("model", processes.drained("model", 1))
    before = trace(store, "model")
    assert act("model")
    after = trace(store, "model")
    assert before != after
    assert len(died) >= 9
    done = False
    for run, point in died.items():
        found = trace(store, run)
        assert found == after if done or point == "after commit" else found in (before, after), point
        done = found == after  # what charges looks for the next hour when it has settled one
        assert bool(act(run)) is not done, point
        assert not act(run), point
        assert trace(store, run) == after, point


def test_of_two_processes_that_charge_at_once_each_hour_is_one_ones(
    store_url: str, open_store: Callable[..., StateStore], child: Callable[..., Any], processes: ModuleType, clock: Any
) -> None:
    store = open_store(store_url, clock=clock)
    children = [child("charge", store_url) for _ in range(2)]
    assert [one.hear() for one in children] == ["ready", "ready"]
    for number in range(5):
        service = f"clicks-{number}"
        clock.now = processes.START
        begin(store, clock, f"run-{number}", service)
        for _ in range(6):
            store.touch_hour(f"run-{number}")
            clock.pass_(hours=1)
        for one in children:
            one.say(service)
        assert sum(int(one.hear()) for one in children) == 6
        assert [str(one.amount) for one in store.charges(service)] == ["1.50"] * 6
        assert len(store.events(service, type="Payment.charge")) == 6
