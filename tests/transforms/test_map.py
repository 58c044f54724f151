from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.errors import PlanError
from beam_pipelines.spec.step.map import MapStep
from beam_pipelines.transforms.map import Map

pytestmark = pytest.mark.usefixtures("evaluated_by")

BATCH = pa.record_batch(
    {
        "id": pa.array([1, 2, 3], pa.int32()),
        "name": [" Ann ", None, "Bob"],
        "email": ["ANN@X.COM", "bad", None],
        "amount": [10.0, 20.0, None],
        "address": [{"city": "Bonn", "zip": "53111"}, None, {"city": "Ulm", "zip": None}],
        "phones": [["1", "2"], [], None],
        "at": ["2024-05-01", "soon", None],
    }
)


def test_fields_are_renamed_nested_converted_and_computed(run: Callable[..., Any]) -> None:
    done = run(
        {
            "type": "map",
            "mappings": {
                "key": {"source": "id"},
                "name": {"source": "name", "converter": "trim", "default": "nobody"},
                "contact.phone": {"source": "phones[0]"},
                "contact.place.city": {"source": "address.city", "converter": "upper"},
                "gross": {"expression": "round(amount * 1.1, 2)", "default": 0},
            },
        },
        BATCH,
    )
    assert done.schema == pa.schema(
        [
            ("key", pa.int32()),
            ("name", pa.string()),
            ("contact", pa.struct([("phone", pa.string()), ("place", pa.struct([("city", pa.string())]))])),
            ("gross", pa.float64()),
        ]
    )
    assert done.rows == [
        {"key": 1, "name": "Ann", "contact": {"phone": "1", "place": {"city": "BONN"}}, "gross": 11.0},
        {"key": 2, "name": "nobody", "contact": {"phone": None, "place": {"city": None}}, "gross": 22.0},
        {"key": 3, "name": "Bob", "contact": {"phone": None, "place": {"city": "ULM"}}, "gross": 0.0},
    ]
    assert [place["row"] for place in done.origins] == [0, 1, 2]


def test_a_plain_rename_shares_the_column(run: Callable[..., Any]) -> None:
    done = run({"type": "map", "mappings": {"a": {"source": "amount"}}}, BATCH)
    assert done.applied.batches[0].column("a").buffers()[1].address == BATCH.column("amount").buffers()[1].address


def test_expressions_see_the_fields_before_the_map(run: Callable[..., Any]) -> None:
    done = run(
        {"type": "map", "mappings": {"id": {"expression": "id * 10"}, "old": {"expression": "id"}, "amount": {"source": "id"}}}, BATCH
    )
    assert done.rows[1] == {"id": 20, "old": 2, "amount": 2}


def test_keep_keeps_what_no_mapping_names_in_its_place(run: Callable[..., Any]) -> None:
    done = run(
        {
            "type": "map",
            "unmapped": "keep",
            "onError": "null",
            "mappings": {
                "email": {"source": "email", "converter": "email"},
                "label": {"source": "name"},
                "address.town": {"source": "address.city"},
                "day": {"source": "at", "converter": "date"},
                "double": {"expression": "amount * 2"},
            },
        },
        BATCH,
    )
    # `name` and `at` were renamed; `amount` was only used; `address` keeps its other fields.
    assert done.schema.names == ["id", "email", "amount", "address", "phones", "label", "day", "double"]
    assert done.rows[0] == {
        "id": 1,
        "email": "ann@x.com",
        "amount": 10.0,
        "address": {"city": "Bonn", "zip": "53111", "town": "Bonn"},
        "phones": ["1", "2"],
        "label": " Ann ",
        "day": dt.date(2024, 5, 1),
        "double": 20.0,
    }
    assert done.rows[1]["address"] is None
    assert (done.rows[1]["email"], done.rows[1]["day"], done.applied.nulled) == (None, None, 1)


