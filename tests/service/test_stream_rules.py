"""Rules over streams end to end: which rows repeat a key that came before, drain after drain, held against plain Python."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.engine.live import kept_states
from beam_pipelines.errors import PlanError
from tests.service.conftest import Desk
from tests.service.test_stream import BEGIN, PARTITIONS, Topic, define, killed_soon, letters, results, servers, topic, window_step

__all__ = ["servers", "topic"]  # fixtures

pytestmark = pytest.mark.long

HORIZON = 20_000  # ms
LATE = 5_000
COLUMNS = {"user": "text", "value": "bigint", "timestamp": "bigint"}
ONCE = {"id": "once", "type": "unique", "fields": ["user", "value"], "horizon": f"{HORIZON}ms"}
Event = dict[str, Any]


def on_prism(desk: Desk, prism: Path) -> None:
    desk.options = ("--runner=PrismRunner", f"--prism_location={prism}")


def check_step(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "check", "type": "validate", "rules": list(rules), **more}


def send(topic: Topic, dice: random.Random, begin: int, seconds: int, each: int = 8) -> list[Event]:
    """Events of some seconds, up to 5 s late and one of 30 up to 60 s; few keys, which come again and again, and some without."""
    sent = []
    for second in range(seconds):
        for _ in range(each):
            back = dice.randrange(60_000) if dice.random() < 0.03 else dice.randrange(LATE)
            user = f"u{dice.randrange(6)}" if dice.random() < 0.95 else None
            at = begin + second * 1000 - back
            sent.append(topic.send(dice.randrange(PARTITIONS), at, user=user, value=dice.randrange(60)))
    topic.flush()
    return sent


class Oracle:
    """Which rows repeat a key, message by message; a drain reads its partitions one after the other."""

    def __init__(self) -> None:
        self.seen: dict[tuple[Any, Any], int] = {}
        self._newest: dict[int, int] = {}
        self.valid: list[Event] = []
        self.repeated: list[Event] = []

    def drain(self, events: list[Event]) -> list[Event]:
        """Read events; gives those that repeat none."""
        valid = []
        for event in sorted(events, key=lambda one: (one["partition"], one["offset"])):
            key = (event["user"], event["value"])
            self._newest[event["partition"]] = max(event["time"], self._newest.get(event["partition"], 0))
            before = self.seen.get(key) if event["user"] is not None else None
            again = before is not None and before > event["time"] - HORIZON
            (self.repeated if again else valid).append(event)
            if event["user"] is not None:
                self.seen[key] = max(event["time"], before or 0)
        self.valid += valid
        return valid

    def newest(self) -> int:
        """The greatest event time that all partitions have reached."""
        return min(self._newest.values())


def rejected(desk: Desk) -> list[tuple[int, int]]:
    return sorted((one["origin"]["partition"], one["origin"]["offset"]) for one in letters(desk) if one["code"] == "rule-violated")


def counts_of(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the rules came to in the last drain, by their ids."""
    (step,) = next(phase["transformations"] for phase in record["steps"] if phase["phase"] == "transform")
    return {rule["rule"]: rule for rule in step["rules"]}


def places(events: list[Event]) -> list[tuple[int, int]]:
    return sorted((one["partition"], one["offset"]) for one in events)


def rows(desk: Desk, table: str = "results") -> Counter[tuple[Any, ...]]:
    return Counter(desk.duckdb("target.duckdb", f'SELECT "user", value, "timestamp" FROM {table}'))


def as_rows(events: list[Event]) -> Counter[tuple[Any, ...]]:
    return Counter((one["user"], one["value"], one["time"]) for one in events)


