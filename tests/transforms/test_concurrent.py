"""Async functions of a user: how many rows are under way, in which order they come out, and what a row that fails costs."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import origin
from beam_pipelines.errors import FatalError, PlanError, TransientError
from beam_pipelines.functions import Functions
from beam_pipelines.spec.step.function import FunctionStep
from beam_pipelines.transforms.concurrent import Loop
from beam_pipelines.transforms.function import Function
from beam_pipelines.transforms.step import Applied, check_law

BATCH = pa.record_batch({"id": pa.array(range(1, 41), pa.int32())})
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
CODE = """
import asyncio
import threading
from beam_pipelines.errors import FatalError, TransientError

STATE = {"now": 0, "most": 0, "log": []}

async def counted(row):
    STATE["now"] += 1
    STATE["most"] = max(STATE["most"], STATE["now"])
    for _ in range(5 + row["id"] % 5):
        await asyncio.sleep(0)
    STATE["now"] -= 1
    return {"id": row["id"], "most": STATE["most"]}

async def meeting(row):
    # Goes on once four rows are here together: with fewer at a time it would never end.
    waiting = STATE.setdefault("waiting", [])
    if len(waiting) < 3:
        waiting.append(asyncio.get_running_loop().create_future())
        await waiting[-1]
    else:
        for one in waiting:
            one.set_result(None)
        waiting.clear()
    return {"id": row["id"]}

async def several(row):
    for number in range(row["id"] % 3):
        await asyncio.sleep(0)
        yield {"id": row["id"], "n": number}

async def picky(row):
    await asyncio.sleep(0)
    if row["id"] == 7:
        raise ValueError("seven")
    return None if row["id"] == 8 else {"id": row["id"] * 2}

async def again(row):
    if row["id"] == 5:
        raise TransientError("the service is away")
    return row

async def cancels(row):
    if row["id"] == 3:
        raise asyncio.CancelledError("mine")
    return {"id": row["id"]}

class Odd(BaseException):
    pass

async def odd(row):
    if row["id"] == 3:
        raise Odd("odd")
    return {"id": row["id"]}

async def gives_up(row):
    if row["id"] == 5:
        asyncio.current_task().cancel()
    return {"id": row["id"]}

async def ends_the_loop(row):
    async def out():
        raise SystemExit(3)
    if row["id"] == 5:
        task = asyncio.get_running_loop().create_task(out())
        await asyncio.sleep(30)
    return {"id": row["id"]}

async def stops_the_loop(row):
    asyncio.get_running_loop().stop()
    await asyncio.sleep(30)

async def blocks(row):
    if row["id"] == 1:
        asyncio.get_running_loop().run_in_executor(None, STATE.setdefault("free", threading.Event()).wait)
    return {"id": row["id"]}

class Exits:
    async def __aenter__(self):
        raise SystemExit("no API key")

    async def __call__(self, row):
        return row

class Torn:
    async def __aexit__(self, *error):
        raise OSError("the socket is torn")

    async def __call__(self, row):
        return {"id": row["id"]}

async def leaves(row):
    raise SystemExit(0)

async def doubled(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    return batch

def plain(row):
    return row

class Client:
    async def __aenter__(self):
        STATE["log"].append("entered")
        self.loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *error):
        STATE["log"].append("left")

    async def __call__(self, row):
        assert asyncio.get_running_loop() is self.loop
        return {"id": row["id"]}

class Broken:
    async def __aenter__(self):
        raise OSError("no such host")

    async def __call__(self, row):
        return row
