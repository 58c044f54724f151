"""`python -m benchmarks.enrich`: rows a second that a lookup at an HTTP API on this machine takes, and Beam's RequestResponseIO beside it.

The server is a process of its own, and answers at once; so this is what the client costs, not what a network takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa


def _serve(port: Any) -> None:
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"name": request.match_info["key"], "size": 3})

    application = web.Application()
    application.router.add_get("/v1/{key}", answer)
    runner = web.AppRunner(application, access_log=None)

    async def run() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def serving() -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    port: Any = context.Queue()
    process = context.Process(target=_serve, args=(port,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get(timeout=60)}"
    finally:
        process.terminate()
        process.join()


def timed(rows: int, work: Callable[[], None]) -> str:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    return f"{rows / seconds:>10,.0f} rows/s  {used / rows * 1e6:>8,.1f} us CPU a row"


def ours(url: str, rows: int, concurrency: int) -> tuple[str, str]:
    from beam_pipelines.engine import calls
    from beam_pipelines.engine.job import Job
    from beam_pipelines.runs.context import RunContext
    from beam_pipelines.spec import Definition

    step = {
        "id": "company",
        "type": "enrich",
        "connection": "api",
        "request": {"path": "/v1/{key}"},
        "output": {"name": "text", "size": "bigint"},
        "concurrency": concurrency,
        "cache": {"size": rows},
    }
    pipeline = {
        "source": {"type": "file", "path": "in.parquet"},
        "transformations": [step],
        "destination": {"type": "file", "path": "out.parquet"},
    }
    batch = pa.RecordBatch.from_pydict({"key": [f"k{number}" for number in range(rows)]})
    with tempfile.TemporaryDirectory() as folder:
        connections = Path(folder) / "connections.yaml"
        connections.write_text(json.dumps({"api": url}))
        now = datetime.now(timezone.utc)
        context = RunContext(run="bench", started_at=now.isoformat(), connections=str(connections))
        job = Job.of(Definition.model_validate({"name": "Bench", "pipeline": pipeline}), Path(folder))
        (asking,) = job.steps()
        calls.reach(job, [asking], lambda: context)
        asking.open(batch.schema, asking.plan(batch.schema, None), now)

        def apply() -> None:
            applied = asking.apply(batch)
            assert (applied.rows_out, applied.rows_dead) == (rows, 0), applied.dead

        found = timed(rows, apply), timed(rows, apply)
        asking.close()
        calls.leave()
        return found


def beams(url: str, rows: int) -> str:
    import apache_beam as beam
    import urllib3
    from apache_beam.io.requestresponse import Caller, RequestResponseIO

    class Asks(Caller[str, Any]):
        def __enter__(self) -> Asks:
            self._pool = urllib3.PoolManager()
            return self

        def __exit__(self, *error: object) -> None:
            self._pool.clear()

        def __call__(self, key: str, *args: Any, **named: Any) -> Any:  # noqa: ARG002 (Beam's)
            return json.loads(self._pool.request("GET", f"{url}/v1/{key}").data)

    def run() -> None:
        with beam.Pipeline(runner="DirectRunner") as pipeline:
            keys = pipeline | beam.Create([f"k{number}" for number in range(rows)])
            keys | RequestResponseIO(Asks()) | beam.combiners.Count.Globally()

    return timed(rows, run)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.enrich", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="rows, each with a key of its own (default: 10,000)")
    parser.add_argument("--concurrency", type=int, default=16, help="calls under way at one time (default: 16)")
    arguments = parser.parse_args()
    with serving() as url:
        asked, remembered = ours(url, arguments.rows, arguments.concurrency)
        print(f"asked, {arguments.concurrency} at a time  {asked}")
        print(f"remembered           {remembered}")
        print(f"RequestResponseIO    {beams(url, arguments.rows)}")


if __name__ == "__main__":
    main()
