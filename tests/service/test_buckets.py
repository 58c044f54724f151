"""Buckets of S3 and of Google Cloud Storage as sources and destinations of services, on real servers."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.testing.buckets import BucketServer, Proxy
from beam_pipelines.testing.commands import carry_out

pytestmark = pytest.mark.long

Desk = Any


def parquet(first: int, last: int) -> bytes:
    made = io.BytesIO()
    pq.write_table(pa.table({"id": range(first, last), "name": [f"n{i}" for i in range(first, last)]}), made, row_group_size=50)
    return made.getvalue()


def csv(first: int, last: int) -> bytes:
    return ("id,name\n" + "".join(f"{i},n{i}\n" for i in range(first, last))).encode()


def jsonl(first: int, last: int) -> bytes:
    return gzip.compress("".join(json.dumps({"id": i, "name": f"n{i}"}) + "\n" for i in range(first, last)).encode())


def array(first: int, last: int) -> bytes:
    return json.dumps([{"id": i, "name": f"n{i}"} for i in range(first, last)]).encode()


def avro(first: int, last: int) -> bytes:
    made = io.BytesIO()
    fields = [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]
    rows = [{"id": i, "name": f"n{i}"} for i in range(first, last)]
    fastavro.writer(made, {"type": "record", "name": "person", "fields": fields}, rows, sync_interval=500)
    return made.getvalue()


FILES = {"parquet": parquet, "csv": csv, "jsonl.gz": jsonl, "json": array, "avro": avro}


def command(desk: Desk, *words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = str(Path(sys.executable).with_name("beam-pipelines"))
    return carry_out(script, *words, folder=desk.folder, environ={**os.environ, **environment}, seconds=240)


def define(desk: Desk, server: BucketServer, bucket: str, pattern: str, **more: Any) -> None:
    desk.connect(lake=server.connection(bucket), target="target.duckdb")
    desk.define(
        {
            "name": "Lake",
            "pipeline": {
                "source": {"type": "file", "bucket": "lake", "prefix": "in/", "pattern": pattern, **more},
                "destination": {"type": "database", "connection": "target", "table": "people", "mode": "replace"},
            },
        }
    )


@pytest.mark.parametrize("suffix", FILES)
def test_objects_are_read_like_files(desk: Desk, bucket_server: BucketServer, bucket: str, suffix: str) -> None:
    make = FILES[suffix]
    bucket_server.put(bucket, f"in/a.{suffix}", make(0, 120))
    bucket_server.put(bucket, f"in/deep/b.{suffix}", make(120, 200))
    bucket_server.put(bucket, f"in/_hidden.{suffix}", make(0, 9))
    bucket_server.put(bucket, f"other/c.{suffix}", make(0, 9))
    bucket_server.put(bucket, "in/notes.txt", b"no rows")
    define(desk, bucket_server, bucket, f"**/*.{suffix}")
    record = desk.ran()
    assert desk.duckdb("target.duckdb", "SELECT id, name FROM people ORDER BY id") == [(i, f"n{i}") for i in range(200)]
    assert record["metrics"]["bytesProcessed"] == len(make(0, 120)) + len(make(120, 200))


def test_a_line_that_is_no_row_is_named_with_its_object(desk: Desk, bucket_server: BucketServer, bucket: str) -> None:
    bucket_server.put(bucket, "in/a.csv", csv(0, 50) + b"x,y,z\n")
    define(desk, bucket_server, bucket, "*.csv")
    definition = json.loads((desk.folder / "service.json").read_text())
    desk.define({**definition, "errorBudget": {"max": "50%"}})
    desk.ran()
    assert [(one["origin"]["source"], one["origin"]["line"]) for one in desk.letters()] == [("in/a.csv", 52)]


@pytest.mark.parametrize("suffix", FILES)
def test_an_object_that_changes_before_it_is_read_stops_the_run(
    desk: Desk, bucket_server: BucketServer, bucket: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beam_pipelines.io import registry
    from beam_pipelines.io.connector import Source

    make = FILES[suffix]
    bucket_server.put(bucket, f"in/a.{suffix}", make(0, 120))
    define(desk, bucket_server, bucket, f"*.{suffix}")
    of = registry.open_source

    def opened(*arguments: Any, **more: Any) -> Source:
        source = of(*arguments, **more)
        read = source.read

        def late(*given: Any) -> Any:
            bucket_server.put(bucket, f"in/a.{suffix}", make(1, 121))
            return read(*given)

        monkeypatch.setattr(source, "read", late)
        return source

    monkeypatch.setattr("beam_pipelines.io.registry.open_source", opened)
    result = desk.run()
    assert result.exit_code == 1
    assert result.execution.error_code == "read-failed"
    assert re.search(rf"in/a\.{suffix}' changed since the run was prepared: start a new run", result.execution.error)


def test_no_secret_of_a_bucket_is_shown_or_kept(desk: Desk, s3_server: BucketServer, capfd: pytest.CaptureFixture[str]) -> None:
    s3_server.make("secrets")
    s3_server.put("secrets", "in/a.csv", csv(0, 5))
    define(desk, s3_server, "secrets", "*.csv")
    given = {**s3_server.connection("secrets"), "accessKey": "${env:LAKE_KEY}", "secretKey": "${env:LAKE_SECRET}"}
    desk.connect(lake=given)
    environment = {"LAKE_KEY": "AKIA-not-to-be-seen", "LAKE_SECRET": "word-not-to-be-seen"}
    tested = command(desk, "connections", "test", "service.json", environment=environment)
    assert (tested.returncode, tested.stdout.count("OK")) == (0, 2), tested.stdout + tested.stderr
    alone = command(desk, "connections", "test", "lake", environment=environment)
    assert (alone.returncode, "bucket 'secrets' of S3 at http" in alone.stdout) == (0, True), alone.stdout + alone.stderr
    done = command(desk, "run", "service.json", "--log-level", "debug", *desk.options, environment=environment)
    assert done.returncode == 0, done.stderr
    (desk.folder / "connections.yaml").unlink()
    kept = b"".join(path.read_bytes() for path in desk.folder.rglob("*") if path.is_file())
    for text in (alone.stdout, alone.stderr, tested.stdout, tested.stderr, done.stdout, done.stderr, kept.decode("latin-1")):
        assert "not-to-be-seen" not in text


# As destinations.


def out(desk: Desk, server: BucketServer, bucket: str, endpoint: str | None = None, **more: Any) -> None:
    desk.connect(lake=server.connection(bucket, endpoint))
    desk.define(
        {
            "name": "Out",
            "pipeline": {
                "source": {"type": "file", "path": "in/*.parquet"},
                "destination": {"type": "file", "bucket": "lake", "prefix": "out/", "format": "parquet", **more},
            },
        }
    )


def rows(server: BucketServer, bucket: str) -> list[int]:
    objects = server.objects(bucket)
    assert all(re.fullmatch(r"out/[0-9a-f]{12}-[0-9]{5}\.parquet", key) for key in objects)  # and nothing of the staging
    return sorted(i for data in objects.values() for i in pq.read_table(io.BytesIO(data))["id"].to_pylist())


def files(desk: Desk, *spans: tuple[int, int]) -> None:
    (desk.folder / "in").mkdir(exist_ok=True)
    for first, last in spans:
        (desk.folder / "in" / f"{first}.parquet").write_bytes(parquet(first, last))


def test_services_load_buckets(desk: Desk, bucket_server: BucketServer, bucket: str) -> None:
    files(desk, (0, 200), (200, 300))
    out(desk, bucket_server, bucket)
    record = desk.ran()
    assert record["metrics"]["recordsLoaded"] == 300
    assert rows(bucket_server, bucket) == list(range(300))
    out(desk, bucket_server, bucket, mode="replace")
    files(desk, (300, 310))
    desk.ran(full_refresh=True)
    assert rows(bucket_server, bucket) == list(range(310))


def test_a_service_goes_on_where_its_stores_are_busy_now_and_then(desk: Desk, bucket_server: BucketServer, bucket: str) -> None:
    files(desk, (0, 200))
    with Proxy(bucket_server.url, lambda number, *_: 503 if number % 5 == 2 else None) as proxy:
        out(desk, bucket_server, bucket, proxy.url)
        desk.ran()
    assert rows(bucket_server, bucket) == list(range(200))


def kill(desk: Desk, server: BucketServer, bucket: str, at: int) -> tuple[int, int]:
    """Run in a process that is killed when it asks the store for the `at`-th change; gives its exit code and how many it asked for."""
    process: list[subprocess.Popen[str]] = []
    changes = itertools.count()
    asked = 0

    def answer(_: int, method: str, path: str) -> int | None:
        nonlocal asked
        # An upload in parts is begun, and given up, to find out whether one may: that changes nothing.
        if method in ("PUT", "POST", "DELETE") and not re.search(r"[?&](uploads|uploadId|uploadType=resumable)", path):
            asked += 1
            if next(changes) == at:
                process[0].kill()
                return 500
        return None

    with Proxy(server.url, answer) as proxy:
        out(desk, server, bucket, proxy.url, mode="replace")
        words = [sys.executable, "-m", "beam_pipelines.etl", "--service", "service.json", *desk.options]
        process.append(subprocess.Popen(words, cwd=desk.folder, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return process[0].wait(timeout=120), asked


def sweep(desk: Desk, server: BucketServer, bucket: str, points: Iterable[int]) -> int:
    """Kill at each of some changes; the run after it comes to what an undisturbed one comes to."""
    out(desk, server, bucket, mode="replace")
    files(desk, (0, 100))
    desk.ran()
    assert rows(server, bucket) == list(range(100))
    died = 0
    for at in points:
        last = 110 + at
        files(desk, (100, last))
        code, _ = kill(desk, server, bucket, at)
        if code == 0:
            break
        died += 1
        assert code == -signal.SIGKILL
        seen = [data for key, data in server.objects(bucket).items() if key.endswith(".parquet")]
        assert all(pq.read_table(io.BytesIO(data)).num_rows for data in seen)  # what can be seen is whole
        out(desk, server, bucket, mode="replace")
        desk.ran()
        assert rows(server, bucket) == list(range(last))
    return died


@pytest.mark.long
def test_killed_before_the_promise_and_behind_it(desk: Desk, bucket_server: BucketServer, bucket: str) -> None:
    # The first change stages rows, the second one copies what is staged to its name.
    assert sweep(desk, bucket_server, bucket, (0, 1)) == 2


@pytest.mark.soak
def test_killed_at_every_change_of_the_store(desk: Desk, bucket_server: BucketServer, bucket: str) -> None:
    assert sweep(desk, bucket_server, bucket, itertools.count()) >= 3
