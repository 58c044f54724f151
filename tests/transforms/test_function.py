from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar import origin
from beam_pipelines.errors import FatalError, PlanError, TransientError
from beam_pipelines.functions import Functions
from beam_pipelines.spec.step.function import FunctionStep
from beam_pipelines.transforms import by_batch
from beam_pipelines.transforms.function import Function

BATCH = pa.record_batch(
    {"id": pa.array([1, 2, 3, 4, 5], pa.int32()), "name": ["Ann", "Bob", None, "Dan", "Eve"], "score": [1.5, None, 3.0, 4.0, 5.0]}
)
CODE = """
import pyarrow as pa
import pyarrow.compute as pc
from beam_pipelines.errors import DataError, FatalError, TransientError
from beam_pipelines.functions import batch, row

def same(row):
    return row

def normalize(row):
    if row["id"] == 4:
        return None
    return {"id": row["id"], "name": row["name"].upper(), "half": row["id"] / 2}

def explode(row):
    for number in range(row["id"] - 1):
        yield {"id": row["id"], "n": number}

def half_bad(row):
    return [{"n": 1}, {"n": "x" if row["id"] == 2 else 2}]

def misfit(row):
    return {"id": row["id"], "n": "many" if row["id"] == 3 else row["id"]}

def surprise(row):
    return {"id": row["id"], **({"extra": 1} if row["id"] == 5 else {})}

def wrong(row):
    return 5

def wrong_inside(row):
    return [{"id": 1}, 7]

def says(row):
    raise DataError("the customer is blocked", code="row-invalid") if row["id"] == 2 else ValueError(row["name"])

def again(row):
    raise TransientError("the service is away")

def stop(row):
    raise FatalError("no credit left")

def leaves(row):
    raise SystemExit(0)

def leaves_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    exit()

def greedy(row):
    return {"id": row["id"] if row["id"] != 3 else len(bytearray(1 << 62))}

def greedy_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    if 3 in batch.column("id").to_pylist():
        raise MemoryError
    return batch.select(["id"])

def doubled(batch: pa.RecordBatch) -> pa.RecordBatch:
    if 2 in batch.column("id").to_pylist():
        raise ValueError("no twos")
    return batch.set_column(0, "id", pc.multiply(batch.column("id"), 2))

def fewer(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.filter(pc.greater(batch.column("id"), 3))

def more(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.concat_batches([batch, batch])

def as_table(batch: pa.RecordBatch) -> pa.Table:
    return pa.concat_tables([pa.table(batch), pa.table(batch)])

@batch(origin=True)
def turned(batch):
    return batch.take(pa.array(list(reversed(range(batch.num_rows)))))

@batch(origin=True)
def thinned(batch):
    return batch.filter(pc.equal(pc.bit_wise_and(batch.column("id"), 1), 1))

@batch(output={"id": "bigint", "n": "bigint"})
def typed(batch):
    texts = ["x" if value == 3 else str(value) for value in batch.column("id").to_pylist()]
    return pa.record_batch({"id": batch.column("id"), "n": texts})

@batch(output={"id": "bigint"})
def more_columns(batch):
    return batch

@batch(output={"id": "bigint"})
def no_batch(batch):
    return 5

@batch
def nothing(batch):
    return batch.slice(0, 0)

class Counting:
    def __enter__(self):
        self.seen = 0
        return self
    def __exit__(self, *args):
        pass
    def __call__(self, row):
        self.seen += 1
        return {"id": row["id"], "seen": self.seen}

class Broken:
    def __enter__(self):
        raise RuntimeError("cannot reach postgresql://me:hunter2@db")
    def __exit__(self, *args):
        pass
    def __call__(self, row):
        return row
"""


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Functions:
    folder: Path = tmp_path_factory.mktemp("service")
    (folder / "functions.py").write_text(dedent(CODE))
    return Functions(folder)


def step(functions: Functions, name: str, **definition: Any) -> Function:
    model = FunctionStep.model_validate({"id": name, "type": "function", **definition})
    return Function(model, functions, "pipeline.transformations[0]")


