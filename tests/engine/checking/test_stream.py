"""Rules over rows without an end: against plain Python, row by row, in the order in which they arrive.

The script of a stream is a list: a number is how far the watermark goes, a list of pairs is what arrives in one bundle, each a time and
the values of a batch. Beam's in-process runner plays no such script; its older runner does.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from apache_beam.transforms.window import FixedWindows, SlidingWindows

from beam_pipelines.engine.checking import remember
from beam_pipelines.quality import CheckRows
from tests.engine.checking.runs import Came, stream

SCHEMA = pa.schema([("id", pa.int64()), ("x", pa.string()), ("y", pa.int64())])
HORIZON = 160  # seconds, of which a slice is 10
SLICE = 10
HOUR = {"id": "once", "type": "unique", "field": "x", "horizon": f"{HORIZON}s"}
Script = list[Any]


def numbered(script: Script) -> Script:
    """Make batches of the values, with the number of each row as it arrives."""
    count = 0
    made: Script = []
    for event in script:
        if isinstance(event, list):
            batches = []
            for time, values in event:
                rows = [{"id": count + at, "x": value, "y": None if value is None else ord(value) % 2} for at, value in enumerate(values)]
                count += len(rows)
                batches.append((time, pa.RecordBatch.from_pylist(rows, SCHEMA)))
            made.append(batches)
        else:
            made.append(event)
    return made


def by_hand(script: Script, key: Any = lambda row: row["x"]) -> tuple[set[int], set[int]]:
    """Rows that violate, and those of which it cannot be told, of a rule with the horizon."""
    seen: dict[Any, int] = {}
    dues: set[int] = set()
    reached = None
    violated, unknown = set(), set()
    for event in numbered(script):
        if not isinstance(event, list):
            reached = max([due for due in dues if due <= event], default=reached)
            if reached is not None:
                seen = {value: last for value, last in seen.items() if last > reached - HORIZON}
            continue
        for time, batch in event:
            dues.add(-(-(time + HORIZON) // SLICE) * SLICE)
            for row in batch.to_pylist():
                value = key(row)
                if value is None:
                    continue
                if value in seen and seen[value] > time - HORIZON:
                    violated.add(row["id"])
                elif reached is not None and time < reached:
                    unknown.add(row["id"])
                seen[value] = max(time, seen.get(value, time))
    return violated, unknown


def everything(script: Script) -> list[int]:
    return list(range(sum(len(values) for event in script if isinstance(event, list) for _, values in event)))


def told(came: Came, script: Script, violated: set[int], unknown: set[int], nulls: int) -> None:
    assert came.ids("rejected") == sorted(violated)
    assert came.ids("valid") == sorted(set(everything(script)) - violated)
    evaluated = len(everything(script)) - nulls - len(unknown)
    assert came.summed("once") == {"evaluated": evaluated, "violated": len(violated), "notEvaluated": nulls + len(unknown)}


SCRIPTS: dict[str, tuple[Script, list[int], list[int]]] = {
    # Name: script, rows that violate, rows of which it cannot be told.
    "later rows, in one batch, one bundle, and later": ([[(0, "aba"), (1, "b")], 5, [(6, "ac")]], [2, 3, 4], []),
    "null is no key": ([[(0, [None, "a", None])], [(1, [None])]], [], []),
    "just within the horizon": ([[(0, "a")], [(159, "a")]], [1], []),
    "just at the horizon": ([[(0, "a")], [(160, "a")]], [], []),
    "at the horizon, forgotten": ([[(0, "a")], 160, [(160, "a")]], [], []),
    "within it, when another key is forgotten": ([[(0, "b"), (1, "a")], 160, [(160, "ab")]], [2], []),
    "a key that is seen again is remembered for longer": ([[(0, "a")], 100, [(100, "a")], 200, [(250, "a")]], [1, 2], []),
    "an early row does not shorten the memory": ([[(100, "a")], [(10, "a")], 200, [(255, "a")]], [1, 2], []),
    "a key that was forgotten is new": ([[(0, "a")], 500, [(500, "aa")]], [2], []),
    "what is out of order repeats what is newer": ([[(150, "a")], [(0, "a")]], [1], []),
    "late, and not known": ([[(0, "a")], 300, [(100, "b")]], [], [1]),
    "late, and known": ([[(0, "a"), (290, "b")], 300, [(100, "bc"), (300, "b")]], [2, 4], [3]),
    "late, and what may have been forgotten": ([[(0, "a")], 300, [(100, "a")]], [], [1]),
    "behind the watermark, but nothing is forgotten yet": ([[(100, "a")], 150, [(50, "ab")]], [1], []),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_said_of_a_row(name: str) -> None:
    script, violated, unknown = SCRIPTS[name]
    assert by_hand(script) == (set(violated), set(unknown))  # the oracle of the tests below
    nulls = sum(value is None for event in script if isinstance(event, list) for _, values in event for value in values)
    came = stream(numbered(script), CheckRows([HOUR], schema=SCHEMA, shards=2))
    told(came, script, set(violated), set(unknown), nulls)


def long_script(seed: int) -> Script:
    """Rows that come in disorder, some of them late, and a watermark that goes on."""
    chance = random.Random(seed)
    script: Script = []
    for now in range(0, 720, 60):
        arrived = []
        for _ in range(chance.randint(1, 3)):
            values = [chance.choice([None, *"abcdefghijklmnop"]) for _ in range(chance.randint(1, 5))]
            arrived.append((max(0, now + chance.choice([-300, -40, 0, 0, 20, 50])), values))
        script.append(arrived)
        script.append(now)
    return script


@pytest.mark.parametrize(("seed", "shards"), [(1, 1), (1, 16), (2, 2)])
def test_any_script_and_any_shards(seed: int, shards: int) -> None:
    script = long_script(seed)
    violated, unknown = by_hand(script)
    assert violated
    assert unknown
    nulls = sum(value is None for event in script if isinstance(event, list) for _, values in event for value in values)
    came = stream(numbered(script), CheckRows([HOUR], schema=SCHEMA, shards=shards))
    told(came, script, violated, unknown, nulls)


def test_bundles_and_batches_that_are_cut_otherwise() -> None:
    whole: Script = [[(0, "abcab"), (0, "ad")], 50, [(170, "abe"), (60, "ab")]]
    one_by_one: Script = []
    for event in whole:
        one_by_one += [[(time, value)] for time, values in event for value in values] if isinstance(event, list) else [event]
    came = [stream(numbered(script), CheckRows([HOUR], schema=SCHEMA)) for script in (whole, one_by_one)]
    assert by_hand(whole) == by_hand(one_by_one)
    for one in came:
        told(one, whole, *by_hand(whole), nulls=0)


def test_many_parts_of_the_memory_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remember, "_PARTS", 2)
    script: Script = [[(at, letter)] for at, letter in enumerate("abcdefaghbig")]
    came = stream(numbered(script), CheckRows([HOUR], schema=SCHEMA, shards=1))
    assert came.ids("rejected") == [6, 9, 11] == sorted(by_hand(script)[0])


def test_several_rules_are_told_together_with_those_of_each_row() -> None:
    script = long_script(4)
    rules = [
        HOUR,
        {"id": "pair", "type": "unique", "fields": ["y", "x"], "horizon": f"{HORIZON}s", "severity": "warning"},
        {"id": "parity", "type": "unique", "field": "y", "horizon": f"{HORIZON}s", "action": "log"},
        {"id": "there", "type": "required-fields", "fields": ["x"]},
        {"id": "known", "type": "foreign-key", "field": "x", "reference": {"table": "letters", "field": "x"}, "severity": "warning"},
    ]
    letters = pa.table({"x": list("abcdefgh")})
    came = stream(numbered(script), CheckRows(rules, schema=SCHEMA, references={"letters": letters}, shards=3))
    rows = {row["id"]: row for event in numbered(script) if isinstance(event, list) for _, batch in event for row in batch.to_pylist()}
    once, parity = by_hand(script)[0], by_hand(script, lambda row: row["y"])[0]
    strange = {row for row, values in rows.items() if values["x"] is not None and values["x"] > "h"}
    missing = {row for row, values in rows.items() if values["x"] is None}
    assert came.ids("rejected") == sorted(once | missing)
    assert sorted([*came.ids("valid"), *came.ids("rejected")]) == everything(script)
    expected = {"once": once, "pair": once, "parity": parity, "there": missing, "known": strange}
    assert Counter(violation["rule"] for violation in came.violations) == {rule: len(found) for rule, found in expected.items()}
    for row, _, _ in came.rejected:
        assert row["_rules"] == [rule for rule, found in expected.items() if row["id"] in found]
    for row, _, _ in came.valid:
        flags = [rule for rule in ("pair", "known") if row["id"] in expected[rule]]
        assert row["_dq"] == (flags or None)


WINDOWED: Script = [[(0, "aab"), (5, "b")], [(12, "a")], 11, [(8, "a"), (13, "ac")], 40, [(45, "a")]]


@pytest.mark.parametrize("shards", [1, 2, 16])
def test_in_windows_a_key_is_forgotten_with_its_window_and_late_rows_are_not_told(shards: int) -> None:
    # Of [0, 10) rows 0 to 3; row 5 is of it too, and comes when it has ended. Of [10, 20) rows 4, 6, 7. Of [40, 50) row 8.
    rule = {"id": "once", "type": "unique", "field": "x", "scope": "window"}
    came = stream(numbered(WINDOWED), CheckRows([rule], schema=SCHEMA, order="id", shards=shards), FixedWindows(10))
    told(came, WINDOWED, {1, 3, 6}, {5}, nulls=0)
    spans = {row["id"]: span for row, span, _ in [*came.valid, *came.rejected]}
    assert spans == {row: (0, 10) if row in (0, 1, 2, 3, 5) else (40, 50) if row == 8 else (10, 20) for row in range(9)}
    # What has waited has the last instant of its window as its time.
    assert {round(time, 3) for _, _, time in [*came.valid, *came.rejected]} == {9.999, 19.999, 49.999}


@pytest.mark.parametrize(("keep", "violated"), [("last", {0, 2, 4}), ("none", {0, 1, 2, 3, 4, 6})])
def test_in_windows_the_last_can_be_kept_or_none(keep: str, violated: set[int]) -> None:
    rule = {"id": "once", "type": "unique", "field": "x", "scope": "window", "keep": keep}
    came = stream(numbered(WINDOWED), CheckRows([rule], schema=SCHEMA, order="id"), FixedWindows(10))
    told(came, WINDOWED, violated, {5}, nulls=0)


def test_windows_that_overlap_are_each_told_of() -> None:
    script: Script = [[(1, "a"), (6, "b")], [(11, "ab")], 30]
    rule = {"id": "once", "type": "unique", "field": "x", "scope": "window"}
    came = stream(numbered(script), CheckRows([rule], schema=SCHEMA, order="id", shards=2), SlidingWindows(10, 5))
    # [-5, 5): 0. [0, 10): 0, 1. [5, 15): 1, 2, 3. [10, 20): 2, 3.
    assert sorted((span[0], row["id"]) for row, span, _ in came.rejected) == [(5, 3)]
    assert sorted((span[0], row["id"]) for row, span, _ in came.valid) == [(-5, 0), (0, 0), (0, 1), (5, 1), (5, 2), (10, 2), (10, 3)]


def test_a_horizon_reaches_over_windows_which_the_rows_are_in_again() -> None:
    script: Script = [[(5, "a")], 12, [(15, "ab")], [(8, "b")], 30]
    came = stream(numbered(script), CheckRows([HOUR], schema=SCHEMA, shards=2), FixedWindows(10))
    told(came, script, {1, 3}, set(), nulls=0)
    assert sorted((row["id"], span, time) for row, span, time in [*came.valid, *came.rejected]) == [
        (0, (0, 10), 5),
        (1, (10, 20), 15),
        (2, (10, 20), 15),
        (3, (0, 10), 8),
    ]


def test_rules_that_need_no_other_rows_let_batches_through_as_they_come() -> None:
    script: Script = [[(5, "ab")], 30, [(7, "a")]]
    rule = {"id": "once", "type": "in-set", "field": "x", "values": ["a"]}
    came = stream(numbered(script), CheckRows([rule], schema=SCHEMA, counts_every="20s"))
    told(came, script, {1}, set(), nulls=0)
    assert [(counts["window"]["start"][11:19], counts["late"], counts["total"]) for counts in came.counts] == [
        ("00:00:00", False, 2),
        ("00:00:00", True, 1),
    ]
