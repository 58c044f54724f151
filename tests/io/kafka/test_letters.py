from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest

from beam_pipelines.columnar import dead
from tests.io.kafka.conftest import Drained, Topic

Make = Callable[..., Topic]
T0 = 1_700_000_000_000


def event(number: int, **more: Any) -> bytes:
    return json.dumps({"n": number, "timestamp": T0 + number, **more}).encode()


def written(got: Drained, max_cell_bytes: int = 32 << 20) -> dict[int, dict[str, Any]]:
    """The letters as the engine writes them: by offset."""
    found = {}
    for some in got.letters:
        count = some.batch.num_rows
        letters = dead.letters(
            some.batch,
            range(count),
            load="load",
            step="extract",
            codes=some.codes,
            messages=some.messages,
            at=dt.datetime.now(dt.timezone.utc),
            max_cell_bytes=max_cell_bytes,
        )
        for letter in letters.to_pylist():
            place = json.loads(letter["origin"])
            found[place["offset"]] = {**letter, "origin": place, "payload": json.loads(letter["payload"])}
    return found


POISON: list[tuple[bytes | None, str, str]] = [
    (b"not json", "row-invalid", "expected a JSON object"),
    (b"\xff\xfe{", "row-invalid", "no characters"),
    (None, "row-invalid", "got null"),
    (b'{"n": "one", "timestamp": 1}', "cast-failed", "column 'n'"),
    (b'{"n": 1}', "row-invalid", "column 'timestamp': expected the time of the event, got null"),
    (b'{"n": 1, "timestamp": null}', "row-invalid", "got null"),
    (b'{"n": 1, "timestamp": 884541340800000}', "row-invalid", "years 0001 to 9999"),  # of the year 30000
    (b'{"n": 1, "timestamp": -99999999999999999}', "row-invalid", "years 0001 to 9999"),
    (b'{"n": 1, "timestamp": "soon"}', "cast-failed", "column 'timestamp'"),
    (
        b'{"n": 1, "timestamp": 5, "x": "' + b"x" * 5_000 + b'"}',
        "cell-too-large",
        "maxCellBytes (5000 bytes): it has 5033 bytes",
    ),
]


@pytest.mark.parametrize("place", [0, 4, 9])
@pytest.mark.parametrize(("poison", "code", "why"), POISON)
def test_a_message_that_is_no_row_is_one_letter_and_nothing_else_is_lost(
    topic: Make, place: int, poison: bytes | None, code: str, why: str
) -> None:
    events = topic()
    values: list[bytes | None] = [event(number) for number in range(9)]
    values.insert(place, poison)
    events.put(*values, key=b"user-1")
    got = events.drain(events.source(max_cell_bytes=5_000))
    letters = written(got, 5_000)
    assert list(letters) == [place]
    letter = letters[place]
    assert letter["origin"] == {"source": events.name, "partition": 0, "offset": place}
    assert (letter["code"], why in letter["message"]) == (code, True), letter["message"]
    payload = letter["payload"]
    assert payload["key"] == "user-1"
    if poison is None:
        assert payload["value"] is None
    elif code == "cell-too-large":
        assert payload["value"] == {"$truncated": {"bytes": 5_033, "head": poison.decode()}}
    elif b"\xff" in poison:
        assert base64.b64decode(payload["valueBase64"]) == poison
    else:
        assert payload["value"] == poison.decode()
    assert [row["n"] for row in got.rows] == list(range(9))
    assert got.hidden("__bp_offset") == [at for at in range(10) if at != place]
    assert got.hidden("__bp_behind") == [None, *(T0 + number for number in range(8))]
    assert got.offsets.partitions[0].next == 10
    assert got.offsets.partitions[0].newest == T0 + 8


def test_many_letters_come_in_their_own_number_and_a_stream_of_nothing_else_goes_on(topic: Make) -> None:
    events = topic()
    events.put(event(1), *(b"none" if number % 3 else bytes([255, number % 250]) for number in range(3_000)), event(2))
    got = events.drain(events.source())
    letters = written(got)
    assert sorted(letters) == list(range(1, 3_001))
    assert max(some.batch.num_rows for some in got.letters) <= 1_000
    assert sum("valueBase64" in letter["payload"] for letter in letters.values()) == 1_000
    assert [row["n"] for row in got.rows] == [1, 2]
    assert got.offsets.partitions[0].next == 3_002


def test_bytes_of_a_letter_are_told_whole_and_keys_as_well(topic: Make) -> None:
    events = topic()
    events.put(event(1))
    events.put(b"\x00\xff", key=b"\xfe")
    events.put(b"none", key=b"\xfe")
    events.put(b"none", key=None)
    payloads = {offset: letter["payload"] for offset, letter in written(events.drain(events.source())).items()}
    assert payloads == {
        1: {"keyBase64": "/g==", "valueBase64": "AP8="},
        2: {"keyBase64": "/g==", "value": "none"},
        3: {"key": None, "value": "none"},
    }


def test_a_message_of_another_time_than_its_event_is_a_letter_where_it_would_stop_the_clock(topic: Make) -> None:
    events = topic()
    events.put(event(0), event(365 * 86_400_000), event(1), at=T0)
    got = events.drain(events.source())
    ((place, code, message, _),) = got.dead
    assert (place["offset"], code) == (1, "row-invalid")
    assert "maxAhead" in message
    assert got.offsets.partitions[0].newest == T0 + 1