def test_a_row_function_changes_drops_and_loses_rows(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "normalize", "type": "function"}, BATCH, functions)
    assert done.schema == pa.schema([("id", pa.int32()), ("name", pa.string()), ("half", pa.float64())])
    assert done.rows == [
        {"id": 1, "name": "ANN", "half": 0.5},
        {"id": 2, "name": "BOB", "half": 1.0},
        {"id": 5, "name": "EVE", "half": 2.5},
    ]
    assert [place["row"] for place in done.origins] == [0, 1, 4]
    assert done.applied.filtered == 1
    [(code, message)] = done.dead.values()
    assert list(done.dead) == [2]
    assert code == "function-failed"
    assert message.startswith("AttributeError: 'NoneType' object has no attribute 'upper' (functions.py, line ")


def test_with_required_false_a_failed_row_goes_on_with_what_it_had(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "normalize", "type": "function", "required": False}, BATCH, functions)
    assert [(row["id"], row["name"], row["half"]) for row in done.rows] == [
        (1, "ANN", 0.5),
        (2, "BOB", 1.0),
        (3, None, None),
        (5, "EVE", 2.5),
    ]
    assert [place["row"] for place in done.origins] == [0, 1, 2, 4]
    assert (done.applied.nulled, done.applied.filtered, done.dead) == (1, 1, {})


def test_several_rows_for_one_carry_its_origin(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "explode", "type": "function"}, BATCH, functions)
    assert [(row["id"], row["n"]) for row in done.rows] == [(2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2), (5, 0), (5, 1), (5, 2), (5, 3)]
    assert [place["row"] for place in done.origins] == [1, 2, 2, 3, 3, 3, 4, 4, 4, 4]
    assert (done.applied.made, done.applied.filtered) == (6, 1)


def test_all_that_came_of_a_row_is_lost_with_it(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "half_bad", "type": "function", "output": {"n": "bigint"}}, BATCH, functions)
    assert [place["row"] for place in done.origins] == [0, 0, 2, 2, 3, 3, 4, 4]
    assert done.dead == {1: ("cast-failed", "column 'n': expected int64, got str that does not fit")}
    assert done.applied.made == 4


def test_what_does_not_fit_the_planned_output_is_a_dead_letter(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "misfit", "type": "function", "output": {"id": "bigint", "n": "bigint"}}, BATCH, functions)
    assert [row["n"] for row in done.rows] == [1, 2, 4, 5]
    assert done.dead == {2: ("cast-failed", "column 'n': expected int64, got str that does not fit")}
    done = run({"id": "surprise", "type": "function", "output": {"id": "bigint"}}, BATCH, functions)
    assert list(done.dead) == [4]
    assert "'extra', which is not in the planned output" in done.dead[4][1]


@pytest.mark.parametrize(
    ("name", "message"), [("wrong", "expected a dict, None or an iterable of dicts"), ("wrong_inside", "got int among them")]
)
def test_what_is_no_row_is_a_dead_letter(run: Callable[..., Any], functions: Functions, name: str, message: str) -> None:
    done = run({"id": name, "type": "function", "output": {"id": "bigint"}}, BATCH, functions)
    assert len(done.dead) == 5
    assert message in done.dead[0][1]


def test_data_errors_speak_for_themselves_and_other_exceptions_hide_the_row(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "says", "type": "function", "output": {"id": "bigint"}}, BATCH, functions)
    assert done.dead[1] == ("row-invalid", "the customer is blocked")
    assert done.dead[0][0] == "function-failed"
    assert "Ann" not in done.dead[0][1]


def test_errors_that_are_not_about_a_row_are_raised(functions: Functions) -> None:
    for name, kind in (("again", TransientError), ("stop", FatalError)):
        one = step(functions, name, output={"id": "bigint"})
        one.open(BATCH.schema, one.plan(BATCH.schema, None), dt.datetime.now(dt.timezone.utc))
        with pytest.raises(kind):
            one.apply(BATCH)
        one.close()


def test_rows_are_dicts_a_thousand_at_a_time_and_come_out_as_one_batch(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "same", "type": "function"}, pa.record_batch({"id": list(range(2500))}), functions)
    assert [out.num_rows for out in done.applied.batches] == [2500]
    assert [row["id"] for row in done.rows] == list(range(2500))


