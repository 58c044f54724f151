from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from beam_pipelines.errors import ActiveRunError, FencedError
from beam_pipelines.state import StateStore, lease, this_process
from beam_pipelines.state.lease import EMBEDDED

ELSEWHERE = {"host": "other", "pid": 1234}


def test_one_run_holds_the_lease_and_the_error_says_who(store: StateStore) -> None:
    store.acquire("customers", "r1", ttl_seconds=60, holder=ELSEWHERE)
    with pytest.raises(ActiveRunError) as caught:
        store.acquire("customers", "r2", ttl_seconds=60, holder=this_process())
    said = str(caught.value)
    for part in ("'customers'", "run r1", "'other'", "process 1234", "since 2026-03-01T09:00:00", "until 2026-03-01T09:01:00"):
        assert part in said
    assert caught.value.exit_code == 4
    assert {"service": "customers", "run": "r1", "host": "other", "pid": 1234}.items() <= caught.value.details.items()


def test_services_do_not_stand_in_each_others_way(store: StateStore) -> None:
    store.acquire("a", "r1", ttl_seconds=60, holder=ELSEWHERE)
    store.acquire("b", "r2", ttl_seconds=60, holder=ELSEWHERE)


def test_a_released_lease_is_free(store: StateStore) -> None:
    lease = store.acquire("customers", "r1", ttl_seconds=60, holder=this_process())
    assert store.release(lease)
    assert store.acquire("customers", "r2", ttl_seconds=60, holder=this_process()).token == 2


def test_a_lease_that_ran_out_is_taken_over_and_its_run_is_told(store: StateStore, clock: Any) -> None:
    lease = store.acquire("customers", "r1", ttl_seconds=60, holder=ELSEWHERE)
    clock.pass_(seconds=60)
    store.acquire("customers", "r2", ttl_seconds=60, holder=this_process())
    with pytest.raises(FencedError, match=r"run r1 has lost the lease of service 'customers'.*run r2") as caught:
        store.renew(lease)
    assert caught.value.code == "fenced"
    assert not store.release(lease)
    with pytest.raises(ActiveRunError, match="run r2"):
        store.acquire("customers", "r3", ttl_seconds=60, holder=ELSEWHERE)


def test_renewing_prolongs_from_now(store: StateStore, clock: Any) -> None:
    lease = store.acquire("customers", "r1", ttl_seconds=60, holder=ELSEWHERE)
    clock.pass_(seconds=40)
    lease = store.renew(lease)
    assert (lease.until - clock.now).total_seconds() == 60
    clock.pass_(seconds=59)
    with pytest.raises(ActiveRunError):
        store.acquire("customers", "r2", ttl_seconds=60, holder=this_process())


def test_a_late_renewal_stands_while_nobody_took_the_lease(store: StateStore, clock: Any) -> None:
    lease = store.acquire("customers", "r1", ttl_seconds=60, holder=ELSEWHERE)
    clock.pass_(seconds=300)
    assert store.renew(lease).until > clock.now


def test_a_run_that_took_its_own_lease_again_fences_its_earlier_self(store: StateStore, clock: Any) -> None:
    first = store.acquire("customers", "r1", ttl_seconds=60, holder=ELSEWHERE)
    clock.pass_(seconds=60)
    second = store.acquire("customers", "r1", ttl_seconds=60, holder=ELSEWHERE)
    with pytest.raises(FencedError):
        store.renew(first)
    assert not store.release(first)
    assert store.release(second)


def test_a_given_back_lease_cannot_be_renewed(store: StateStore) -> None:
    lease = store.acquire("customers", "r1", ttl_seconds=60, holder=ELSEWHERE)
    store.release(lease)
    with pytest.raises(FencedError, match="it was given back"):
        store.renew(lease)


def test_the_lease_of_a_dead_process_of_this_host_is_taken_over_at_once(
    store: StateStore, store_url: str, child: Callable[..., Any], clock: Any
) -> None:
    one = child("acquire", store_url, "r1")
    assert one.hear() == "ready"
    one.say("customers")
    assert one.hear() == "won"
    with pytest.raises(ActiveRunError, match=f"process {one.pid}"):
        store.acquire("customers", "r2", ttl_seconds=60, holder=this_process())
    one.kill()
    assert store.acquire("customers", "r2", ttl_seconds=60, holder=this_process()).token == 2


def test_a_process_id_of_another_id_space_says_nothing(store: StateStore, child: Callable[..., Any]) -> None:
    gone = child("hold", ":memory:")
    gone.hear()
    gone.kill()
    mine = this_process()
    store.acquire("customers", "r1", ttl_seconds=60, holder={"host": mine["host"], "pid": gone.pid, "pidSpace": "another container"})
    with pytest.raises(ActiveRunError):
        store.acquire("customers", "r2", ttl_seconds=60, holder={**mine, "pidSpace": "this container"})


def test_a_dead_process_of_another_host_is_waited_for(store: StateStore, child: Callable[..., Any]) -> None:
    gone = child("hold", ":memory:")
    gone.hear()
    gone.kill()
    store.acquire("customers", "r1", ttl_seconds=60, holder={"host": "other", "pid": gone.pid})
    with pytest.raises(ActiveRunError):
        store.acquire("customers", "r2", ttl_seconds=60, holder=this_process())


def test_of_two_processes_that_acquire_at_once_one_wins(store_url: str, child: Callable[..., Any]) -> None:
    children = [child("acquire", store_url, f"r{number}") for number in range(2)]
    assert [one.hear() for one in children] == ["ready", "ready"]
    for number in range(20):
        for one in children:
            one.say(f"service-{number}")
        answers = sorted(one.hear() for one in children)
        assert answers[1] == "won"
        assert f"service 'service-{number}' is being run already" in answers[0]


def test_a_run_that_asks_again_has_its_lease_anew(store: StateStore, clock: Any) -> None:
    first = store.acquire("customers", "r1", ttl_seconds=60, holder=ELSEWHERE)
    clock.pass_(seconds=30)
    again = store.acquire("customers", "r1", ttl_seconds=60, holder=this_process())
    assert (again.token, again.until) == (2, clock.now + timedelta(seconds=60))
    assert not store.release(first)
    assert store.release(again)


def test_an_embedded_run_of_this_process_keeps_its_lease_until_its_pipeline_is_over(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pipeline may fail, and leave nobody to give the lease back."""
    embedded = {**this_process(), EMBEDDED: True}
    monkeypatch.setattr(lease, "at_work", {"r1"})
    store.acquire("customers", "r1", ttl_seconds=3600, holder=embedded)
    with pytest.raises(ActiveRunError, match="run r1"):
        store.acquire("customers", "r2", ttl_seconds=3600, holder=embedded)
    lease.at_work.clear()
    store.acquire("customers", "r2", ttl_seconds=3600, holder=this_process())
    # One that has a launcher is alive as long as its process.
    with pytest.raises(ActiveRunError):
        store.acquire("customers", "r3", ttl_seconds=3600, holder=embedded)


@pytest.mark.parametrize("other", [{"pid": os.getppid()}, {"host": "other"}, {"pidSpace": "boot/other"}])
def test_an_embedded_run_of_another_process_keeps_its_lease(store: StateStore, other: dict[str, Any]) -> None:
    store.acquire("customers", "r1", ttl_seconds=3600, holder={**this_process(), **other, EMBEDDED: True})
    with pytest.raises(ActiveRunError):
        store.acquire("customers", "r2", ttl_seconds=3600, holder=this_process())
