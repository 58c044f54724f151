from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.engine.lineage import gives_one, group_columns, snake, trace
from beam_pipelines.functions import Functions
from beam_pipelines.spec import AggregateStep, EnrichStep, ExplodeStep, FilterStep, FunctionStep, MapStep, SampleStep, SqlStep
from beam_pipelines.spec.step.deduplicate import DeduplicateStep
from beam_pipelines.spec.step.limit import LimitStep
from beam_pipelines.spec.step.pivot import PivotStep
from beam_pipelines.spec.step.sort import SortStep
from beam_pipelines.spec.step.top import TopStep
from beam_pipelines.spec.step.union import UnionStep
from beam_pipelines.transforms.registry import build

COLUMNS = ("id", "Name", "email", "updated_at")


def mapped(mappings: dict[str, Any], unmapped: str = "drop") -> MapStep:
    return MapStep.model_validate({"id": "m", "mappings": mappings, "unmapped": unmapped})


MAPS = [
    ({"key": {"source": "id"}}, "drop", {"id": "key"}),
    ({"key": {"source": "id"}}, "keep", {"id": "key", "Name": "Name", "email": "email", "updated_at": "updated_at"}),
    # Converted, defaulted or computed: another value.
    ({"Name": {"source": "Name", "converter": "lower"}}, "keep", {"id": "id", "email": "email", "updated_at": "updated_at"}),
    ({"n": {"source": "id", "default": 0}, "email": {"source": "email"}}, "drop", {"email": "email"}),
    ({"email": {"expression": "lower(email)"}}, "keep", {"id": "id", "Name": "Name", "updated_at": "updated_at"}),
    # The source of a conversion is renamed too: with `keep` it is not there any more under its own name.
    ({"mail": {"source": "email", "converter": "trim"}}, "keep", {"id": "id", "Name": "Name", "updated_at": "updated_at"}),
    # An expression takes nothing away.
    ({"mail": {"expression": "lower(email)"}}, "keep", {"id": "id", "Name": "Name", "email": "email", "updated_at": "updated_at"}),
    # Two columns change places.
    ({"id": {"source": "email"}, "email": {"source": "id"}}, "drop", {"id": "email", "email": "id"}),
    # Into a struct: no column of the target any more.
    ({"who.name": {"source": "Name"}, "id": {"source": "id"}}, "drop", {"id": "id"}),
    ({"email.work": {"source": "Name"}}, "drop", {}),
    # Names are meant whatever their case, as the map does.
    ({"name": {"source": "NAME"}}, "drop", {"Name": "name"}),
    # Twice: the first.
    ({"a": {"source": "id"}, "b": {"source": "id"}}, "drop", {"id": "a"}),
    ({"bad[0]": {"source": "id"}, "email": {"source": "email"}}, "drop", {"email": "email"}),
]


@pytest.mark.parametrize(("mappings", "unmapped", "expected"), MAPS)
def test_a_map_carries_columns_on_under_the_names_it_gives_them(mappings: dict[str, Any], unmapped: str, expected: dict[str, str]) -> None:
    assert trace(COLUMNS, [mapped(mappings, unmapped)], exact=True) == expected
    assert trace(COLUMNS, [mapped(mappings, unmapped)], exact=False) == expected


@pytest.mark.parametrize(("mappings", "unmapped", "expected"), [one for one in MAPS if "bad[0]" not in one[0]])
def test_the_map_itself_puts_the_values_there(mappings: dict[str, Any], unmapped: str, expected: dict[str, str]) -> None:
    batch = pa.record_batch({"id": [1, None], "Name": ["A", "B"], "email": [" A@x", " B@x"], "updated_at": [7, 8]})
    step = build(mapped(mappings, unmapped), Functions(), "pipeline.transformations[0]")
    step.open(batch.schema, step.plan(batch.schema, None), datetime.now(timezone.utc))
    (out,) = step.apply(batch).batches
    step.close()
    for column in COLUMNS:
        same = [name for name in out.schema.names if out.column(name).equals(batch.column(column))]
        assert same[:1] == ([expected[column]] if column in expected else [])


