"""Files of text and Avro as target: what is there, what goes, and staging that is not what its manifest says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.io.files.target import FileTarget
from beam_pipelines.io.files.writing import csv
from beam_pipelines.runs.context import RunContext
from beam_pipelines.spec.destination import FileDestination

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("version", pa.int64())])
ADA, BOB, CYD = (1, "Ada", 10), (2, "Bob", 10), (3, "Cyd", 10)
REPLACE = {"mode": "replace", "whole": True}
FORMATS = ["csv", "jsonl", "json", "avro"]


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    """Rows of a file that is not compressed as a whole, by other means than the product's."""
    if path.suffix == ".avro":
        with path.open("rb") as file:
            return [tuple(row.values()) for row in fastavro.reader(file)]
    text = path.read_text()
    if path.suffix == ".csv":
        return [(int(a), b, int(c)) for a, b, c in (line.split(",") for line in text.splitlines()[1:])]
    found = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    return [tuple(row.values()) for row in found]


class Out:
    """A destination of one format."""

    def __init__(self, base: Path, loads: Callable[[Any], Any]) -> None:
        self.base, self._loads, self.opened = base, loads, list[FileTarget]()

    def target(self, given: str, path: str = "out", **model: Any) -> FileTarget:
        destination = FileDestination.model_validate({"path": path, "format": given, **model})
        context = RunContext("0" * 12, "2026-03-01T12:00:00.000000+00:00", state=f"sqlite:///{self.base / 'state.db'}")
        self.opened.append(FileTarget(destination, None, self.base, context, given))
        return self.opened[-1]

    def run(self, target: FileTarget, run: str, load: str = "out", schema: pa.Schema = SCHEMA, **policy: Any) -> Any:
        return self._loads(target).begin(schema, run=run * 12, load=load, **policy)

    def files(self) -> dict[str, list[Any]]:
        there = sorted(path for path in (self.base / "out").iterdir() if path.suffix[1:] in FORMATS)
        return {path.name: rows_of(path) for path in there}


@pytest.fixture
def out(tmp_path: Path, loads: Callable[[Any], Any]) -> Iterator[Out]:
    made = Out(tmp_path, loads)
    yield made
    for target in made.opened:
        target.close()


@pytest.mark.parametrize("given", FORMATS)
def test_files_are_added_and_replaced(out: Out, given: str) -> None:
    (out.base / "out").mkdir()
    (out.base / "out" / "notes.txt").write_text("kept")
    (out.base / "out" / "other.parquet").write_text("of another format")
    out.run(out.target(given), "a").stage([BOB], order=2).stage([ADA], order=1).commit()
    assert out.files() == {f"{'a' * 12}-00000.{given}": [ADA], f"{'a' * 12}-00001.{given}": [BOB]}
    counts = out.run(out.target(given, mode="replace"), "b", **REPLACE).stage([CYD]).commit()
    assert counts.merged.inserted == 1
    assert out.files() == {f"{'b' * 12}-00000.{given}": [CYD]}
    assert {path.name for path in (out.base / "out").iterdir()} == {"notes.txt", "other.parquet", f"{'b' * 12}-00000.{given}"}


@pytest.mark.parametrize("given", FORMATS)
def test_one_file_is_all_of_what_was_staged(out: Out, given: str) -> None:
    path = f"out/all.{given}"
    out.run(out.target(given, path, mode="replace"), "a", path, **REPLACE).stage([BOB, ADA]).stage([], order=1).stage(
        [CYD], order=2
    ).commit()
    assert out.files() == {f"all.{given}": [BOB, ADA, CYD]}
    empty = out.run(out.target(given, path, mode="replace", allowEmpty=True), "b", path, **REPLACE, allow_empty=True)
    assert empty.commit().merged.inserted == 0
    assert out.files() == {f"all.{given}": []}


@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize("where", ["out", "out/all"])
@pytest.mark.parametrize("loss", ["dropped", "cut off"])
def test_lost_staging_is_refused(out: Out, given: str, where: str, loss: str) -> None:
    path = where if where == "out" else f"{where}.{given}"
    target = out.target(given, path, mode="replace")
    run = out.run(target, "a", path, **REPLACE).stage([ADA]).stage([BOB], order=1)
    name = run.staged[1].name
    if loss == "dropped":
        target.drop_staged([name])
    else:
        (file,) = (out.base / "out" / ".bp_staging").glob(f"{name}.staged")
        file.write_bytes(file.read_bytes()[:-3])
    assert run.commit().code == "staging-lost"
    assert out.files() == {}


def test_a_disk_that_is_full_when_files_become_one_is_said(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    run = out.run(out.target("csv", "out/all.csv", mode="replace"), "a", "out/all.csv", **REPLACE).stage([ADA]).stage([BOB], order=1)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv, "copied", full)
    assert run.commit().code == "stage-failed"
    assert out.files() == {}


def test_what_is_there_is_described_as_far_as_it_says(out: Out) -> None:
    for given in FORMATS:
        target = out.target(given, f"out/{given}")
        assert target.describe(f"out/{given}") is None
        out.run(target, given[0] if given != "json" else "o", f"out/{given}").stage([ADA]).commit()
        described = target.describe(f"out/{given}")
        assert described is not None
        assert described.schema == (SCHEMA if given == "avro" else pa.schema([]))
        assert out.target(given, f"out/x.{given}", mode="replace").describe(f"out/x.{given}") is None
        assert target.check().startswith(f"1 {({'csv': 'CSV', 'jsonl': 'JSON Lines', 'json': 'JSON', 'avro': 'Avro'})[given]} file,")


def test_types_must_not_change_beside_what_was_written(out: Out) -> None:
    out.run(out.target("csv"), "a").stage([ADA]).commit()
    with pytest.raises(PlanError, match="column 'id' is string now, and int64 in the files") as changed:
        out.run(out.target("csv"), "b", schema=pa.schema([("id", pa.string()), ("name", pa.string())]))
    assert changed.value.code == "schema-changed"


def test_compressed_files_are_of_the_table_too(out: Out) -> None:
    out.run(out.target("csv", compression="gzip"), "a").stage([ADA]).commit()
    assert [path.name for path in (out.base / "out").glob("*.csv*")] == [f"{'a' * 12}-00000.csv.gz"]
    out.run(out.target("csv", mode="replace", compression="zstd"), "b", **REPLACE).stage([BOB]).commit()
    assert [path.name for path in (out.base / "out").glob("*.csv*")] == [f"{'b' * 12}-00000.csv.zst"]