def test_a_batch_function_that_raises_loses_only_the_rows_that_fail(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "doubled", "type": "function"}, BATCH, functions)
    assert [row["id"] for row in done.rows] == [2, 6, 8, 10]
    assert [place["row"] for place in done.origins] == [0, 2, 3, 4]
    assert list(done.dead) == [1]
    assert done.dead[1][1].startswith("ValueError: no twos (functions.py, line ")
    done = run({"id": "doubled", "type": "function", "required": False}, BATCH, functions)
    assert [row["id"] for row in done.rows] == [2, 2, 6, 8, 10]
    assert [place["row"] for place in done.origins] == [0, 1, 2, 3, 4]
    assert done.applied.nulled == 1


def test_rows_of_a_batch_function_that_do_not_fit_are_found_by_position(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "typed", "type": "function"}, BATCH, functions)
    assert [(row["id"], row["n"]) for row in done.rows] == [(1, 1), (2, 2), (4, 4), (5, 5)]
    assert list(done.dead) == [2]
    assert done.dead[2][0] == "cast-failed"
    done = run({"id": "typed", "type": "function", "required": False}, BATCH, functions)
    assert [(row["id"], row["n"]) for row in done.rows] == [(1, 1), (2, 2), (3, None), (4, 4), (5, 5)]


def test_another_number_of_rows_gets_the_range_of_the_batch(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "fewer", "type": "function"}, BATCH, functions)
    assert [row["id"] for row in done.rows] == [4, 5]
    assert done.origins == [{"source": "customers (among rows 0 to 4)", "row": None}] * 2
    assert done.applied.filtered == 3
    for name in ("more", "as_table"):
        done = run({"id": name, "type": "function"}, BATCH, functions)
        assert len(done.rows) == 10
        assert done.applied.made == 5


def test_rows_made_of_those_of_two_sources_have_the_names_of_both() -> None:
    batch = pa.record_batch({"id": [1, 2]})
    rows = pa.concat_batches(origin.alike([origin.attach(batch, "leads", key=["id"]), origin.attach(batch, "a.csv", first_row=0)]))
    made = by_batch._with_range(rows, batch.slice(1))
    assert origin.describe(made, [0]) == [{"source": "leads, a.csv"}]


def test_a_function_that_carries_the_origin_keeps_it(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "turned", "type": "function"}, BATCH, functions)
    assert [row["id"] for row in done.rows] == [5, 4, 3, 2, 1]
    assert [place["row"] for place in done.origins] == [4, 3, 2, 1, 0]
    done = run({"id": "thinned", "type": "function"}, BATCH, functions)
    assert done.origins == [{"source": "customers", "row": row} for row in (0, 2, 4)]


def test_a_batch_function_that_gives_other_columns_or_no_batch_fails(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "more_columns", "type": "function"}, BATCH, functions)
    assert len(done.dead) == 5
    assert "gave 'name', 'score': expected the columns id" in done.dead[0][1]
    done = run({"id": "no_batch", "type": "function"}, BATCH, functions)
    assert "expected a RecordBatch" in done.dead[0][1]


def test_a_function_may_drop_every_row(run: Callable[..., Any], functions: Functions) -> None:
    done = run({"id": "nothing", "type": "function"}, BATCH, functions)
    assert done.applied.batches == ()
    assert done.applied.filtered == 5


def test_the_same_failure_on_every_row_is_said_once(functions: Functions, caplog: pytest.LogCaptureFixture) -> None:
    one = step(functions, "wrong", output={"id": "bigint"})
    one.open(BATCH.schema, one.plan(BATCH.schema, None), dt.datetime.now(dt.timezone.utc))
    with caplog.at_level(logging.WARNING):
        one.apply(BATCH)
        one.apply(BATCH)
    one.close()
    assert [record.getMessage() for record in caplog.records if "every row" in record.getMessage()] == [
        "step 'wrong' failed on every row of a batch in the same way: "
        "expected a dict, None or an iterable of dicts from functions.py: wrong, got int"
    ]


def test_set_up_is_once_an_opening_and_its_failure_is_not_a_rows(functions: Functions) -> None:
    one = step(functions, "Counting", output={"id": "bigint", "seen": "bigint"})
    planned = one.plan(BATCH.schema, None)
    for _ in range(2):
        one.open(BATCH.schema, planned, dt.datetime.now(dt.timezone.utc))
        seen = [row["seen"] for part in (BATCH, BATCH) for out in one.apply(part).batches for row in out.to_pylist()]
        assert seen == list(range(1, 11))
        one.close()
    broken = step(functions, "Broken", output={"id": "bigint"})
    with pytest.raises(FatalError) as raised:
        broken.open(BATCH.schema, planned, dt.datetime.now(dt.timezone.utc))
    assert "cannot be set up: RuntimeError: cannot reach postgresql://***@db" in raised.value.message


