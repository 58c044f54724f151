from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import BalanceError
from beam_pipelines.runs.balance import Budget, check_flow, check_merge, violations
from beam_pipelines.runs.counts import LoadCounts, Merged, Tally
from beam_pipelines.runs.facts import Aside, Dead, ReadFact, Staged, StagedFact, StepFact
from beam_pipelines.runs.mark import Mark

COUNT = st.integers(0, 1000)


def dead(rows: int) -> tuple[Dead, ...]:
    return (Dead(Staged("d", rows), {"x": rows}),) if rows else ()


@st.composite
def bundles(draw: st.DrawFn) -> list[ReadFact | StepFact | StagedFact]:
    """The facts of one bundle through two steps, made so that every row is accounted for."""
    out, read_dead = draw(COUNT), draw(COUNT)
    kept, filtered, died, made = draw(COUNT), draw(COUNT), draw(COUNT), draw(COUNT)
    facts: list[ReadFact | StepFact | StagedFact] = [ReadFact("t", out + read_dead, out * 10, read_dead, Mark.of(out), dead(read_dead))]
    first = StepFact("t", "one", out, out)
    filtered, died = min(filtered, out), min(died, max(0, out - filtered))
    second_out = out + made - filtered - died
    second = StepFact("t", "two", out, second_out, filtered=filtered, dead=died, made=made, letters=dead(died), fused_with=("one",))
    kept = min(kept, second_out)
    stage = StagedFact("t", second_out, (Staged("s", kept),), second_out - kept, dead(second_out - kept))
    return [*facts, first, second, stage]


@given(st.lists(bundles(), min_size=1, max_size=5))
def test_rows_that_are_all_accounted_for_balance_over_any_bundles(several: list[list[ReadFact | StepFact | StagedFact]]) -> None:
    tally = Tally.of("t", [fact for bundle in several for fact in bundle], ["one", "two"])
    assert violations(tally) == []
    assert tally.read == tally.staged_rows + tally.dead + tally.filtered - sum(step.made for step in tally.steps)


@given(bundles(), st.integers(0, 3), st.integers(1, 5))
def test_a_row_lost_or_doubled_anywhere_is_found(facts: list[ReadFact | StepFact | StagedFact], where: int, by: int) -> None:
    fact = facts[where]
    field = {ReadFact: "rows", StepFact: "records_out", StagedFact: "rows_in"}[type(fact)]
    facts[where] = replace(fact, **{field: getattr(fact, field) + by})
    with pytest.raises(BalanceError, match="do not add up"):
        check_flow(Tally.of("t", facts, ["one", "two"]))


def test_dead_rows_without_their_letters_are_found() -> None:
    facts = [ReadFact("t", 3, 0, 1), StagedFact("t", 2, (Staged("s", 2),))]
    assert violations(Tally.of("t", facts, [])) == ["1 rows died before the merge, but 0 dead letters are staged"]


def test_facts_of_other_loads_do_not_count() -> None:
    facts = [ReadFact("t", 2), StagedFact("t", 2, (Staged("s", 2),)), ReadFact("u", 5)]
    assert violations(Tally.of("t", facts, [])) == []


def test_a_run_without_rows_balances() -> None:
    tally = Tally.of("t", [], ["one"])
    check_flow(tally)
    check_merge(tally, Merged())
    assert tally.newest is None


@pytest.mark.parametrize("kind", ["inserted", "updated", "unchanged", "stale", "superseded", "dead"])
def test_every_kind_of_staged_row_is_part_of_the_merge_law(kind: str) -> None:
    tally = Tally.of("t", [ReadFact("t", 7), StagedFact("t", 7, (Staged("s", 7),))], [])
    check_merge(tally, Merged(**{kind: 7}))
    with pytest.raises(BalanceError, match="7 rows staged"):
        check_merge(tally, Merged(**{kind: 6}))


def test_deleted_rows_are_not_part_of_the_merge_law() -> None:
    tally = Tally.of("t", [ReadFact("t", 1), StagedFact("t", 1, (Staged("s", 1),))], [])
    check_merge(tally, Merged(inserted=1, deleted=99))


def test_the_newest_mark_is_the_greatest_over_bundles_whatever_their_order() -> None:
    facts = [ReadFact("t", 1, newest=Mark.of(n)) for n in (5, 9, 2)]
    assert Mark.of(9) == Tally.of("t", facts, []).newest


@given(bundles())
def test_counts_come_back_from_json(facts: list[ReadFact | StepFact | StagedFact]) -> None:
    import json

    tally = Tally.of("t", facts, ["one", "two"])
    counts = LoadCounts(tally, Merged(inserted=tally.staged_rows, letters=dead(2)), Mark.of("x"), True, "m", "c")
    assert counts == LoadCounts.from_json(json.loads(json.dumps(counts.to_json())))


def test_rejected_rows_are_put_aside_as_many_as_there_are() -> None:
    def tally(rejected: int, aside: int, made: int = 0) -> Tally:
        letters = (Dead(Staged("d", rejected)),)
        asides = (Aside("rejected", Staged("a", 1), aside), Aside("violations", Staged("b", 1), 99))
        step = StepFact("t", "one", 9, 9 + made - rejected, rejected=rejected, made=made, letters=letters, asides=asides)
        return Tally.of("t", [ReadFact("t", 9), step, StagedFact("t", step.records_out, (Staged("s", step.records_out),))], ["one"])

    check_flow(tally(3, 3))
    check_flow(tally(5, 3, made=2))  # two of them in the source of a reference
    for wrong in (tally(3, 2), tally(3, 4), tally(5, 2, made=2)):
        with pytest.raises(BalanceError, match=r"step 'one' rejected \d rows, but \d are put aside"):
            check_flow(wrong)
    assert LoadCounts.from_json(LoadCounts(tally(3, 3), Merged()).to_json()).kept == ("d", "a", "b")


def test_a_share_is_judged_only_after_a_thousand_rows() -> None:
    budget = Budget(share=0.10)
    assert budget.exceeded(999, 999) is None
    assert budget.exceeded(1000, 100) is None
    assert budget.exceeded(1000, 101) == "101 of 1000 rows failed (10.1%), the error budget allows 10%"


def test_a_count_is_judged_at_once() -> None:
    assert Budget(rows=1, share=None).exceeded(3, 2) == "2 of 3 rows failed, the error budget allows 1"


def test_a_budget_that_is_used_up_exactly_is_kept() -> None:
    for percent in range(1, 100):
        budget = Budget(share=float(Decimal(percent) / 100))
        assert budget.exceeded(1000, percent * 10) is None
        assert budget.exceeded(1000, percent * 10 + 1) == (
            f"{percent * 10 + 1} of 1000 rows failed ({percent}.1%), the error budget allows {percent}%"
        )


def test_a_budget_below_one_percent_is_said_as_it_is() -> None:
    assert "the error budget allows 0.25%" in str(Budget(share=0.0025).exceeded(1000, 3))
