from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.columnar import dead, origin
from beam_pipelines.engine import letters
from beam_pipelines.engine.letters import Archive
from beam_pipelines.errors import FatalError, PlanError
from beam_pipelines.io.connector import LedgerRow
from beam_pipelines.runs.counts import LoadCounts, Merged, Tally
from beam_pipelines.runs.facts import Dead, Staged
from beam_pipelines.runs.window import Window

RUN, AT = "00000000000a", datetime(2026, 1, 1, 12, 30, tzinfo=timezone.utc)
FIRST, SECOND = "_bp_00000000_00000000000a_1111111111111111", "_bp_00000000_00000000000a_2222222222222222"


@dataclass
class Shelf:
    """What of a target holds staged dead letters."""

    staged: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)
    breaks: bool = False

    def read_staged(self, staged: Staged) -> Iterable[pa.RecordBatch]:
        for batch in self.staged[staged.name]:
            yield batch
            if self.breaks:
                raise FatalError("the staging is gone", code="staging-lost")

    def drop_staged(self, names: Sequence[str]) -> None:
        for name in names:
            self.staged.pop(name, None)


def some(step: str, code: str, ids: list[int], load: str = "customers") -> pa.RecordBatch:
    batch = origin.attach(pa.record_batch({"id": ids, "name": ["Zoë"] * len(ids)}), "crm.customers", key=["id"])
    rows = range(len(ids))
    return dead.letters(batch, rows, load=load, step=step, codes=[code] * len(ids), messages=[f"{step}: no"] * len(ids), at=AT)


def row(*names: str, load: str = "customers", run: str = RUN, merged: tuple[str, ...] = ()) -> LedgerRow:
    """A ledger row whose dead letters are staged under some names."""
    found = tuple(Dead(Staged(name, 0)) for name in names)
    tally = Tally(load, 0, 0, 0, None, (), (), 0, 0, found)
    counts = LoadCounts(tally, Merged(letters=tuple(Dead(Staged(name, 0)) for name in merged)))
    return LedgerRow(run, load, "committed", Window("customers", load, load, run, 0), counts, "", "")


def written(archive: Archive, run: str = RUN) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.path("customers", run).read_text(encoding="utf-8").splitlines()]


def test_letters_become_lines_with_reason_origin_and_the_whole_row(tmp_path: Path) -> None:
    archive, shelf = Archive(tmp_path), Shelf({FIRST: [some("adults", "cast-failed", [17])]})
    letters.export(shelf, archive, "customers", [row(FIRST)])
    assert written(archive) == [
        {
            "pipelineId": "customers",
            "runId": RUN,
            "table": "customers",
            "step": "adults",
            "timestamp": "2026-01-01T12:30:00+00:00",
            "code": "cast-failed",
            "error": "adults: no",
            "origin": {"source": "crm.customers", "key": {"id": 17}},
            "attempt": "1111111111111111",
            "record": {"id": 17, "name": "Zoë"},
        }
    ]


def test_they_are_counted_by_load_step_and_code(tmp_path: Path) -> None:
    shelf = Shelf(
        {
            FIRST: [some("adults", "cast-failed", [1, 2]), some("adults", "function-failed", [3])],
            SECOND: [some("adults", "cast-failed", [4]), some("load", "target-refused", [5])],
        }
    )
    archive = Archive(tmp_path)
    found = letters.export(shelf, archive, "customers", [row(FIRST, merged=(SECOND,))])
    assert {(one.table, one.step, one.code): one.count for one in found} == {
        ("customers", "adults", "cast-failed"): 3,
        ("customers", "adults", "function-failed"): 1,
        ("customers", "load", "target-refused"): 1,
    }
    assert {one.url for one in found} == {str(archive.path("customers", RUN))}
    assert {one.message for one in found if one.step == "load"} == {"load: no"}
    assert [line["record"]["id"] for line in written(archive)] == [1, 2, 3, 4, 5]


def test_letters_of_several_kinds_keep_their_order_and_what_is_said_of_each(tmp_path: Path) -> None:
    ids = list(range(1, 61))
    batch = origin.attach(pa.record_batch({"id": ids}), "crm.customers", key=["id"])
    codes = ["cast-failed" if i % 3 else "row-invalid" for i in ids]
    messages = [f'no {i % 4} "ü"' for i in ids]
    mixed = dead.letters(batch, range(60), load="customers", step="adults", codes=codes, messages=messages, at=AT)
    archive = Archive(tmp_path)
    found = letters.export(Shelf({FIRST: [mixed.slice(1)]}), archive, "customers", [row(FIRST)])
    told = [(line["record"]["id"], line["origin"]["key"]["id"], line["code"], line["error"]) for line in written(archive)]
    assert told == list(zip(ids, ids, codes, messages, strict=True))[1:]
    # The message is that of the first letter of its code: 2 for the one, 3 for the other.
    assert {(one.code, one.count, one.message) for one in found} == {
        ("cast-failed", 39, 'no 2 "ü"'),
        ("row-invalid", 20, 'no 3 "ü"'),
    }


