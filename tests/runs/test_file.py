"""What became of files, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.errors import BalanceError
from beam_pipelines.runs.counts import Tally
from beam_pipelines.runs.facts import Dead, FileFact, ReadFact, Staged, StagedFact
from beam_pipelines.runs.file import of_no_account, results, staged_of, unbilled
from beam_pipelines.runs.window import Range, Window


def part(index: int, label: str, **more: Any) -> Range:
    return Range(
        "out", "in/*.csv", index, {"label": label, "size": 100 + index, "tag": f"t{index}", "output": f"{label[:-4]}.parquet", **more}
    )


def window(*parts: Range) -> Window:
    return Window("svc", "out", "in/*.csv", "r" * 12, 0, ranges=parts, by_file=True)


def tally(files: list[FileFact], staged: list[Staged], letters: tuple[Dead, ...] = ()) -> Tally:
    read = ReadFact("out", rows=sum(file.rows for file in files), files=tuple(files), letters=letters)
    return Tally.of("out", [read, StagedFact("out", sum(one.rows for one in staged), tuple(staged))], [])


def test_each_file_has_its_rows_its_time_and_its_refusals():
    letters = (Dead(Staged("l", 3), {"cast-failed": 3}, {"a.csv": {"cast-failed": 2}, "b.csv": {"cast-failed": 1}}),)
    facts = tally([FileFact(0, 10, 0.5), FileFact(1, 7, 0.25)], [Staged("s0", 8, order=0), Staged("s1", 6, order=1)], letters)
    first, second = results(window(part(0, "a.csv"), part(1, "b.csv")), facts)
    assert (first.name, first.output, first.records, first.written, first.rejected, first.seconds) == ("a.csv", "a.parquet", 10, 8, 2, 0.5)
    assert (second.name, second.size, second.tag, second.written, second.rejected) == ("b.csv", 101, "t1", 6, 1)


def test_a_file_that_fails_in_one_part_has_nothing_written():
    facts = tally(
        [FileFact(0, 10), FileFact(1, 4, error="cut off"), FileFact(2, 5)],
        [Staged("s0", 10, order=0), Staged("s1", 4, order=1), Staged("s2", 5, order=2)],
    )
    first, second = results(window(part(0, "a.csv"), part(1, "a.csv"), part(2, "b.csv")), facts)
    assert (first.error, first.output, first.written, first.records) == ("cut off", "", 0, 14)
    assert (second.error, second.output, second.written) == ("", "b.parquet", 5)


def test_a_file_without_a_row_is_there():
    (only,) = results(window(part(0, "a.csv")), tally([FileFact(0)], []))
    assert (only.error, only.output, only.records, only.written) == ("", "a.parquet", 0, 0)


def test_staging_objects_are_of_their_files_in_the_order_of_their_rows():
    pieces = [Staged("z", 1, order=1, piece=0), Staged("a", 2, order=1, piece=1), Staged("m", 3, order=0)]
    facts = tally([FileFact(0, 3), FileFact(1, 3)], pieces)
    found = staged_of(window(part(0, "a.csv"), part(1, "b.csv")), facts.staged)
    assert {name: [one.name for one in parts] for name, parts in found.items()} == {"a.csv": ["m"], "b.csv": ["z", "a"]}


def test_what_is_told_of_a_file_goes_through_the_ledger():
    facts = tally(
        [FileFact(0, 4, 0.5, "cut off", passing=True)],
        [],
        (Dead(Staged("l", 3), {"file-unreadable": 1, "cast-failed": 2}, {"a.csv": {"file-unreadable": 1, "cast-failed": 2}}),),
    )
    from beam_pipelines.runs.counts import LoadCounts, Merged

    told = results(window(part(0, "a.csv")), facts)
    counts = LoadCounts(facts, Merged(files=told, withdrawn=2))
    assert LoadCounts.from_json(counts.to_json()) == counts
    assert told[0].to_json() == {
        "file": "a.csv",
        "records": 4,
        "recordsWritten": 0,
        "rejected": 2,
        "bytes": 100,
        "duration": 500,
        "error": "cut off",
    }


def test_a_range_of_which_nobody_says_anything_is_not_taken_for_read():
    with pytest.raises(BalanceError, match=r"whether 'b.csv' was read"):
        results(window(part(0, "a.csv"), part(1, "b.csv")), tally([FileFact(0, 10)], []))


def test_what_is_of_no_account_of_a_file_that_cannot_be_read():
    # Of a.csv 7 rows were read in two parts before it failed, 2 of them did not fit and one was rejected by a rule; b.csv was read whole.
    codes = {"a.csv": {"file-unreadable": 1, "cast-failed": 2, "rule-violated": 1}, "b.csv": {"cast-failed": 5}}
    letters = (Dead(Staged("l", 9), {"file-unreadable": 1, "cast-failed": 7, "rule-violated": 1}, codes),)
    facts = tally([FileFact(0, 3), FileFact(1, 4, error="cut off"), FileFact(2, 50)], [], letters)
    assert of_no_account(window(part(0, "a.csv"), part(1, "a.csv"), part(2, "b.csv")), facts) == (8, 3)


def test_nobody_pays_for_any_part_of_a_file_that_cannot_be_read():
    parts = [part(0, "a.csv", billed=90), part(1, "a.csv", billed=40), part(2, "b.csv", billed=7)]
    assert unbilled(window(*parts), tally([FileFact(0, 3, error="cut off"), FileFact(1, 4), FileFact(2, 5)], [])) == 130
    assert unbilled(window(*parts), tally([FileFact(0, 3), FileFact(1, 4), FileFact(2, 5)], [])) == 0