def test_a_value_that_cannot_be_converted_is_a_dead_letter(run: Callable[..., Any]) -> None:
    done = run(
        {"type": "map", "mappings": {"email": {"source": "email", "converter": "email"}, "day": {"source": "at", "converter": "date"}}},
        BATCH,
    )
    assert done.rows == [{"email": "ann@x.com", "day": dt.date(2024, 5, 1)}, {"email": None, "day": None}]
    assert [place["row"] for place in done.origins] == [0, 2]
    assert done.dead == {1: ("converter-failed", "'email': the text is not an e-mail address")}


def test_on_error_null_puts_null_and_then_the_default(run: Callable[..., Any]) -> None:
    mappings = {"email": {"source": "email", "converter": "email", "default": "none"}, "n": {"expression": 'CAST("at" AS DATE)'}}
    done = run({"type": "map", "onError": "null", "mappings": mappings}, BATCH)
    assert done.rows == [{"email": "ann@x.com", "n": dt.date(2024, 5, 1)}, {"email": "none", "n": None}, {"email": "none", "n": None}]
    assert (done.applied.nulled, done.dead) == (1, {})


def test_on_error_keep_keeps_the_value_and_not_a_failed_expression(run: Callable[..., Any]) -> None:
    done = run({"type": "map", "onError": "keep", "mappings": {"email": {"source": "email", "converter": "email"}}}, BATCH)
    assert [row["email"] for row in done.rows] == ["ann@x.com", "bad", None]
    assert done.applied.nulled == 1
    done = run({"type": "map", "onError": "keep", "mappings": {"n": {"expression": 'CAST("at" AS DATE)'}}}, BATCH)
    assert done.dead == {1: ("expression-failed", "'n': CAST(\"at\" AS DATE): the value cannot be converted to DATE")}


def test_with_required_false_a_failed_row_goes_on_with_its_targets_null(run: Callable[..., Any]) -> None:
    mappings = {"email": {"source": "email", "converter": "email", "default": "none"}, "twice": {"expression": "amount * 2"}}
    mappings["id"] = {"source": "id"}
    done = run({"type": "map", "required": False, "unmapped": "keep", "mappings": mappings}, BATCH)
    assert done.rows[1] == {**BATCH.slice(1, 1).to_pylist()[0], "email": None, "twice": None}, "but a plain rename keeps its value"
    assert done.rows[2]["email"] == "none"
    assert (done.applied.nulled, done.dead, len(done.rows)) == (1, {}, 3)


def test_every_mistake_of_a_map_is_told_at_once() -> None:
    mappings = {
        "a": {"source": "nmae"},
        "b": {"source": "id", "converter": "trim"},
        "c": {"expression": "amount +"},
        "d": {"source": "at", "converter": "dte"},
        "e[0]": {"source": "id"},
        "f": {"source": "id", "default": "many"},
        "g": {"source": "id"},
        "g.h": {"source": "id"},
    }
    step = Map(MapStep.model_validate({"id": "m", "type": "map", "mappings": mappings}), "pipeline.transformations[1]")
    with pytest.raises(PlanError) as raised:
        step.plan(BATCH.schema, None)
    base = "pipeline.transformations[1].mappings."
    assert [problem.path.removeprefix(base) for problem in raised.value.problems] == ["a", "b", "c.expression", "d", "e[0]", "f", "g.h"]
    assert raised.value.code == "column-missing"
    assert "did you mean name?" in raised.value.problems[0].hint
    assert "expected a default of type int32, got 'many'" in raised.value.problems[5].message


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (
            {"onError": "keep", "mappings": {"d": {"source": "at", "converter": "date"}}},
            "expected a converter that keeps the type with onError: keep",
        ),
        ({"unmapped": "keep", "mappings": {"email.host": {"source": "id"}}}, "'email' is kept and is a string, not a struct"),
        ({"mappings": {"__bp_x": {"source": "id"}}}, "__bp_"),
    ],
)
def test_maps_that_cannot_be_are_refused(definition: dict[str, Any], message: str) -> None:
    step = Map(MapStep.model_validate({"id": "m", "type": "map", **definition}), "p")
    with pytest.raises(PlanError) as raised:
        step.plan(BATCH.schema, None)
    assert message in str(raised.value)