def check_repeats(desk: Desk, topic: Topic, drains: int) -> None:
    """Run drains over events whose keys come again, and hold rows, dead letters and counts against the oracle."""
    mail = {"id": "named", "type": "required-fields", "fields": ["user"], "severity": "warning"}
    define(desk, topic, [check_step(mail, ONCE)], outOfOrderness=f"{LATE}ms", columns=COLUMNS)
    oracle, dice = Oracle(), random.Random(1)
    for drain in range(drains):
        sent, before = send(topic, dice, BEGIN + drain * 15_000, 15), len(oracle.repeated)
        oracle.drain(sent)
        record = desk.ran(until="latest")
        assert rows(desk) == as_rows(oracle.valid)
        assert rejected(desk) == places(oracle.repeated)
        counts = counts_of(record)
        assert counts["once"]["violated"] == len(oracle.repeated) - before
        assert counts["once"]["notEvaluated"] >= sum(one["user"] is None for one in sent) == counts["named"]["violated"]
    assert len(oracle.repeated) > 50
    # None is forgotten that may count yet, and few longer than that.
    watermark = oracle.newest() - LATE
    known = [sum(at + span > watermark for at in oracle.seen.values()) for span in (HORIZON, HORIZON * 9 // 8)]
    assert known[0] <= record["live"]["rememberedKeys"] <= known[1] < len(oracle.seen)


def test_a_value_that_comes_again_within_the_horizon_is_rejected_whichever_drain_reads_it(desk: Desk, topic: Topic) -> None:
    check_repeats(desk, topic, 4)


@pytest.mark.no_bundle  # none that Beam's in-process runner starts
def test_prism_tells_the_same_rows_that_repeat_a_value(desk: Desk, topic: Topic, prism: Path) -> None:
    on_prism(desk, prism)
    check_repeats(desk, topic, 3)


def check_references(desk: Desk, topic: Topic) -> None:
    """Let rows refer to a table, by rules of their own beside one of values that occur once."""
    desk.duckdb("side.duckdb", "CREATE TABLE users AS SELECT 'u' || i AS \"user\", i * 10 AS value FROM range(4) AS r(i)")
    desk.connect(side="duckdb:///side.duckdb")
    users = {"connection": "side", "table": "users"}
    rules = [
        {"id": "known", "type": "foreign-key", "field": "user", "reference": {**users, "field": "user"}},
        {"id": "both", "type": "foreign-key", "fields": ["user", "value"], "reference": {**users, "fields": ["user", "value"]}},
        ONCE,
    ]
    rules[1] |= {"severity": "warning", "action": "log"}
    define(desk, topic, [check_step(*rules, profile=True)], columns=COLUMNS)
    sent = [("u0", 0), ("u1", 10), ("u2", 10), ("u9", 10), (None, 10), ("u9", 10), ("u1", 10)]
    for place, (user, value) in enumerate(sent):
        topic.send(place % 2, BEGIN + place, user=user, value=value)
    topic.flush()
    record = desk.ran(until="latest")
    assert Counter(desk.duckdb("target.duckdb", 'SELECT "user", value FROM results')) == Counter(sent[:3] + sent[4:5])
    # Of those of u1 the one of partition 1 comes later, for a drain reads its partitions in their order.
    told = {(one["origin"]["partition"], one["origin"]["offset"]): re.findall(r"(\w+): expected", one["error"]) for one in letters(desk)}
    assert told == {(1, 0): ["once"], (1, 1): ["known", "both"], (1, 2): ["known", "both", "once"]}
    assert {rule: counts["violated"] for rule, counts in counts_of(record).items()} == {"known": 2, "both": 3, "once": 2}
    (step,) = next(phase["transformations"] for phase in record["steps"] if phase["phase"] == "transform")
    assert {column["name"]: column["nulls"] for column in step["quality"]["profile"]} == {"user": 1, "value": 0, "timestamp": 0}
    desk.duckdb("side.duckdb", "INSERT INTO users VALUES ('u9', 10)")
    topic.send(0, BEGIN + 100, user="u9", value=11)
    topic.flush()
    desk.ran(until="latest")
    assert desk.duckdb("target.duckdb", 'SELECT "user", value FROM results WHERE value = 11') == [("u9", 11)]


def test_rows_refer_to_a_table_as_it_is_when_a_drain_reads_them(desk: Desk, topic: Topic) -> None:
    check_references(desk, topic)


@pytest.mark.no_bundle
def test_on_prism_rows_refer_to_a_table(desk: Desk, topic: Topic, prism: Path) -> None:
    on_prism(desk, prism)
    check_references(desk, topic)


def test_a_value_occurs_once_in_each_window_that_is_summed_up_behind(desk: Desk, topic: Topic) -> None:
    once = {"id": "once", "type": "unique", "field": "value", "scope": "window"}
    step = window_step("tumbling", groupBy=["user"], allowedLateness="30s")
    define(desk, topic, [check_step(once), step], outOfOrderness="60s", columns=COLUMNS)
    dice, seen = random.Random(5), dict[tuple[int, int], str]()
    for drain in range(3):
        for _ in range(150):
            at, value, user = BEGIN + drain * 40_000 + dice.randrange(50_000), dice.randrange(80), f"u{dice.randrange(3)}"
            topic.send(0, at, user=user, value=value)
            seen.setdefault((at // 60_000, value), user)
        topic.flush()
        record = desk.ran(until="latest")
    assert record["live"]["rememberedKeys"] > 50
    topic.send(0, BEGIN + 3_600_000, user="last", value=-1)
    topic.flush()
    record = desk.ran(until="latest")
    got = {(row["windowStart"] // 60_000, row["user"]): (row["eventCount"], row["different"]) for row in results(desk)}
    counts = Counter((window, user) for (window, _), user in seen.items())
    assert got == {place: (count, count) for place, count in counts.items()}
    assert record["live"]["rememberedKeys"] == 1  # that of the last, whose window is open


def test_rules_of_several_steps_tell_rows_of_one_message_apart_and_go_on_in_other_shards(
    desk: Desk, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = {("check", "once"): HORIZON, ("check", "short"): 3_000, ("again", "once"): 1_000}
    once, short, again = ({"id": rule, "type": "unique", "horizon": f"{span}ms"} for (_, rule), span in spans.items())
    steps = [
        {"id": "each", "type": "explode", "field": "tags"},
        check_step({**once, "fields": ["user", "tags"]}, {**short, "field": "tags"}),
        {"id": "again", "type": "validate", "rules": [{**again, "field": "user"}]},
    ]
    define(desk, topic, steps, columns={"user": "text", "tags": "bigint[]", "timestamp": "bigint"}, outOfOrderness=f"{LATE}ms")
    dice, wanted, keys = random.Random(7), Counter[tuple[str, int]](), {place: dict[Any, int]() for place in spans}

    def repeats(step: str, rule: str, key: Any, at: int) -> bool:
        known, before = keys[step, rule], keys[step, rule].get(key)
        known[key] = max(at, before or 0)
        return before is not None and before > at - spans[step, rule]

    for drain in range(3):
        if drain == 2:
            monkeypatch.setattr(kept_states, "SHARDS", 17)  # another version has left what is known
        sent = []
        for number in range(80):
            tags, at = [dice.randrange(40) for _ in range(dice.randrange(4))], BEGIN + drain * 8_000 + number * 100 - dice.randrange(LATE)
            sent.append(topic.send(dice.randrange(PARTITIONS), at, user=f"u{dice.randrange(6)}", tags=tags))
        topic.flush()
        for event in sorted(sent, key=lambda one: (one["partition"], one["offset"])):
            user, at = event["user"], event["time"]
            told = [(repeats("check", "once", (user, tag), at), repeats("check", "short", tag, at)) for tag in event["tags"]]
            wanted[user, at] += sum(not repeats("again", "once", user, at) for violated in told if not any(violated))
        desk.ran(until="latest")
    got = Counter(desk.duckdb("target.duckdb", 'SELECT "user", "timestamp" FROM results'))
    assert got == +wanted
    assert got.total() > 25


def test_rows_of_which_nobody_knows_whether_they_repeat_one_go_on_and_are_counted(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [check_step(ONCE)], columns=COLUMNS)
    for second in (0, 1, 100):
        topic.send(0, BEGIN + second * 1000, user="u", value=second)
    topic.flush()
    desk.ran(until="latest")
    # 98 s too late, when what came before 79 s is forgotten: the first may repeat one, the second is seen to, the third cannot.
    for second, value in ((2, 7), (3, 7), (99, 8)):
        topic.send(0, BEGIN + second * 1000, user="u", value=value)
    topic.flush()
    record = desk.ran(until="latest")
    (counts,) = counts_of(record).values()
    assert (counts["violated"], counts["notEvaluated"]) == (1, 1)
    assert desk.duckdb("target.duckdb", "SELECT value FROM results ORDER BY 1") == [(0,), (1,), (7,), (8,), (100,)]


def test_a_stream_that_is_killed_again_and_again_tells_each_row_once(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [check_step(ONCE)], outOfOrderness=f"{LATE}ms", columns=COLUMNS)
    oracle, dice, killed, sent = Oracle(), random.Random(3), 0, list[Event]()
    for number in range(4):
        # One partition a key: which row comes first goes by the log alone, however drains cut it.
        for second in range(20):
            for _ in range(40):
                user, at = dice.randrange(6), BEGIN + (number * 20 + second) * 1000 - dice.randrange(LATE)
                sent.append(topic.send(user % PARTITIONS, at, user=f"u{user}", value=dice.randrange(200)))
        topic.flush()
        killed += killed_soon(desk, dice)
    assert killed
    desk.ran(until="latest")
    oracle.drain(sent)
    assert rows(desk) == as_rows(oracle.valid)
    assert rejected(desk) == places(oracle.repeated)


def test_a_rule_that_means_something_else_now_is_not_gone_on_with_unseen(desk: Desk, topic: Topic) -> None:
    define(desk, topic, [check_step(ONCE)], columns=COLUMNS)
    topic.send(0, BEGIN, user="u", value=1)
    topic.flush()
    desk.ran(until="latest")
    define(desk, topic, [check_step({**ONCE, "fields": ["value"]})], columns=COLUMNS)
    topic.send(0, BEGIN, user="v", value=1)
    topic.flush()
    failed = desk.run(until="latest")
    assert failed.exit_code != 0
    assert failed.execution.error_code == "fingerprint-changed"
    assert "'check'" in failed.execution.error
    assert "keys are remembered" in failed.execution.error
    desk.ran(until="latest", keep_watermark=True)
    assert rows(desk) == Counter([("u", 1, BEGIN), ("v", 1, BEGIN)])
    topic.send(0, BEGIN, user="w", value=1)
    topic.flush()
    desk.ran(until="latest")
    assert rejected(desk) == [(0, 2)]


def test_a_step_that_has_another_name_now_does_not_lose_what_it_has_left_unseen(desk: Desk, topic: Topic) -> None:
    """Nor do rules lose what is theirs when others come or go."""

    def drain(*steps: dict[str, Any], **run: Any) -> Any:
        define(desk, topic, list(steps), columns=COLUMNS)
        topic.send(0, BEGIN, user="u", value=1)
        topic.flush()
        return desk.run(until="latest", **run)

    assert drain(check_step(ONCE)).exit_code == 0
    with pytest.raises(PlanError, match="'check': give it back its name") as refused:
        drain({**check_step(ONCE), "id": "verify"})
    assert refused.value.code == "fingerprint-changed"
    other = {"id": "other", "type": "unique", "field": "value", "horizon": "1h"}
    assert drain(check_step(other, ONCE)).exit_code == 0  # of both messages it now tells that they repeat the first
    assert rejected(desk) == [(0, 1), (0, 2)]
    assert drain({**check_step(other), "id": "verify"}, keep_watermark=True).exit_code == 0
    assert rejected(desk) == [(0, 1), (0, 2)]
    assert rows(desk) == Counter({("u", 1, BEGIN): 2})


@pytest.mark.no_bundle
@pytest.mark.parametrize(
    ("steps", "path", "message"),
    [
        ([check_step({**ONCE, "horizon": None})], "[0].rules[0].horizon", "how long a value is remembered"),
        ([check_step({"id": "o", "type": "unique", "field": "user", "scope": "window"})], "[0].rules[0].scope", "tumbling windows"),
        (
            [check_step({"id": "o", "type": "unique", "field": "user", "scope": "window"}), window_step("session")],
            "[0].rules[0].scope",
            "tumbling windows",
        ),
        (
            [check_step({"id": "o", "type": "unique", "field": "user", "scope": "window", "keep": "none"}), window_step("tumbling")],
            "[0].rules[0].keep",
            "keep: first",
        ),
        ([window_step("tumbling"), check_step({**ONCE, "fields": ["n"]})], "[1].rules[0]", "stands behind the windows"),
    ],
)
def test_what_cannot_be_told_of_rows_without_an_end_is_refused(
    desk: Desk, topic: Topic, steps: list[dict[str, Any]], path: str, message: str
) -> None:
    topic.send(0, BEGIN, user="u", value=1)
    topic.flush()
    define(desk, topic, [json.loads(json.dumps(step)) for step in steps], columns=COLUMNS)
    with pytest.raises(PlanError) as refused:
        desk.run(until="latest")
    (problem,) = refused.value.problems
    assert problem.path == f"stream.processors{path}"
    assert message in problem.message