def test_several_maps_are_followed_one_after_the_other() -> None:
    steps = [mapped({"a": {"source": "id"}}, "keep"), mapped({"b": {"source": "a"}}, "keep"), mapped({"id": {"source": "b"}}, "drop")]
    assert trace(COLUMNS, steps, exact=True) == {"id": "id"}


def test_a_filter_changes_no_name_whether_it_is_required_or_not() -> None:
    for required in (True, False):
        step = FilterStep.model_validate({"id": "f", "condition": "id > 1", "required": required})
        assert trace(COLUMNS, [step], exact=True) == {column: column for column in COLUMNS}


def test_a_function_may_change_any_value_but_is_taken_to_keep_what_a_name_means() -> None:
    function = FunctionStep.model_validate({"id": "f"})
    steps = [mapped({"key": {"source": "id"}}, "keep"), function]
    assert trace(COLUMNS, steps, exact=True) == {}
    assert trace(("id",), steps, exact=False) == {"id": "key"}


def test_without_steps_everything_arrives() -> None:
    assert trace(COLUMNS, [], exact=True) == {column: column for column in COLUMNS}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CustomerID", "customer_id"),
        ("customer id", "customer_id"),
        ("HTTPServerName", "http_server_name"),
        ("already_snake", "already_snake"),
        ("Größe (cm)", "größe_cm"),
        ("a--b  c", "a_b_c"),
        ("address.city", "address_city"),
        ("e-mail", "e_mail"),
        ("X", "x"),
        ("line2Text", "line2_text"),
        ("_private", "private"),
    ],
)
def test_snake_names(name: str, expected: str) -> None:
    assert snake(name) == expected
    assert snake(snake(name)) == expected


def test_a_lookup_keeps_every_column_as_it_was() -> None:
    table = {"id": "e", "on": ["id"], "source": {"type": "file", "path": "x.parquet"}}
    api = {"id": "e", "connection": "api", "request": {"path": "/{id}"}, "output": {"n": "bigint"}}
    for step in (table, api):
        assert trace(COLUMNS, [EnrichStep.model_validate(step)], exact=True) == {name: name for name in COLUMNS}


def grouped(*fields: str) -> AggregateStep:
    return AggregateStep.model_validate({"id": "a", "groupBy": list(fields), "aggregations": {"*": "count"}})


def test_an_aggregate_keeps_the_columns_it_groups_by_but_they_name_a_source_row_no_more() -> None:
    assert trace(COLUMNS, [grouped("name", "email")], exact=False) == {"Name": "name", "email": "email"}
    assert trace(COLUMNS, [grouped("id")], exact=True) == {}


EXPLODE = ExplodeStep.model_validate({"id": "e", "field": "email", "as": "mail"})


def query(text: str) -> SqlStep:
    return SqlStep.model_validate({"id": "q", "query": text})


SAMPLE = SampleStep.model_validate({"id": "s", "fraction": 0.5})


def test_elements_of_a_list_are_not_told_apart_by_the_key_of_their_row() -> None:
    assert trace(COLUMNS, [EXPLODE], exact=True) == {}
    assert trace(COLUMNS, [EXPLODE], exact=False) == {"id": "id", "Name": "Name", "updated_at": "updated_at"}


def test_a_sample_leaves_rows_as_they_are() -> None:
    assert trace(COLUMNS, [SAMPLE], exact=True) == {name: name for name in COLUMNS}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT id, Name AS who, lower(email) AS email FROM input", {"id": "id", "Name": "who"}),
        ("SELECT * EXCLUDE (id) REPLACE (email || '' AS email) FROM input WHERE id > 1", {"Name": "Name", "updated_at": "updated_at"}),
        ("SELECT i.ID, i.name FROM input i", {"id": "id", "Name": "Name"}),
        ("SELECT nonsense FROM elsewhere", {}),
    ],
)
def test_columns_that_a_query_names_arrive_as_they_were(text: str, expected: dict[str, str]) -> None:
    assert trace(COLUMNS, [query(text)], exact=True) == trace(COLUMNS, [query(text)], exact=False) == expected