def test_all_tables_of_a_run_share_one_file(tmp_path: Path) -> None:
    shelf = Shelf({FIRST: [some("a", "cast-failed", [1], "x")], SECOND: [some("a", "cast-failed", [2], "y")]})
    found = letters.export(shelf, Archive(tmp_path), "customers", [row(FIRST, load="x"), row(SECOND, load="y")])
    assert [one.table for one in found] == ["x", "y"]
    assert [line["table"] for line in written(Archive(tmp_path))] == ["x", "y"]


def test_exporting_again_gives_the_same_file_and_the_same_index(tmp_path: Path) -> None:
    shelf = Shelf({FIRST: [some("a", "cast-failed", [1, 2])]})
    first = letters.export(shelf, Archive(tmp_path), "customers", [row(FIRST)])
    lines = written(Archive(tmp_path))
    assert letters.export(shelf, Archive(tmp_path), "customers", [row(FIRST)]) == first
    assert written(Archive(tmp_path)) == lines
    assert len(lines) == 2


def test_an_export_that_breaks_off_leaves_no_file_under_the_name_and_the_next_one_is_whole(tmp_path: Path) -> None:
    archive, shelf = Archive(tmp_path), Shelf({FIRST: [some("a", "cast-failed", [1]), some("a", "cast-failed", [2])]}, breaks=True)
    with pytest.raises(FatalError, match="the staging is gone"):
        letters.export(shelf, archive, "customers", [row(FIRST)])
    assert not archive.path("customers", RUN).exists()
    shelf.breaks = False
    (found,) = letters.export(shelf, archive, "customers", [row(FIRST)])
    assert found.count == len(written(archive)) == 2
    assert [entry.name for entry in archive.path("customers", RUN).parent.iterdir()] == [f"{RUN}.jsonl"]


def test_without_letters_there_is_no_file_and_no_folder(tmp_path: Path) -> None:
    empty = row()
    prepared = replace(empty, counts=None, status="prepared")
    assert letters.export(Shelf(), Archive(tmp_path / "letters"), "customers", [empty, prepared]) == ()
    assert not (tmp_path / "letters").exists()


def test_what_was_exported_is_dropped_and_what_is_gone_already_is_no_matter() -> None:
    shelf = Shelf({FIRST: [], SECOND: [], "another": []})
    for _ in range(2):
        letters.drop(shelf, [row(FIRST, merged=(SECOND,)), replace(row(), counts=None)])
        assert list(shelf.staged) == ["another"]


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FatalError, match="dead letters of run 00000000000a cannot be written") as broken:
        letters.export(Shelf({FIRST: [some("a", "cast-failed", [1])]}), Archive(tmp_path / "file"), "customers", [row(FIRST)])
    assert broken.value.code == "stage-failed"
    assert str(tmp_path / "file") in str(broken.value)


def test_the_archive_is_beside_the_state_store_unless_the_definition_says_otherwise(tmp_path: Path) -> None:
    assert Archive.of(None, tmp_path).folder == tmp_path / "dead-letters"
    assert Archive.of("bad/rows", tmp_path).folder == tmp_path / "bad" / "rows"
    assert Archive.of("/var/letters", tmp_path).folder == Path("/var/letters")
    assert Archive.of("file:///var/letters", tmp_path).folder == Path("/var/letters")


def test_object_stores_are_refused_at_their_key(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="not served yet") as refused:
        Archive.of("s3://bucket/letters", tmp_path)
    assert (refused.value.code, refused.value.problems[0].path) == ("not-served", "deadLetters")


def test_letters_are_read_one_at_a_time(tmp_path: Path) -> None:
    shelf, archive = Shelf({FIRST: [some("a", "cast-failed", [1, 2, 3])]}), Archive(tmp_path)
    letters.export(shelf, archive, "customers", [row(FIRST)])
    read = archive.read(archive.path("customers", RUN))
    assert next(read)["record"]["id"] == 1
    assert [letter["record"]["id"] for letter in read] == [2, 3]