def test_a_declared_output_needs_no_sample(functions: Functions) -> None:
    assert not step(functions, "same", output={"id": "bigint"}).needs_sample
    assert not step(functions, "typed").needs_sample
    assert step(functions, "same").needs_sample
    assert step(functions, "same", output={"id": "bigint"}).plan(BATCH.schema, None) == pa.schema([("id", pa.int64())])


@pytest.mark.parametrize(
    ("sample", "code", "message"),
    [
        (None, "type-unsupported", "expected a declared output, or a sample of rows"),
        (BATCH.slice(0, 0), "empty-source", "no row of the sample reached the step"),
        (BATCH.slice(3, 1), "type-unsupported", "none of 1 sampled rows came out; 0 failed"),
        (BATCH.slice(2, 1), "type-unsupported", "none of 1 sampled rows came out; 1 failed, the first because of AttributeError"),
    ],
)
def test_an_output_that_cannot_be_sampled_must_be_declared(
    functions: Functions, sample: pa.RecordBatch | None, code: str, message: str
) -> None:
    with pytest.raises(PlanError) as raised:
        step(functions, "normalize").plan(BATCH.schema, sample)
    assert raised.value.code == code
    assert message in raised.value.problems[0].message
    assert "output:" in raised.value.problems[0].hint


def test_a_sample_sees_visible_columns_only(functions: Functions) -> None:
    hidden = origin.attach(BATCH, "customers", key=["id"])
    for name in ("same", "more", "turned"):
        assert step(functions, name).plan(BATCH.schema, hidden) == BATCH.schema


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=12),
    st.integers(0, 12),
    st.booleans(),
    st.sampled_from(["normalize", "explode", "misfit", "half_bad", "doubled", "typed", "thinned"]),
)
def test_where_a_batch_is_cut_does_not_matter(
    cut_anywhere: Callable[..., None], functions: Functions, ids: list[int], cut: int, required: bool, name: str
) -> None:
    batch = pa.record_batch({"id": pa.array(ids, pa.int64()), "name": [None if value == 3 else "n" for value in ids]})
    output = {
        "normalize": {"id": "bigint", "name": "text", "half": "double"},
        "explode": {"id": "bigint", "n": "bigint"},
        "misfit": {"id": "bigint", "n": "bigint"},
        "half_bad": {"n": "bigint"},
        "typed": {"id": "bigint", "n": "bigint"},
    }.get(name, {"id": "bigint", "name": "text"})
    cut_anywhere({"id": name, "type": "function", "required": required, "output": output}, batch, cut, functions)


@pytest.mark.parametrize("name", ["leaves", "leaves_batch"])
def test_code_that_wants_to_end_the_process_stops_the_run(run: Callable[..., Any], functions: Functions, name: str) -> None:
    with pytest.raises(FatalError, match=rf"functions\.py: {name} wanted to end the process \(functions\.py, line \d+\)") as stopped:
        run({"id": name, "type": "function", "output": {"id": "bigint"}}, BATCH, functions)
    assert (stopped.value.code, stopped.value.exit_code) == ("function-failed", 1)


@pytest.mark.parametrize("name", ["greedy", "greedy_batch"])
def test_a_row_that_asks_for_more_memory_than_there_is_costs_itself(run: Callable[..., Any], functions: Functions, name: str) -> None:
    done = run({"id": name, "type": "function", "output": {"id": "int"}}, BATCH, functions)
    assert [row["id"] for row in done.rows] == [1, 2, 4, 5]
    assert list(done.dead) == [2]
    assert done.dead[2][0] == "function-failed"
    assert done.dead[2][1].startswith("MemoryError")


def test_a_function_is_looked_for_even_when_its_output_is_declared(functions: Functions) -> None:
    with pytest.raises(PlanError, match="no code for the function step"):
        step(functions, "nowhere", output={"id": "bigint"}).needs_sample  # noqa: B018