def test_what_a_query_groups_by_names_a_source_row_no_more() -> None:
    step = query("SELECT name, email AS mail, max(updated_at) AS updated_at FROM input GROUP BY ALL")
    assert trace(COLUMNS, [step], exact=False) == {"Name": "name", "email": "mail"}
    assert trace(COLUMNS, [step], exact=True) == {}


def alike(*fields: str, **more: Any) -> DeduplicateStep:
    return DeduplicateStep.model_validate({"id": "d", "by": list(fields) or None, **more})


def test_steps_that_keep_some_rows_as_they_are_change_no_name() -> None:
    steps = [
        alike("email"),
        TopStep.model_validate({"id": "t", "n": 1, "orderBy": "id"}),
        LimitStep.model_validate({"id": "l", "n": 1}),
        SortStep.model_validate({"id": "s", "by": ["id"], "orderBy": "id", "as": "n"}),
    ]
    assert trace(COLUMNS, steps, exact=True) == {column: column for column in COLUMNS}


PIVOT = PivotStep.model_validate({"id": "p", "groupBy": ["day"], "column": "c", "values": ["x"], "value": "n"})
UNION = UnionStep.model_validate({"id": "u", "source": {"type": "file", "path": "x.parquet"}})


def test_a_union_keeps_names_but_the_sources_key_tells_rows_apart_no_more() -> None:
    assert trace(COLUMNS, [UNION], exact=True) == {}
    assert trace(("id",), [UNION], exact=False) == {"id": "id"}


FILTER = FilterStep.model_validate({"id": "f", "condition": "true"})
GROUPS = [
    ([], None),
    ([FILTER, mapped({"a": {"source": "id"}})], None),
    ([grouped("country", "address.city")], ("country", "address_city")),
    ([grouped("day"), grouped("country"), FILTER], ("country",)),
    ([grouped("country"), mapped({"land": {"source": "country"}, "n": {"source": "count"}})], ("land",)),
    # Dropped, converted, or given to a function: they name a group no more.
    ([grouped("country", "day"), mapped({"land": {"source": "country"}})], ()),
    ([grouped("country"), mapped({"country": {"source": "country", "converter": "lower"}})], ()),
    ([grouped("country"), FunctionStep.model_validate({"id": "g"})], ()),
    ([grouped()], ()),
    ([grouped("country"), SAMPLE], ("country",)),
    ([grouped("country"), EXPLODE], ()),
    # One row of those that are alike is named by what they are alike in, where that arrives.
    ([alike("email"), mapped({"mail": {"source": "email"}}, "keep")], ("mail",)),
    ([alike("email"), mapped({"id": {"source": "id"}})], None),
    ([alike(), FILTER], None),
    ([alike("address.city")], None),
    ([grouped("country", "day"), alike("country")], ("country",)),
    ([alike("email"), grouped("day")], ("day",)),
    ([PIVOT], ("day",)),
    ([alike("email"), UNION], None),
    ([query("SELECT country AS land, i.city, count(*) AS n FROM input i GROUP BY country, city"), FILTER], ("land", "city")),
    ([query("SELECT upper(country) AS land, sum(x) AS s FROM input GROUP BY land")], ("land",)),
    # Not all that is grouped by comes out, or comes out as it was.
    ([query("SELECT country, count(*) AS n FROM input GROUP BY country, city")], ()),
    ([query("SELECT country || '!' AS land, count(*) AS n FROM input GROUP BY country")], ()),
    ([query("SELECT count(*) AS n FROM input")], ()),
]


@pytest.mark.parametrize(("steps", "expected"), GROUPS)
def test_what_names_a_group_in_the_end(steps: list[Any], expected: tuple[str, ...] | None) -> None:
    assert group_columns(steps) == expected


def test_steps_that_may_give_several_rows_for_one_are_told() -> None:
    one = [mapped({"key": {"source": "id"}}), FILTER, SAMPLE]
    assert gives_one([])
    assert gives_one(one)
    assert not gives_one([*one, EXPLODE])
    assert not gives_one([FunctionStep.model_validate({"id": "twice"}), *one])
