"""Tests of definitions, carried out: rows in the place of sources, and what comes at each step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.engine import preview
from beam_pipelines.engine.cases.case import Verdict
from beam_pipelines.engine.cases.mocked import MockedJob
from beam_pipelines.engine.job import Job
from beam_pipelines.errors import PlanError, SpecError
from beam_pipelines.etl.service import Service
from beam_pipelines.spec import parse
from beam_pipelines.transforms.registry import SERVED

FUNCTIONS = """
def initials(row: dict) -> dict:
    if row["name"] is None:
        raise ValueError("name is missing")
    return {**row, "initial": row["name"][0]}
"""


def definition(*steps: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {
        "name": "Customers",
        "pipeline": {
            "source": {"type": "database", "connection": "crm", "tables": ["crm.*"], "cursor": {"column": "updated_at"}},
            "transformations": list(steps),
            "destination": {"type": "database", "connection": "target", "table": "{table}"},
        },
        **other,
    }


def run(folder: Path, whole: dict[str, Any], rows: Any, expect: dict[str, Any], **test: Any) -> Verdict:
    """Without any connection: there is no connections file."""
    case = {"name": "one", "input": rows, "expect": expect, **test}
    [verdict] = Service(parse({**whole, "tests": [case]}).definition, folder).test()
    return verdict


def differences(verdict: Verdict) -> list[tuple[Any, ...]]:
    assert verdict.error is None, verdict.error
    entries = verdict.to_json()["differences"]
    return [(one["step"], one["what"], one["row"], one["column"], one.get("expected"), one.get("got")) for one in entries]


ADULTS = {"id": "adults", "type": "filter", "condition": "age >= 18"}


def test_what_passes_is_dropped_and_dies_can_be_expected_at_each_step(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    whole = definition(
        ADULTS, {"id": "initials", "type": "function", "output": {"id": "bigint", "name": "text", "age": "bigint", "initial": "text"}}
    )
    rows = [{"id": 1, "name": "Ann", "age": 30}, {"id": 2, "name": "Bob", "age": 9}, {"id": 3, "age": 40}]
    right = {
        "adults": {"rows": [{"id": 1}, {"id": 3, "name": None}], "filtered": 1, "dead": []},
        "initials": {
            "rows": [{"id": 1, "initial": "A"}],
            "dead": [{"row": {"id": 3}, "code": "function-failed", "message": "name is missing"}],
        },
        "output": [{"id": 1, "name": "Ann", "age": 30, "initial": "A"}],
    }  # fmt: skip
    assert run(tmp_path, whole, rows, right).passed
    wrong = {
        "adults": {"rows": [{"id": 1}], "filtered": 0},
        "initials": {"dead": [{"row": {"id": 3, "age": 41}, "code": "cast-failed"}], "rows": [{"id": 1, "initial": "B"}]},
        "output": [{"id": 2}],
    }
    verdict = run(tmp_path, whole, rows, wrong)
    assert differences(verdict) == [
        ("adults", "rows", "row 2 that came", None, None, {"id": 3}),
        ("adults", "filtered", "", "", 0, 1),
        ("initials", "rows", "row 1", "initial", "B", "A"),
        ("initials", "dead", "row 1", "code", "cast-failed", "function-failed"),
        ("initials", "dead", "row 1", "row.age", 41, 40),
        ("output", "rows", "row 1", "id", 2, 1),
    ]
    assert "  1 in initials: function-failed: ValueError: name is missing (functions.py, line 4)" in list(verdict.lines())
    with pytest.raises(AssertionError, match="adults: 1 rows differ"):
        verdict.check()


VALUES: dict[str, tuple[str, Any, Any, Any]] = {
    "a number and its double": ("double", 1, 1, 2),
    "a sum of doubles": ("double", 0.1 + 0.2, 0.3, 0.30001),
    "NaN": ("double", float("nan"), float("nan"), None),
    "null": ("bigint", None, None, 0),
    "a decimal and its noughts": ("decimal(10, 2)", "1.50", 1.5, 1.51),
    "an instant in two zones": ("timestamptz", "2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00Z", "2026-01-01T00:00:00Z"),
    "a time without a zone": ("timestamp", "2026-01-01T10:00:00", "2026-01-01 10:00:00.000", "2026-01-01T10:00:01"),
    "a date": ("date", "2026-01-01", "2026-01-01", "2026-01-02"),
    "text that is a number": ("text", "1", "1", 1),
    "a bool that is no number": ("bool", True, True, 1),
    "nested": ("struct<a: list<double>, b: text>", {"a": [1, None]}, {"b": None, "a": [1.0, None]}, {"a": [1]}),
    "json": ("json", {"a": [1]}, '{"a":  [1]}', {"a": [2]}),
    "bytes": ("binary", "aGk=", "aGk=", "aGkh"),
}  # fmt: skip


@pytest.mark.parametrize("what", VALUES)
def test_values_are_compared_as_the_column_s_type_means_them(tmp_path: Path, what: str) -> None:
    kind, value, right, wrong = VALUES[what]
    rows = {"rows": [{"id": 1, "x": value}], "types": {"x": kind}}
    assert run(tmp_path, definition(), rows, {"output": [{"x": right}]}).passed
    assert not run(tmp_path, definition(), rows, {"output": [{"x": wrong}]}).passed


def test_what_json_does_not_know_is_told_as_text(tmp_path: Path) -> None:
    rows = {"rows": [{"id": 1, "x": "1.50", "y": 2}], "types": {"x": "decimal(10, 2)"}}
    verdict = run(tmp_path, definition(), rows, {"output": {"rows": [{"id": 1, "x": 2, "y": [float("nan")]}], "keyFields": ["id"]}})
    assert differences(verdict) == [("output", "rows", "id=1", "x", "2.00", "1.50"), ("output", "rows", "id=1", "y", ["NaN"], 2)]
    json.dumps(verdict.to_json(), allow_nan=False)


def test_only_columns_that_a_row_names_are_compared_unless_it_is_exact(tmp_path: Path) -> None:
    rows = [{"id": 1, "a": None}, {"id": 2, "a": "x"}]
    assert run(tmp_path, definition(), rows, {"output": [{"id": 2}, {"id": 1}]}).passed
    exact = run(tmp_path, definition(), rows, {"output": {"rows": [{"id": 1}, {"id": 2}], "exact": True}})
    assert differences(exact) == [("output", "rows", "row 2", "a", None, "x")]
    other = run(tmp_path, definition(), rows, {"output": [{"id": 1}, {"id": 2, "b": None}]})
    assert differences(other) == [("output", "rows", "row 2", "b", None, None)]
    assert "no such column; there are id, a" in "\n".join(other.lines())


def test_rows_in_order_and_by_key(tmp_path: Path) -> None:
    rows = [{"id": 1, "a": 1}, {"id": 2, "a": 2}]
    assert not run(tmp_path, definition(), rows, {"output": {"rows": [{"id": 2}, {"id": 1}], "ordered": True}}).passed
    keyed = run(tmp_path, definition(), rows, {"output": {"rows": [{"id": 2, "a": 1}, {"id": 1, "a": 1}], "keyFields": ["id"]}})
    assert differences(keyed) == [("output", "rows", "id=2", "a", 1, 2)]


PRICE = {
    "id": "price",
    "type": "join",
    "how": "left",
    "on": {"plan": "code"},
    "source": {
        "type": "database",
        "connection": "crm",
        "table": "plans",
        "transformations": [
            {"id": "sold", "type": "filter", "condition": "cents > 0"},
            {"id": "known", "type": "join", "on": ["code"], "how": "semi", "source": {"type": "file", "path": "codes.parquet"}},
        ],
    },
}
TOTALS = {"id": "totals", "type": "aggregate", "groupBy": ["plan"], "aggregations": {"*": "count", "cents": "sum"}}
ROWS = [{"plan": "pro"}, {"plan": "pro"}, {"plan": "free"}, {"plan": None}]
SOURCES = {"price": [{"code": "pro", "cents": 2900}, {"code": "free", "cents": 0}, {"code": "old", "cents": 1}], "known": [{"code": "pro"}]}


def test_joins_nested_ones_and_groups_are_tested_with_rows_for_each_source(tmp_path: Path) -> None:
    expect = {
        "sold": {"rows": [{"code": "pro"}, {"code": "old"}], "filtered": 1},
        "known": [{"code": "pro"}],
        "price": [{"plan": "pro", "cents": 2900}, {"plan": "pro", "cents": 2900}, {"plan": "free", "cents": None}, {"plan": None}],
        "totals": [{"plan": "pro", "count": 2, "sum_cents": 5800}, {"plan": "free", "count": 1}, {"plan": None, "sum_cents": None}],
    }
    verdict = run(tmp_path, definition(PRICE, TOTALS), ROWS, expect, sources=SOURCES)
    assert (verdict.error, differences(verdict)) == (None, [])


PLANS = {"type": "database", "connection": "crm", "table": "plans"}
PEOPLE = [{"id": 1, "plan": "pro", "n": 3}, {"id": 2, "plan": "pro", "n": 5}, {"id": 3, "plan": "free", "n": 4}]
EACH: dict[str, tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]] | None]] = {  # keys, what comes, and rows of a source
    "function": ({"handler": "functions:same"}, [{"id": 1}, {"id": 2}, {"id": 3}], None),
    "map": ({"mappings": {"who": {"source": "id"}}}, [{"who": 1}, {"who": 2}, {"who": 3}], None),
    "filter": ({"condition": "n > 3"}, [{"id": 2}, {"id": 3}], None),
    "aggregate": ({"groupBy": ["plan"], "aggregations": {"n": "max"}}, [{"plan": "pro", "max_n": 5}, {"plan": "free", "max_n": 4}], None),
    "join": ({"on": ["plan"], "source": PLANS}, [{"id": 3, "price": 0}], [{"plan": "free", "price": 0}]),
    "explode": ({"field": "names"}, [{"id": 1, "names": "a"}, {"id": 1, "names": "b"}], None),
    "sample": ({"fraction": 1.0}, [{"id": 1}, {"id": 2}, {"id": 3}], None),
    "sql": ({"query": "SELECT id, n + 1 AS m FROM input WHERE n > 4"}, [{"id": 2, "m": 6}], None),
    "deduplicate": ({"by": ["plan"], "keep": "last", "orderBy": "n"}, [{"id": 2}, {"id": 3}], None),
    "top": ({"by": ["plan"], "n": 1, "orderBy": "n"}, [{"id": 1}, {"id": 3}], None),
    "limit": ({"n": 3}, [{"id": 1}, {"id": 2}, {"id": 3}], None),
    "sort": ({"by": ["plan"], "orderBy": "-n"}, [{"id": 2}, {"id": 1}, {"id": 3}], None),
    "pivot": ({"groupBy": [], "column": "plan", "values": ["free"], "value": "n"}, [{"free": 4}], None),
    "union": ({"source": PLANS}, [{"id": 1}, {"id": 2}, {"id": 3}, {"id": 9}], [{"id": 9, "plan": "pro", "n": 0}]),
    "validate": ({"rules": [{"id": "once", "type": "unique", "field": "plan"}]}, [{"id": 1}, {"id": 3}], None),
    "enrich": ({"on": ["plan"], "source": PLANS}, [{"id": 1}, {"id": 2}, {"id": 3, "price": 0}], [{"plan": "free", "price": 0}]),
}


@pytest.mark.parametrize("kind", SERVED)
def test_each_type_of_step_can_be_tested(tmp_path: Path, kind: str) -> None:
    (tmp_path / "functions.py").write_text("def same(row: dict) -> dict:\n    return row\n")
    keys, expected, source = EACH[kind]
    rows = [{"id": 1, "names": ["a", "b"]}] if kind == "explode" else PEOPLE
    sources = {} if source is None else {"sources": {"it": source}}
    verdict = run(tmp_path, definition({"id": "it", "type": kind, **keys}), rows, {"it": expected}, **sources)
    assert (verdict.error, differences(verdict)) == (None, [])


def problems(verdict: Verdict) -> list[tuple[str, str]]:
    assert isinstance(verdict.error, SpecError)
    return [(problem.path, problem.message) for problem in verdict.error.problems]


def test_rows_for_a_source_that_are_missing_or_of_no_use_are_named(tmp_path: Path) -> None:
    missing = run(tmp_path, definition(PRICE), ROWS, {"output": []}, sources={"price": SOURCES["price"]})
    assert problems(missing) == [("tests[0].sources", "expected rows for the source of the step 'known', got none")]
    unread = run(tmp_path, definition(ADULTS), [{"age": 1}], {"output": []}, sources={"adults": []})
    assert problems(unread) == [("tests[0].sources.adults", "expected a step that reads a source of its own, got another one")]


def test_rows_that_do_not_fit_their_types_are_all_named(tmp_path: Path) -> None:
    rows = {"rows": [{"a": 1, "b": None, "c": "x"}, {"a": "x", "b": None, "c": 1}], "types": {"c": "bigint", "d": "bigit"}}
    assert problems(run(tmp_path, definition(), rows, {"output": []})) == [
        ("tests[0].input.rows[0].a", "expected a type for the column 'a', which holds values of several kinds"),
        ("tests[0].input.rows[0].b", "expected a type for the column 'b', which holds only null"),
        ("tests[0].input.rows[0].c", "expected bigint, got 'x'"),
        ("tests[0].input.types.d", "expected the name of a type, got 'bigit': did you mean 'bigint'?"),
    ]


def test_a_step_that_does_not_fit_the_rows_is_a_mistake_of_the_definition(tmp_path: Path) -> None:
    verdict = run(tmp_path, definition(ADULTS), [{"id": 1}], {"output": []})
    assert isinstance(verdict.error, PlanError)
    assert problems(verdict)[0][0] == "pipeline.transformations[0].condition"
    with pytest.raises(PlanError):
        verdict.check()


def test_a_function_is_sampled_from_the_rows_and_needs_one(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    whole = definition({"id": "initials", "type": "function"})
    assert run(tmp_path, whole, [{"name": "Zoe"}], {"output": [{"initial": "Z"}]}).passed
    [(path, _)] = problems(run(tmp_path, whole, {"types": {"name": "text"}}, {"output": []}))
    assert path == "tests[0].input"


def test_a_row_whose_output_does_not_fit_the_plan_died_in_its_step(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(
        "import pyarrow as pa\n\n\ndef texts(batch: pa.RecordBatch) -> pa.RecordBatch:\n"
        "    return pa.record_batch({'n': pa.array(['1', 'x'])})\n"
    )
    step = {"id": "texts", "type": "function", "output": {"n": "bigint"}}
    expect = {"texts": {"rows": [{"n": 1}], "dead": [{"code": "cast-failed", "row": {"id": 2}}]}}
    verdict = run(tmp_path, definition(step), [{"id": 1}, {"id": 2}], expect)
    assert (verdict.error, differences(verdict)) == (None, [])


def test_a_source_without_rows_has_types(tmp_path: Path) -> None:
    assert run(tmp_path, definition(ADULTS), {"types": {"age": "bigint"}}, {"output": []}).passed


def test_the_clock_can_be_set(tmp_path: Path) -> None:
    step = {"id": "age", "type": "map", "mappings": {"on": {"expression": "today()"}, "at": {"expression": "now()"}}}
    expect = {"output": [{"on": "2026-01-30", "at": "2026-01-30T23:00:00Z"}]}
    assert run(tmp_path, definition(step), [{"id": 1}], expect, now="2026-01-31T00:00:00+01:00").passed


def test_output_has_the_target_s_names(tmp_path: Path) -> None:
    assert run(
        tmp_path, definition(naming="snake"), [{"firstName": "Ann"}], {"output": {"rows": [{"first_name": "Ann"}], "exact": True}}
    ).passed


def test_one_test_of_several_is_chosen_by_its_name(tmp_path: Path) -> None:
    tests = [{"name": name, "input": [{"id": 1}], "expect": {"output": [{"id": at}]}} for at, name in enumerate(("zero", "one"))]
    service = Service(parse(definition(tests=tests)).definition, tmp_path)
    assert [(str(one), one.path, one.passed) for one in service.test()] == [("zero", "tests[0]", False), ("one", "tests[1]", True)]
    assert [str(one) for one in service.test("one")] == ["one"]
    with pytest.raises(SpecError, match=r"expected the name of a test \('zero', 'one'\), got 'two'"):
        service.test("two")


def test_no_connection_can_be_had_not_even_one_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_PIPELINES_CONNECTION_CRM", f"sqlite:///{tmp_path}/crm.db")
    job = MockedJob(Job.of(parse(definition()).definition, tmp_path).text)
    for ask in (job.connections, job.open_target):
        with pytest.raises(PlanError, match="connects to nothing"):
            ask(None)


def test_a_stream_without_windows_needs_no_time_of_events(tmp_path: Path) -> None:
    whole = {"name": "Stream", "stream": {"source": {"type": "kafka", "topic": "t"}, "sinks": [{"type": "kafka", "topic": "u"}]}}
    tests = [{"name": name, "input": [{"id": 1}], "expect": {"output": [{"id": wanted}]}} for name, wanted in (("same", 1), ("other", 2))]
    same, other = Service(parse({**whole, "tests": tests}).definition, tmp_path).test()
    assert (same.passed, other.passed, other.error) == (True, False, None)


def test_a_defect_costs_the_test_that_meets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = [{"name": name, "input": [{"id": 1}], "expect": {"output": [{"id": 1}]}} for name in ("one", "two")]
    service = Service(parse(definition(tests=tests)).definition, tmp_path)
    follow, met = preview.follow, []

    def broken(*arguments: Any) -> Any:
        met.append(arguments)
        if len(met) == 1:
            raise ValueError("a defect")
        return follow(*arguments)

    monkeypatch.setattr(preview, "follow", broken)
    one, two = service.test()
    assert (one.passed, str(one.error), two.passed) == (False, "ValueError: a defect", True)


def test_rows_have_columns(tmp_path: Path) -> None:
    assert problems(run(tmp_path, definition(), [{}, {}], {"output": []})) == [
        ("tests[0].input", "expected rows with columns, got rows without any")
    ]
