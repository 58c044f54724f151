"""A batch of files dies at any call, once and twice, and the next runs come to what an undisturbed one comes to."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_pipelines.testing.buckets import BucketServer
from beam_pipelines.testing.faults import Child, Ended, Fault, changes, distinct, explore, recovers, strikes, verb

REPEATED = ["--direct_runner_bundle_repeat=1"]
RULES = {"id": "check", "type": "validate", "rules": [{"id": "low", "type": "numeric-range", "field": "id", "max": 900}]}
# What the runs before have left, and what comes after the last of them; `x` is none of a number, 999 is rejected, {} are files of no use.
BEFORE = {"a.csv": range(1, 21), "b.csv": range(21, 41), "odd.csv": None}
AFTER = {"a.csv": range(101, 111), "deep/c.csv": [*range(41, 60), "x", 999], "odd.csv": range(60, 70), "none.csv": [], "cut.csv": None}
OUT = {
    "a.parquet": [*range(101, 111)],
    "b.parquet": [*range(21, 41)],
    "deep/c.parquet": [*range(41, 60)],
    "none.parquet": [],
    "odd.parquet": [*range(60, 70)],
}
LETTERS = Counter([("in/odd.csv", None), ("in/cut.csv", None), ("in/deep/c.csv", "x"), ("in/deep/c.csv", 999)])


class Folder:
    """Where the files are: a folder of this machine, which the world keeps and gives back."""

    source, destination = {"path": "in/**/*.csv"}, {"path": "out"}

    def __init__(self, world: Any) -> None:
        self._folder: Path = world.folder
        self.leftovers: Callable[[], list[str]] = world.leftovers

    def write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def outputs(self) -> dict[str, bytes]:
        out = self._folder / "out"
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.parquet")}

    def save(self) -> None: ...

    def restore(self) -> None: ...


class Bucket:
    """The same in a bucket, whose inputs no run changes."""

    source, destination = {"bucket": "lake", "prefix": "in/", "pattern": "**/*.csv"}, {"bucket": "lake", "prefix": "out/"}

    def __init__(self, world: Any, server: BucketServer, bucket: str) -> None:
        self._server, self._bucket = server, bucket
        server.make(bucket)
        (world.folder / "connections.yaml").write_text(json.dumps({"lake": server.connection(bucket)}))

    def write(self, name: str, data: bytes) -> None:
        self._server.put(self._bucket, name, data)

    def outputs(self) -> dict[str, bytes]:
        found = self._server.objects(self._bucket, ".parquet")
        return {key.removeprefix("out/"): data for key, data in found.items()}

    def leftovers(self) -> list[str]:
        return self._server.begun(self._bucket) + [key for key in self._server.keys(self._bucket) if "/.bp_staging/" in key]

    def save(self) -> None:
        self._saved = self.outputs()

    def restore(self) -> None:
        for key in self._server.keys(self._bucket):
            if key.startswith("out/"):
                self._server.remove(self._bucket, key)
        for name, data in self._saved.items():
            self.write(f"out/{name}", data)


class Batch:
    """Files at the moment before the run that something happens to: they are new, changed, mended and bad.

    Args:
        world: Where definition and records are.
        options: Beam's, of every run.
        place: Where the files are.
    """

    def __init__(self, world: Any, options: list[str], place: Folder | Bucket | None = None) -> None:
        self.world, self.options, self.place = world, options, place or Folder(world)
        source = {"type": "file", **self.place.source, "compression": "gzip", "columns": {"id": "bigint", "at": "timestamp"}}
        world.put(
            {
                "name": "Customers",
                "batch": {
                    "source": source,
                    "processing": {"transformations": [RULES]},
                    "destination": {"type": "file", **self.place.destination, "format": "parquet"},
                },
                "pricing": {"model": "per-gb", "rate": 1.0, "minimumCharge": 0.1},
            }
        )
        world.fresh()
        self.put(BEFORE)
        ended = self.start().wait()
        assert ended.exit_code == 0, ended
        self.put(AFTER)
        world.save()
        self.place.save()

    def put(self, files: dict[str, Any]) -> None:
        for name, rows in files.items():
            whole = gzip.compress(("id,at\n" + "".join(f"{i},2026-11-26\n" for i in (range(300) if rows is None else rows))).encode())
            self.place.write(f"in/{name}", whole if rows is not None else whole[:-40])

    # The subject of `explore`.

    def reset(self) -> None:
        self.world.restore()
        self.place.restore()

    def start(self, fault: Fault | None = None, **run: Any) -> Child:
        return self.world.start(fault, options=self.options, **run)

    def trace(self) -> Ended:
        self.reset()
        ended = self.start(watched=self.world.folder).wait()
        assert ended.exit_code == 0, ended
        return ended

    def look(self, _: bool = False) -> None:
        """What anybody sees at this moment: files that are whole, each as it was before or as it is to be."""
        before = {"a.parquet": [*range(1, 21)], "b.parquet": OUT["b.parquet"]}
        seen = self.seen()
        assert "a.parquet" in seen, seen
        assert "b.parquet" in seen, seen
        for name, ids in seen.items():
            assert ids in (before.get(name), OUT[name]), (name, ids)

    def seen(self) -> dict[str, list[int]]:
        """Rows by the name of each file that a reader takes for one, read by DuckDB."""
        found = {}
        with duckdb.connect() as reader, tempfile.TemporaryDirectory() as here:
            file = Path(here) / "read.parquet"
            for name, data in self.place.outputs().items():
                file.write_bytes(data)
                found[name] = [i for (i,) in reader.execute(f"SELECT id FROM '{file}'").fetchall()]
        return found

    def check(self) -> None:
        world = self.world
        assert self.seen() == OUT
        assert self.place.leftovers() == []
        assert [path.name for path in world.folder.rglob("*.part")] == []
        state = world.folder / ".beam_pipelines" / "state.db"
        files = world.sqlite(state, "SELECT name, output, error <> '' FROM _beam_pipelines_files ORDER BY name")
        outputs = {"in/" + name.replace(".parquet", ".csv"): name for name in OUT}
        assert files == sorted([*((name, output, 0) for name, output in outputs.items()), ("in/cut.csv", "", 1)])
        assert world.sqlite(state, "SELECT * FROM _beam_pipelines_moves") == []
        with world.store() as store:
            executions = store.executions("customers")
            assert {one.status for one in executions} <= {"success", "failed", "lost"}
            succeeded = [one for one in executions if one.status == "success"]
            committed = world.sqlite(state, "SELECT run FROM _beam_pipelines_loads WHERE status = 'committed'")
            assert sorted(one.run for one in succeeded) == sorted(run for (run,) in committed)
            assert sorted(charge.run for charge in store.charges("customers")) == sorted(one.run for one in succeeded)
            # The files of the first run and of the second one, each read once.
            assert sum(one.metrics.records_loaded for one in succeeded) == 40 + 10 + 19 + 10
            for one in (one.metrics for one in succeeded):
                away = one.records_filtered + one.records_rejected + one.records_dead_lettered
                assert one.records_extracted == one.records_loaded + away
        told = [letter for letter in world.letters() if letter["runId"] in {one.run for one in succeeded} and not hindered(letter)]
        assert Counter((letter["origin"]["source"], letter_id(letter)) for letter in told) == LETTERS


def letter_id(letter: dict[str, Any]) -> Any:
    """The id in the row of a letter, as it was written; None: it is of a file."""
    if letter["code"] == "file-unreadable":
        return None
    found = letter["record"]["id"]
    return int(found) if str(found).isdigit() else found


def hindered(letter: dict[str, Any]) -> bool:
    """Whether it is of a file that could not be read at the time: the next run has read it, and says what is to say of it."""
    return letter["code"] == "file-unreadable" and "(injected)" in letter["error"]


@pytest.fixture(params=["once", "repeated"])
def batches(request: pytest.FixtureRequest, worlds: Any) -> list[Batch]:
    """The same batch twice, so that two runs go at a time; bundles are executed once, or twice each."""
    return [Batch(worlds("parquet", number), REPEATED if request.param == "repeated" else []) for number in range(2)]


@pytest.fixture
def batch(worlds: Any) -> Batch:
    """One, whose bundles are executed twice each."""
    return Batch(worlds("parquet"), REPEATED)


def survives(made: list[Batch], faults: list[Fault], scenario: Callable[[Batch, Fault], None]) -> None:
    broken = explore(made, faults, scenario)
    assert not broken, f"{len(broken)} of {len(faults)} faults:\n" + "\n".join(broken)


def looked(batch: Batch, fault: Fault) -> None:
    """The next run makes it right, and who looks in between sees nothing that is half done."""
    # It may find nothing but the file of no use, which could not be read before, and warns of that.
    recovers(batch, fault, look=batch.look, ends=(0, 3) if fault.point.startswith("source.") else (0,))
    if fault.kind.startswith("die"):  # nothing is done twice
        again = batch.start().wait()
        assert again.exit_code == 0, again
        batch.check()


def firsts(calls: list[str]) -> list[str]:
    """The first call of each kind."""
    found: dict[str, str] = {}
    for call in calls:
        found.setdefault(call.partition("#")[0].partition("@")[0], call)
    return list(found.values())


def changing(traced: Ended, *rooms: str) -> list[str]:
    """The calls of some rooms that leave something else behind than there was."""
    return [call for call in traced.calls if (not rooms or call.startswith(rooms)) and changes(call, traced)]


def differing(batch: Batch) -> list[Fault]:
    """All faults; of bundles that are executed twice those at calls that leave something behind, for others are answered alike."""
    traced = batch.trace()
    return [fault for fault in distinct(traced) if not batch.options or changes(fault.point, traced)]


def made_right(batch: Batch, fault: Fault) -> None:
    recovers(batch, fault, look=batch.look)


@pytest.mark.timeout(600)
def test_a_run_that_dies_at_a_change_of_files_or_ledger_is_made_right_by_the_next(batches: list[Batch]) -> None:
    # Of the ways to write a file the last: it is closed, synced and gets its name.
    points = [call for call in changing(batches[0].trace(), "target.", "staging.") if re.search(r"COMMIT|file\.|parquet\.close", call)]
    moves = [point for point in points if point.startswith("target.commit:file.replace")]
    assert len(moves) == 4, points  # a, c, none and odd
    few = firsts(points) if not batches[0].options else moves[2:]
    survives(batches, [Fault(point, "die-after") for point in [*few, moves[-1]]], made_right)


@pytest.mark.timeout(600)
def test_a_run_that_dies_while_it_finishes_what_another_one_promised(batch: Batch) -> None:
    promise = next(call for call in batch.trace().calls if call.startswith("target.commit:sqlite.COMMIT"))
    batch.reset()
    strikes(batch, Fault(promise, "die-after"))
    batch.world.save()
    moves = [call for call in batch.trace().calls if "file.replace" in call and call.startswith("target.")]
    assert len(moves) == 4, moves  # by a run that finds no new file
    survives([batch], [Fault(point, "die-after") for point in (moves[0], moves[-1])], made_right)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("promised", [False, True])
def test_a_run_that_slept_comes_too_late(batch: Batch, promised: bool) -> None:
    """It is paused before its commit, or before the first move; others go on, and a file changes once more before it wakes."""
    calls = batch.trace().calls
    sign = "target.commit:file.replace" if promised else "target.commit:"
    batch.reset()
    paused = batch.start(Fault(next(call for call in calls if call.startswith(sign)), "hang-before"))
    assert paused.hung()
    batch.world.expire_lease()
    assert batch.start().wait().exit_code == 0
    batch.check()
    batch.put({"a.csv": range(201, 205)})
    assert batch.start().wait().exit_code == 0
    paused.wake()
    late = paused.wait()
    assert promised or late.exit_code == 1, late.error
    with batch.world.store() as store:
        statuses = Counter(one.status for one in store.executions("customers"))
    assert statuses == ({"success": 4} if promised else {"success": 3, "lost": 1})
    assert batch.start().wait().exit_code == 0
    assert batch.seen() == {**OUT, "a.parquet": [201, 202, 203, 204]}
    assert batch.world.leftovers() == []


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_every_fault_of_a_batch(batches: list[Batch]) -> None:
    survives(batches, differing(batches[0]), looked)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("repeated", [False, True], ids=["once", "repeated"])
def test_every_fault_of_a_batch_at_its_bucket(worlds: Any, bucket_server: BucketServer, bucket: str, repeated: bool) -> None:
    """What a folder does otherwise: the calls to the bucket, and the commits between them."""
    made = []
    for number in range(2):
        world = worlds("parquet", number)
        made.append(Batch(world, REPEATED if repeated else [], Bucket(world, bucket_server, f"{bucket}-{number}")))
    there = [fault for fault in differing(made[0]) if re.search(r":(s3|gcs)\.", fault.point) or verb(fault.point) == "COMMIT"]
    survives(made, there, looked)
