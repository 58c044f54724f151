from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.runs.guarantee import Guarantee, derive, promises, require, weakest


def of(mode: str, cursor: str | None = "at", **parts: Any) -> Guarantee:
    return derive(**{"mode": mode, "whole": False, "transactional": True, "cursor": cursor, **parts})


# docs/incremental-loads.md has the same table.
@pytest.mark.parametrize(
    ("mode", "cursor", "parts", "level"),
    [
        ("upsert", "at", {"versioned": True}, "exactly-once"),
        ("upsert", "at", {"overlap": 3600.0}, "exactly-once"),
        ("upsert", None, {}, "exactly-once"),
        ("insert", "at", {}, "exactly-once"),
        ("insert", None, {}, "at-least-once"),
        ("replace", "at", {}, "exactly-once"),
        ("replace", None, {}, "exactly-once"),
        ("replace", None, {"whole": True}, "exactly-once"),
        ("insert", "at", {"transactional": False}, "exactly-once"),
        ("insert", None, {"transactional": False}, "at-least-once"),
        ("replace", None, {"whole": True, "transactional": False}, "exactly-once"),
    ],
)
def test_the_level_follows_from_mode_and_cursor(mode: str, cursor: str | None, parts: dict[str, Any], level: str) -> None:
    assert level == of(mode, cursor, **parts).level


def test_what_is_asked_for_is_refused_only_when_it_is_more_than_the_parts_give() -> None:
    weak = of("insert", None)
    with pytest.raises(PlanError, match="exactly-once is asked for") as refused:
        require("exactly-once", weak)
    assert (refused.value.code, refused.value.problems[0].path) == ("guarantee-unreachable", "delivery")
    require("at-least-once", weak)
    require(None, weak)
    require("exactly-once", of("upsert"))
    require("at-least-once", of("upsert"))


def test_who_stamps_the_cursor_is_said_once_by_the_source() -> None:
    stamped = "at is set anew by the database whenever a row changes"
    derived = of("upsert", versioned=True, assumptions=(stamped,))
    assert str(derived).count("by the database") == 1
    assert stamped == derived.reasons[-1]


def test_of_versions_it_says_what_is_known() -> None:
    assert "an older version never overwrites a newer one" in of("upsert", versioned=True).reasons
    assert "there is no version column: the last run wins" in of("upsert", versioned=False).reasons
    assert any("if the functions give the cursor's column on" in reason for reason in of("upsert", versioned=None).reasons)
    assert not any("version" in reason for reason in of("insert", versioned=True).reasons)


@pytest.mark.parametrize(
    ("kind", "overlap", "span"),
    [
        ("timestamp", 3600.0, "1 h"),
        ("timestamp", 90.0, "90 s"),
        ("timestamp", 300.0, "5 min"),
        ("timestamp", 0.5, "0.5 s"),
        ("timestamp", 172800.0, "2 d"),
        ("date", 172800.0, "2 d"),
        ("date", 3600.0, "1 d"),  # less than a day is a whole one: dates have nothing below
        ("date", 90000.0, "2 d"),
        ("sequence", 100.0, "100 units"),
        ("sequence", 86400.0, "86400 units"),
    ],
)
def test_an_overlap_is_said_in_its_own_unit_with_what_it_cannot_see(kind: str, overlap: float, span: str) -> None:
    reasons = of("upsert", kind=kind, overlap=overlap).reasons
    assert f"rows are read again from {span} below the watermark, and written by key" in reasons
    assert f"a row that is committed more than {span} late is not seen" in reasons


def test_of_deleted_rows_it_says_whether_they_go() -> None:
    assert any("deleted in the source stay" in reason for reason in of("upsert").reasons)
    assert any("deleted in the source stay" in reason for reason in of("replace").reasons)
    assert any("deleted in the source go" in reason for reason in of("replace", None, whole=True).reasons)


def test_null_cursors_are_named_where_there_is_a_cursor() -> None:
    assert "rows whose 'at' is null are not read" in of("insert").reasons
    assert not any("null" in reason for reason in of("upsert", None).reasons)


def test_a_target_without_transactions_says_where_its_ledger_is() -> None:
    reasons = str(of("insert", transactional=False))
    assert "the ledger is in the state store" in reasons
    assert "without its state store a service starts anew" in reasons
    assert "one transaction of the target" not in reasons


def test_tables_with_the_same_guarantee_are_told_together() -> None:
    strong, weak = of("upsert", versioned=True), of("insert", None)
    made = promises({"a": strong, "b": weak, "c": of("upsert", versioned=True)})
    assert [(one.level, one.guarantee) for one in made] == [("exactly-once for a, c", strong), ("at-least-once for b", weak)]
    assert str(made[0]).startswith("exactly-once for a, c: rows, ledger and watermark")
    assert weakest(made) == weak
    require("exactly-once", made[0])
    with pytest.raises(PlanError, match="at-least-once for b"):
        require("exactly-once", made[1])


def test_of_one_table_nothing_is_named() -> None:
    (made,) = promises({"a": of("upsert")})
    assert (made.level, str(made)) == ("exactly-once", str(of("upsert")))
    assert weakest([made]) == of("upsert")