"""


@pytest.fixture
def applied(tmp_path: Path) -> Iterator[Callable[..., Applied]]:
    (tmp_path / "functions.py").write_text(dedent(CODE))
    steps: list[Function] = []

    def apply(name: str, output: dict[str, str], batch: pa.RecordBatch = BATCH, **more: Any) -> Applied:
        step = Function(FunctionStep(id=name, output=output, **more), Functions(tmp_path), "p")
        steps.append(step)
        step.open(batch.schema, step.plan(batch.schema, None), NOW)
        found = step.apply(origin.attach(batch, "people", key=["id"]))
        step.close()
        check_law(name, batch.num_rows, found)
        return found

    yield apply
    for step in steps:
        step.close()


def rows(found: Applied) -> list[dict[str, Any]]:
    return [row for batch in found.batches for row in origin.visible(batch).to_pylist()]


@pytest.mark.parametrize(("given", "most"), [({}, 16), ({"concurrency": 3}, 3), ({"concurrency": 1}, 1)])
def test_as_many_rows_are_under_way_as_the_step_says_and_they_keep_their_order(
    applied: Callable[..., Applied], given: dict[str, int], most: int
) -> None:
    found = rows(applied("counted", {"id": "integer", "most": "integer"}, **given))

    assert [row["id"] for row in found] == list(range(1, 41))
    assert max(row["most"] for row in found) == most


def test_rows_that_wait_for_one_another_meet(applied: Callable[..., Applied]) -> None:
    assert len(rows(applied("meeting", {"id": "integer"}, concurrency=4))) == 40


def test_an_async_generator_makes_several_rows_of_one(applied: Callable[..., Applied]) -> None:
    found = applied("several", {"id": "integer", "n": "integer"})

    assert rows(found) == [{"id": i, "n": n} for i in range(1, 41) for n in range(i % 3)]
    assert found.filtered == 13  # 3, 6 ... 39


def test_an_exception_in_one_row_costs_that_row(applied: Callable[..., Applied]) -> None:
    found = applied("picky", {"id": "integer"})

    assert [row["id"] for row in rows(found)] == [i * 2 for i in range(1, 41) if i not in (7, 8)]
    assert found.filtered == 1
    (dead,) = found.dead
    assert dead.rows == [6]
    assert dead.codes == ["function-failed"]
    assert "ValueError" in dead.messages[0]


@pytest.mark.parametrize(("name", "row"), [("cancels", 2), ("odd", 2), ("gives_up", 4)])
def test_what_is_no_ordinary_exception_costs_its_row_too(applied: Callable[..., Applied], name: str, row: int) -> None:
    found = applied(name, {"id": "integer"})

    assert len(rows(found)) == 39
    assert [dead.rows for dead in found.dead] == [[row]]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("name", "why"), [("ends_the_loop", "raised SystemExit in a task of its own"), ("stops_the_loop", "stopped")])
def test_code_that_ends_the_event_loop_stops_the_run_at_once(applied: Callable[..., Applied], name: str, why: str) -> None:
    with pytest.raises(FatalError, match=why):
        applied(name, {"id": "integer"})


@pytest.mark.timeout(20)
def test_a_thread_that_does_not_end_is_left_behind(applied: Callable[..., Applied], tmp_path: Path) -> None:
    found = applied("blocks", {"id": "integer"})

    free = sys.modules[Functions(tmp_path).find("blocks").code.__module__].STATE["free"]
    assert len(rows(found)) == 40
    assert not free.is_set()
    free.set()


def test_what_is_not_about_a_row_is_raised(applied: Callable[..., Applied]) -> None:
    with pytest.raises(TransientError, match="the service is away"):
        applied("again", {"id": "integer"})
    with pytest.raises(FatalError, match="wanted to end the process"):
        applied("leaves", {"id": "integer"})


def test_a_class_is_entered_and_left_in_the_loop_that_its_calls_run_in(applied: Callable[..., Applied], tmp_path: Path) -> None:
    found = applied("client", {"id": "integer"}, handler="functions:Client")

    module = sys.modules[Functions(tmp_path).find("client", "functions:Client").code.__module__]
    assert len(rows(found)) == 40
    assert module.STATE["log"] == ["entered", "left"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("Broken", "cannot be set up: OSError: no such host"),
        ("Exits", "cannot be set up: SystemExit: no API key"),
        ("Torn", "cannot be left: OSError: the socket is torn"),
    ],
)
def test_a_set_up_or_an_end_that_fails_stops_the_run(applied: Callable[..., Applied], code: str, why: str) -> None:
    with pytest.raises(FatalError, match=why):
        applied(code.lower(), {"id": "integer"}, handler=f"functions:{code}")


def test_it_works_in_a_thread_that_has_a_loop_of_its_own(applied: Callable[..., Applied]) -> None:
    async def notebook() -> Applied:
        return applied("picky", {"id": "integer"})

    assert len(rows(asyncio.run(notebook()))) == 38


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [("plain", {"concurrency": 4}, "is not async"), ("doubled", {}, "is async and takes batches")],
)
def test_what_cannot_be_is_refused_before_the_run(applied: Callable[..., Applied], name: str, more: dict[str, int], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        applied(name, {"id": "integer"}, **more)


def test_a_loop_that_closes_lets_what_was_under_way_clear_up() -> None:
    begun, cleared = threading.Event(), []

    async def under_way() -> None:
        begun.set()
        try:
            await asyncio.sleep(100)
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            cleared.append(True)

    loop = Loop("a step")
    asyncio.run_coroutine_threadsafe(under_way(), loop._loop)
    assert begun.wait(10)
    loop.close()
    assert cleared == [True]
