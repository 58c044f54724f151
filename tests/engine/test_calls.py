"""What the bundles of a worker process share of an API, and what they do not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.engine import calls
from beam_pipelines.engine.job import Job
from beam_pipelines.runs.context import RunContext
from beam_pipelines.spec import Definition
from beam_pipelines.testing.api import Api, Reply, serving

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(lambda asked: Reply(body={"n": len(asked.target)})) as served:
        yield served
    calls.leave()


def job(**more: Any) -> Job:
    step = {"id": "s", "type": "enrich", "connection": "api", "request": {"path": "/{k}"}, "output": {"n": "bigint"}, **more}
    pipeline = {
        "source": {"type": "file", "path": "in.parquet"},
        "transformations": [step],
        "destination": {"type": "file", "path": "out.parquet"},
    }
    return Job.of(Definition.model_validate({"name": "A", "pipeline": pipeline}))


def bundle(whose: Job, folder: Path, api: Api, *keys: str, run: str = "r1") -> None:
    """What one bundle does: open the step, look some rows up, close it."""
    file = folder / "connections.yaml"
    file.write_text(json.dumps({"api": api.url}))
    (step,) = whose.steps()
    calls.reach(whose, [step], lambda: RunContext(run=run, started_at=NOW.isoformat(), connections=str(file)))
    rows = pa.RecordBatch.from_arrays([pa.array(keys, pa.string())], names=["k"])
    step.open(rows.schema, step.plan(rows.schema, None), NOW)
    try:
        (out,) = step.apply(rows).batches
        assert out.column("n").to_pylist() == [len(key) + 1 for key in keys]
    finally:
        step.close()


def test_the_next_bundle_of_a_run_knows_what_was_answered_and_the_next_run_does_not(api: Api, tmp_path: Path) -> None:
    bundle(job(), tmp_path, api, "a", "b")
    bundle(job(), tmp_path, api, "b", "c")
    assert api.targets == {"/a": 1, "/b": 1, "/c": 1}
    bundle(job(), tmp_path, api, "a", run="r2")
    assert api.targets["/a"] == 2


def test_nothing_is_left_of_an_api_that_no_bundle_uses(api: Api, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    bundle(job(), tmp_path, api, "a")
    assert [thread.name for thread in set(threading.enumerate()) - before if "async" in thread.name]
    calls.leave()
    assert [thread.name for thread in set(threading.enumerate()) - before if thread.name == "async functions"] == []
    bundle(job(), tmp_path, api, "a")
    assert api.targets == {"/a": 2}


@pytest.mark.parametrize(
    ("cache", "asked"), [({"size": 0}, {"/a": 2, "/b": 1}), ({"size": 1}, {"/a": 2, "/b": 1}), ({"ttl": "1h"}, {"/a": 1, "/b": 1})]
)
def test_a_cache_holds_no_more_than_it_may(api: Api, tmp_path: Path, cache: dict[str, Any], asked: dict[str, int]) -> None:
    for key in ("a", "b", "a"):
        bundle(job(cache=cache), tmp_path, api, key)
    assert api.targets == asked


def test_what_is_remembered_ends_with_its_time() -> None:
    (model,) = job(cache={"size": 7, "ttl": "90s"}).definition.steps
    memory: Any = calls._memory(model)  # type: ignore[arg-type]
    assert (memory.maxsize, memory.ttl) == (7, 90.0)


def test_what_is_remembered_takes_no_more_than_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_MEMORY", 100_000)
    (model,) = job(cache={"size": 100}).definition.steps
    memory: Any = calls._memory(model)  # type: ignore[arg-type]
    for number in range(50):
        memory[number] = {"n": ["x" * 10_000]}
    assert list(memory) == list(range(41, 50))
    memory["large"] = {"n": "x" * 1_000_000}
    assert list(memory) == ["large"]
    for number in range(200):
        memory[number] = {"n": number}
    assert len(memory) == 100
