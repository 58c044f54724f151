"""What a batch is held to account for where files are at fault: budgets, prices, outputs of rules, and what is read again."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from beam_pipelines.errors import FatalError
from tests.service.conftest import Desk

pytestmark = pytest.mark.long


def put(desk: Desk, name: str, rows: list[str], *, cut: int = 0, header: str = "id,word") -> None:
    data = "\n".join([header, *rows, ""]).encode()
    if name.endswith(".gz"):
        data = gzip.compress(data, 0)
    path = desk.folder / "in" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data[: len(data) - cut])


def batch(desk: Desk, steps: list[dict[str, Any]] | None = None, *, source: dict[str, Any] | None = None, **more: Any) -> None:
    definition = {
        "name": "Desk",
        "batch": {
            "source": {"type": "file", "path": "in/*", "format": "csv", **(source or {})},
            "processing": {"transformations": steps or []},
            "destination": {"type": "file", "path": "out", "format": "parquet", **more.pop("destination", {})},
        },
        **more,
    }
    desk.define(definition)


def ids(desk: Desk) -> dict[str, list[int]]:
    found = sorted((desk.folder / "out").rglob("*.parquet"))
    return {path.name: pq.read_table(path).column("id").to_pylist() for path in found}


def numbered(first: int, count: int) -> list[str]:
    return [f"{number},{'x' * 200}{number}" for number in range(first, first + count)]


def test_files_that_cannot_be_read_are_no_matter_of_the_error_budget(desk: Desk) -> None:
    # 3,000 rows of the file that is cut off have no number: of its rows that are read almost all fail.
    put(desk, "bad.csv.gz", [f"none,{'y' * 200}{number}" for number in range(3000)], cut=1000)
    put(desk, "good.csv", numbered(0, 1200))
    batch(desk, source={"columns": {"id": "bigint", "word": "text"}})
    record = desk.ran()
    assert ids(desk) == {"good.parquet": list(range(1200))}
    assert [one["file"] for one in record["files"] if "error" in one] == ["in/bad.csv.gz"]


def test_nobody_pays_for_rows_of_a_file_that_cannot_be_read(desk: Desk) -> None:
    put(desk, "bad.csv.gz", numbered(0, 5000), cut=1000)
    put(desk, "good.csv", numbered(0, 7))
    batch(desk, pricing={"model": "per-record", "rate": 1, "minimumCharge": 0})
    assert float(desk.ran()["charge"]["amount"]) == 7


def test_rows_put_aside_of_a_file_that_is_cut_off_come_once_it_is_mended_and_then_once(desk: Desk) -> None:
    rules = {
        "id": "rules",
        "type": "validate",
        "rules": [{"id": "small", "type": "numeric-range", "field": "id", "max": 2}],
        "rejected": {"type": "file", "path": "rejected", "format": "parquet"},
    }
    put(desk, "late.csv.gz", numbered(0, 5000), cut=1000)
    put(desk, "good.csv", numbered(0, 4))
    batch(desk, [rules], errorBudget={"max": "100%"})

    def rejected() -> list[int]:
        return sorted(
            number for path in (desk.folder / "rejected").glob("*.parquet") for number in pq.read_table(path).column("id").to_pylist()
        )

    desk.ran()
    assert rejected() == [3]
    put(desk, "late.csv.gz", numbered(0, 5000))
    desk.ran()
    assert rejected() == sorted([3, *range(3, 5000)])


def test_files_that_were_to_be_read_otherwise_are_read_when_that_is_said(desk: Desk) -> None:
    put(desk, "a.csv", ["1,one"])
    batch(desk)
    desk.ran()
    for name in ("b", "c"):
        put(desk, f"{name}.csv", ["2;two"], header="id;word")
    result = desk.run()
    assert (result.execution.status, result.exit_code) == ("success", 3)  # none of the new files could be read
    assert desk.ran()["filesSkipped"] == 3
    batch(desk, source={"delimiter": ";"})
    told = desk.ran()
    assert (told["filesProcessed"], told["filesSkipped"]) == (2, 1)
    assert ids(desk) == {"a.parquet": [1], "b.parquet": [2], "c.parquet": [2]}


def test_an_output_in_another_format_takes_the_place_of_the_one_before(desk: Desk) -> None:
    put(desk, "a.csv", ["1,one"])
    put(desk, "b.csv", ["2,two"])
    batch(desk)
    desk.ran()
    batch(desk, destination={"format": "jsonl"})
    put(desk, "a.csv", ["3,three"])
    desk.ran()
    assert sorted(path.name for path in (desk.folder / "out").iterdir() if not path.name.startswith(".")) == ["a.jsonl", "b.parquet"]
    assert json.loads((desk.folder / "out" / "a.jsonl").read_text())["id"] == 3


def test_an_input_that_is_gone_leaves_its_output_to_another(desk: Desk) -> None:
    put(desk, "a.csv", ["1,one"])
    batch(desk)
    desk.ran()
    (desk.folder / "in" / "a.csv").unlink()
    put(desk, "a.csv.gz", ["2,two"])
    desk.ran()
    assert ids(desk) == {"a.parquet": [2]}
    # And both at once are refused, whichever was first.
    put(desk, "a.csv", ["1,one"])
    with pytest.raises(Exception, match="both become"):
        desk.run()


def test_a_folder_that_is_not_looked_for_is_not_walked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    put(desk, "a.csv", ["1,one"])
    for number in range(5):
        (desk.folder / "elsewhere" / str(number)).mkdir(parents=True)
    desk.connect(raw={"path": "."})
    batch(desk)
    definition = json.loads((desk.folder / "service.json").read_text())
    definition["batch"]["source"] = {"type": "s3", "bucket": "raw", "prefix": "in/", "pattern": "*.csv"}
    desk.define(definition)
    walked: list[Path] = []
    walk = os.walk

    def noted(top: Any, *more: Any, **options: Any) -> Any:
        for folder in walk(top, *more, **options):
            walked.append(Path(folder[0]))
            yield folder

    monkeypatch.setattr(os, "walk", noted)
    desk.ran()
    assert not [folder for folder in walked if "elsewhere" in folder.parts]
    assert ids(desk) == {"a.parquet": [1]}


def test_a_file_that_the_system_keeps_back_is_read_as_soon_as_it_does_not(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from beam_pipelines.io.objects.local import LocalStore

    put(desk, "a.csv", ["1,one"])
    put(desk, "b.csv", ["2,two"])
    batch(desk, source={"columns": {"id": "bigint", "word": "text"}})
    opened = LocalStore.open

    def kept_back(self: LocalStore, file: Any) -> Any:
        if file.name == "b.csv":
            raise PermissionError(13, "Permission denied")
        return opened(self, file)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "open", kept_back)
        record = desk.ran()
    (told,) = [one["error"] for one in record["files"] if "error" in one]
    assert "Permission denied" in told
    assert "damaged" not in told
    assert ids(desk) == {"a.parquet": [1]}
    desk.ran()
    assert ids(desk) == {"a.parquet": [1], "b.parquet": [2]}


def test_a_folder_in_the_way_of_an_output_hinders_it_for_as_long_as_it_is_there(desk: Desk) -> None:
    put(desk, "a.csv", ["1,one"])
    put(desk, "b.csv", ["2,two"])
    (desk.folder / "out" / "b.parquet").mkdir(parents=True)
    batch(desk)
    desk.ran()
    assert [path.name for path in (desk.folder / "out").iterdir() if path.is_file()] == ["a.parquet"]
    (desk.folder / "out" / "b.parquet").rmdir()
    desk.ran()
    assert ids(desk) == {"a.parquet": [1], "b.parquet": [2]}


def test_a_link_to_a_folder_above_itself_gives_no_file_twice(desk: Desk) -> None:
    (desk.folder / "in" / "sub").mkdir(parents=True)
    put(desk, "sub/a.csv", ["1,one"])
    (desk.folder / "in" / "sub" / "up").symlink_to("..")
    batch(desk, source={"path": "in/**/*.csv"})
    assert desk.ran()["filesProcessed"] == 1
    assert ids(desk) == {"a.parquet": [1]}


def test_everything_anew_of_nothing_takes_nothing_away(desk: Desk) -> None:
    put(desk, "a.csv", numbered(0, 50))
    batch(desk, destination={"shardSize": "64KiB"})
    desk.ran()
    before = ids(desk)
    assert before
    (desk.folder / "in" / "a.csv").unlink()
    with pytest.raises(Exception, match="expected files that match"):
        desk.run(full_refresh=True)
    assert ids(desk) == before


def test_outputs_that_are_lost_with_their_staging_are_made_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from beam_pipelines.io.files import target

    for name in ("a", "b"):
        put(desk, f"{name}.csv", ["1,one"])
    batch(desk)
    desk.ran()
    for name in ("a", "b"):
        put(desk, f"{name}.csv", ["2,two", "3,three"])
    with monkeypatch.context() as patch:  # it dies once the commit is decided, and somebody sweeps too much
        patch.setattr(target, "_keep", lambda move: (_ for _ in ()).throw(OSError("died")))
        with pytest.raises(FatalError, match="could not be moved"):
            desk.run()
    shutil.rmtree(desk.folder / "out" / ".bp_staging")
    desk.run()
    desk.ran()
    assert ids(desk) == {"a.parquet": [2, 3], "b.parquet": [2, 3]}
