from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID

from beam_pipelines.state.event import Event, event_id


def test_an_event_is_a_cloud_event_with_the_seeds_name() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    event = Event(1, "i", "my etl/1", "r1", "ServiceResult.deliver", 7, noon, {"a": 1})
    assert event.to_json() == {
        "specversion": "1.0",
        "id": "i",
        "source": "/services/my%20etl%2F1",
        "subject": "runs/r1",
        "type": "ServiceResult.deliver",
        "time": "2026-03-01T11:00:00.000000+00:00",
        "sequence": "0000000007",
        "datacontenttype": "application/json",
        "data": {"a": 1},
    }


def test_an_event_id_is_the_same_on_every_try_and_no_two_are_alike() -> None:
    assert event_id("r1", "t", 1) == event_id("r1", "t", 1)
    assert UUID(event_id("r1", "t", 1)).version == 5
    assert len({event_id(run, kind, number) for run in ("r1", "r2") for kind in ("t", "u") for number in (1, 2)}) == 8
