from __future__ import annotations

import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.runs.guarantee import derive, require


def test_an_incremental_upsert_between_databases_is_exactly_once_and_names_its_assumption() -> None:
    derived = derive(mode="upsert", whole=False, transactional=True, cursor="updated_at", versioned=True)
    assert derived.level == "exactly-once"
    assert "'updated_at' is taken to be stamped by the database" in str(derived)
    assert "deleted rows are not seen" in str(derived)


def test_inserting_everything_again_each_run_is_at_least_once() -> None:
    derived = derive(mode="insert", whole=False, transactional=True, cursor=None)
    assert derived.level == "at-least-once"
    with pytest.raises(PlanError, match="exactly-once is asked for"):
        require("exactly-once", derived)
    require("at-least-once", derived)


def test_without_a_version_column_the_guarantee_says_that_the_last_run_wins() -> None:
    assert "the last run wins" in str(derive(mode="upsert", whole=False, transactional=True, cursor="id"))


def test_an_overlap_is_printed_with_what_it_cannot_see() -> None:
    derived = derive(mode="upsert", whole=False, transactional=True, cursor="at", stamped_by="client", overlap=3600.0)
    assert "3600 s below the watermark" in str(derived)
    assert "committed later than that is not seen" in str(derived)