def test_not_null_survives_a_plain_rename_and_nothing_else() -> None:
    schema = pa.schema([pa.field("id", pa.int64(), False), pa.field("n", pa.int64(), False)])
    definition = {"id": "m", "type": "map", "unmapped": "keep", "mappings": {"key": {"source": "id"}, "twice": {"expression": "n * 2"}}}
    planned = Map(MapStep.model_validate(definition), "p").plan(schema, None)
    assert [(field.name, field.nullable) for field in planned] == [("n", False), ("key", False), ("twice", True)]
    planned = Map(MapStep.model_validate({**definition, "required": False}), "p").plan(schema, None)
    assert [(field.name, field.nullable) for field in planned] == [("n", False), ("key", True), ("twice", True)]


def test_defaults_fill_every_kind_of_column(run: Callable[..., Any]) -> None:
    batch = pa.record_batch(
        {
            "none": pa.nulls(2),
            "word": pa.array(["a", None]).dictionary_encode(),
            "price": pa.array([Decimal("1.50"), None], pa.decimal128(8, 2)),
            "day": pa.array([dt.date(2024, 1, 1), None]),
            "at": pa.array([dt.datetime(2024, 1, 1), None], pa.timestamp("us", "UTC")),
            "flag": [True, None],
        }
    )
    defaults = {"none": "x", "word": "b", "price": "9.99", "day": "2000-01-01", "at": "2000-01-01T00:00:00", "flag": False}
    done = run({"type": "map", "mappings": {name: {"source": name, "default": value} for name, value in defaults.items()}}, batch)
    assert done.rows[1] == {
        "none": "x",
        "word": "b",
        "price": Decimal("9.99"),
        "day": dt.date(2000, 1, 1),
        "at": dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc),
        "flag": False,
    }
    assert done.rows[0]["none"] == "x"
    assert done.schema.field("word").type == batch.schema.field("word").type


def test_json_columns_pass_and_take_defaults(run: Callable[..., Any]) -> None:
    batch = pa.record_batch({"j": ['{"a":1}', None]})
    done = run({"type": "map", "mappings": {"j": {"source": "j", "converter": "json", "default": "{}"}}}, batch)
    assert done.schema.field("j").type == pa.json_()
    assert [row["j"] for row in done.rows] == ['{"a":1}', "{}"]


words = st.one_of(st.none(), st.sampled_from(["a@x.com", "bad", " 7 ", "", "2024-01-01"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(words, st.lists(words, max_size=2) | st.none()), min_size=1, max_size=15),
    st.integers(0, 15),
    st.booleans(),
    st.sampled_from(["deadletter", "null"]),
    st.sampled_from(["drop", "keep"]),
)
def test_where_a_batch_is_cut_does_not_matter(
    cut_anywhere: Callable[..., None], rows: list[tuple[Any, Any]], cut: int, required: bool, on_error: str, unmapped: str
) -> None:
    batch = pa.record_batch(
        {"w": pa.array([row[0] for row in rows], pa.string()), "l": pa.array([row[1] for row in rows], pa.list_(pa.string()))}
    )
    mappings = {
        "mail": {"source": "w", "converter": "email"},
        "n": {"expression": "CAST(w AS INTEGER)", "default": -1},
        "s.first": {"source": "l[0]"},
        "s.masked": {"source": "l[1]", "converter": "mask(1)"},
        "day": {"source": "w", "converter": "date"},
    }
    cut_anywhere({"type": "map", "required": required, "onError": on_error, "unmapped": unmapped, "mappings": mappings}, batch, cut)
