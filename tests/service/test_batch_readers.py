"""Batches that die, on real stores, while somebody reads all the time what is there."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest

from beam_pipelines.testing.buckets import BucketServer, Proxy
from beam_pipelines.testing.faults import start

Desk = Any
STAGED = ".bp_staging/"


def packed(first: int, last: int) -> bytes:
    return gzip.compress(("id,name\n" + "".join(f"{i},n{i}\n" for i in range(first, last))).encode())


def define(desk: Desk, server: BucketServer, bucket: str, endpoint: str | None = None) -> None:
    kind = {"s3": "s3", "gs": "gcs"}[server.scheme]
    desk.connect(lake=server.connection(bucket, endpoint))
    batch = {
        "source": {"type": kind, "bucket": "lake", "prefix": "in/", "pattern": "**/*.csv.gz"},
        "destination": {"type": kind, "bucket": "lake", "prefix": "out/", "format": "parquet"},
    }
    desk.define({"name": "Lake", "batch": batch, "pricing": {"model": "per-gb", "rate": 1.0, "minimumCharge": 0.1}})


def seen(server: BucketServer, bucket: str) -> dict[str, list[int]]:
    """Ids by the key of each object behind `out/` that a reader takes for one."""
    found = server.objects(bucket, ".parquet")
    return {key.removeprefix("out/"): pq.read_table(io.BytesIO(data))["id"].to_pylist() for key, data in found.items()}


@contextlib.contextmanager
def polling(look: Callable[[], dict[str, list[int]]], allowed: dict[str, list[list[int]]], always: set[str]) -> Iterator[None]:
    """Look all the time; whatever is seen must be whole, one of the versions that may be, and never gone."""
    stop, wrong, looks = threading.Event(), [], itertools.count()

    def work() -> None:
        while not stop.is_set() and not wrong:
            try:
                found = look()
            except Exception as broken:  # noqa: BLE001 - told to the test's thread
                wrong.append(f"{type(broken).__name__}: {broken}")
                return
            wrong.extend(f"{name} is gone" for name in always - found.keys())
            wrong.extend(f"{name} is {ids[:3]}..." for name, ids in found.items() if ids not in allowed.get(name, []))
            next(looks)
            stop.wait(0.005)  # others want the processor, too

    reader = threading.Thread(target=work)
    reader.start()
    try:
        yield
    finally:
        stop.set()
        reader.join()
    assert next(looks) > 3
    assert not wrong, wrong


def ids(first: int, last: int) -> list[int]:
    return list(range(first, last))


def test_who_reads_a_folder_all_the_time_sees_whole_files_alone(desk: Desk) -> None:
    def put(name: str, first: int, last: int, cut: int = 0) -> None:
        path = desk.folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed(first, last)[: -cut or None])

    out = desk.folder / "out"

    def look() -> dict[str, list[int]]:
        paths = [Path(folder, name) for folder, _, names in os.walk(out) for name in names if name.endswith(".parquet")]
        return {path.relative_to(out).as_posix(): pq.read_table(path)["id"].to_pylist() for path in paths}

    batch = {"source": {"type": "file", "path": "in/**/*.csv.gz"}, "destination": {"type": "file", "path": "out", "format": "parquet"}}
    desk.define({"name": "Folder", "batch": batch})
    put("a.csv.gz", 0, 50_000)
    put("deep/b.csv.gz", 0, 10)
    desk.ran()
    versions = {"a.parquet": [ids(0, 50_000), ids(7, 60_000)], "deep/b.parquet": [ids(0, 10)], "c.parquet": [ids(0, 30_000)]}
    with polling(look, versions, {"a.parquet", "deep/b.parquet"}):
        put("a.csv.gz", 7, 60_000)
        put("c.csv.gz", 0, 30_000)
        put("deep/b.csv.gz", 0, 40_000, cut=20)  # what it became before stays, and nothing of what it is now is seen
        desk.ran()
        desk.ran(full_refresh=True)
    assert look() == {name: found[-1] for name, found in versions.items()}


class Lake:
    """A bucket with a batch before a run: one file has changed, one is new, one is cut off; `at` makes other rows of it each time."""

    def __init__(self, desk: Desk, server: BucketServer, bucket: str) -> None:
        self.desk, self.server, self.bucket = desk, server, bucket
        self.rows = self.loaded = self.letters = 0
        server.put(bucket, "in/a.csv.gz", packed(0, 10))
        server.put(bucket, "in/b.csv.gz", packed(10, 20))
        define(desk, server, bucket)
        desk.ran()
        self.expected = {"a.parquet": ids(0, 10), "b.parquet": ids(10, 20)}
        self.allowed = {name: [found] for name, found in self.expected.items()}

    def change(self) -> None:
        self.rows += 1
        new = f"c{self.rows}"
        self.server.put(self.bucket, "in/a.csv.gz", packed(100, 200 + self.rows))
        self.server.put(self.bucket, f"in/deep/{new}.csv.gz", packed(0, self.rows))
        self.server.put(self.bucket, "in/cut.csv.gz", packed(0, 3000 + self.rows)[:-30])
        self.expected |= {"a.parquet": ids(100, 200 + self.rows), f"deep/{new}.parquet": ids(0, self.rows)}
        for name, found in self.expected.items():
            self.allowed.setdefault(name, []).append(found)
        self.loaded += 100 + 2 * self.rows
        self.letters += 1

    def changes(self) -> list[tuple[str, str]]:
        """What a run asks the store to change, in order."""
        self.change()
        with Proxy(self.server.url, lambda *_: None) as proxy:
            define(self.desk, self.server, self.bucket, proxy.url)
            self.desk.ran()
            return [one for one in proxy.seen if one[0] in ("PUT", "POST", "DELETE")]

    def die(self, at: int) -> int:
        """Start a run in a process of its own that is killed before the `at`-th change that it asks for is done; gives its exit code."""
        asked, ready = itertools.count(), threading.Event()
        child: Any = None

        def answer(_: int, method: str, __: str) -> int | None:
            if method in ("PUT", "POST", "DELETE") and next(asked) == at:
                ready.wait()
                os.kill(child.pid, signal.SIGKILL)
                return 500
            return None

        with Proxy(self.server.url, answer) as proxy:
            define(self.desk, self.server, self.bucket, proxy.url)
            child = start(self.desk.folder / "service.json", options=list(self.desk.options))
            ready.set()
            return int(child.wait().exit_code)

    def check(self) -> None:
        assert seen(self.server, self.bucket) == self.expected
        assert [key for key in self.server.objects(self.bucket) if STAGED in key] == []
        files = self.desk.sqlite(".beam_pipelines/state.db", "SELECT name, error <> '' FROM _beam_pipelines_files ORDER BY name")
        names = [(f"in/{name.replace('parquet', 'csv.gz')}", 0) for name in self.expected]
        assert files == sorted([*names, ("in/cut.csv.gz", 1)])
        with self.desk.store() as store:
            done = {one.run: one.metrics.records_loaded for one in store.executions("lake") if one.status == "success"}
            assert sorted(charge.run for charge in store.charges("lake")) == sorted(done)
        assert sum(done.values()) == 20 + self.loaded
        letters = [one for one in self.desk.letters() if one["runId"] in done]
        assert [one["origin"]["source"] for one in letters] == ["in/cut.csv.gz"] * self.letters


def sweep(lake: Lake, points: Callable[[list[tuple[str, str]]], list[int]]) -> None:
    """Die at some changes; the run after each comes to what an undisturbed one comes to."""
    changes = lake.changes()
    for at in points(changes):
        lake.change()
        with polling(lambda: seen(lake.server, lake.bucket), lake.allowed, {"a.parquet", "b.parquet"}):
            code = lake.die(at)
            assert code == -signal.SIGKILL, (at, changes)
            define(lake.desk, lake.server, lake.bucket)
            lake.desk.ran()
        lake.check()


@pytest.mark.long
def test_killed_at_changes_of_a_bucket_while_somebody_reads(desk: Desk, bucket_server: BucketServer, bucket: str) -> None:
    def points(changes: list[tuple[str, str]]) -> list[int]:
        # Before anything is staged; and of the moves, each of which is copied and removed, before and after the first copy.
        copied = next(number for number, (_, path) in enumerate(changes) if moves(path))
        return [0, copied, copied + 1] if bucket_server.scheme == "s3" else [copied + 1]

    sweep(Lake(desk, bucket_server, bucket), points)


@pytest.mark.soak
def test_killed_at_every_change_of_a_bucket(desk: Desk, bucket_server: BucketServer, bucket: str) -> None:
    sweep(Lake(desk, bucket_server, bucket), lambda changes: list(range(len(changes))))


def moves(path: str) -> bool:
    """Whether a request makes an output."""
    _, out, name = unquote(path.partition("?")[0]).rpartition("/out/")
    return bool(out) and not name.startswith(STAGED)
