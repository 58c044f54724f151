"""What the rows of a table are like, and the rules that follow from it."""

from __future__ import annotations

import math
import pickle
import statistics
from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.rules import check, profile, suggest
from beam_pipelines.rules.profiling.columns import Profile
from beam_pipelines.rules.profiling.frequent import COUNTERS, Frequent
from beam_pipelines.rules.profiling.profiler import Profiler
from beam_pipelines.rules.profiling.room import BUNDLE
from beam_pipelines.rules.profiling.shape import of_form, pattern, shapes
from tests.rules.tables import cut, found

NAN, INF = math.nan, math.inf
TABLE = pa.table(
    {
        "n": [1, 2, None, 2],
        "x": [1.5, NAN, -0.0, 0.5],
        "s": ["Bob-17", "", "Ann-4", None],
        "d": [date(2024, 1, 1), None, date(2020, 1, 1), date(2024, 1, 1)],
        "m": [Decimal("1.10"), None, None, Decimal("2.00")],
        "l": [[1], [2], None, [1]],
        "c": pa.array(["a", "b", "a", None]).dictionary_encode(),
        "__bp_row": [0, 1, 2, 3],
    }
)


def test_columns_are_told_as_the_eye_sees_them() -> None:
    told = profile(TABLE).to_dict()
    assert told["rows"] == 4
    assert list(told["columns"]) == ["n", "x", "s", "d", "m", "l", "c"]  # hidden columns are left out
    columns = told["columns"]
    assert columns["n"] == {
        "type": "int64",
        "count": 3,
        "nulls": 1,
        "distinct": 2,
        "top": [{"value": 2, "count": 2}, {"value": 1, "count": 1}],
        "nan": 0,
        "min": 1,
        "max": 2,
        "mean": 5 / 3,
        "stddev": pytest.approx(math.sqrt(1 / 3)),
        "quantiles": {"0.05": pytest.approx(1.1), "0.25": 1.5, "0.5": 2.0, "0.75": 2.0, "0.95": 2.0},
    }
    assert {key: columns["x"][key] for key in ("count", "nan", "min", "max", "distinct")} == {
        "count": 4,
        "nan": 1,
        "min": 0.0,
        "max": 1.5,
        "distinct": 4,
    }
    assert columns["x"]["mean"] == pytest.approx(2 / 3)
    assert columns["s"] == {
        "type": "string",
        "count": 3,
        "nulls": 1,
        "distinct": 3,
        "top": [{"value": "", "count": 1}, {"value": "Ann-4", "count": 1}, {"value": "Bob-17", "count": 1}],
        "empty": 1,
        "length": {"min": 0, "max": 6, "mean": 11 / 3},
        "patterns": [{"value": "Aa-9", "count": 2}],
    }
    assert (columns["d"]["min"], columns["d"]["max"], columns["d"]["distinct"]) == ("2020-01-01", "2024-01-01", 2)
    assert (columns["m"]["min"], columns["m"]["max"], columns["m"]["mean"]) == ("1.10", "2.00", 1.55)
    assert columns["l"] == {"type": str(TABLE.schema.field("l").type), "count": 3, "nulls": 1}
    assert columns["c"]["top"] == [{"value": "a", "count": 2}, {"value": "b", "count": 1}]


def test_a_profile_of_no_rows_has_all_columns() -> None:
    told = profile(TABLE.slice(0, 0)).to_dict()
    assert (told["rows"], told["columns"]["n"]["min"], told["columns"]["s"]["top"], told["columns"]["d"]["max"]) == (0, None, [], None)
    assert suggest(profile(TABLE.slice(0, 0))) == []
    with pytest.raises(ValueError, match="at least one batch"):
        profile([])


def test_values_of_columns_that_keep_secrets_are_not_told() -> None:
    (state, password) = profile(pa.table({"state": ["ok", "ok"], "db_password": ["hunter2", "Tr0ub4dor"]})).told()
    assert (state["name"], state["top"]) == ("state", [{"value": "ok", "count": 2}])
    assert password == {
        "name": "db_password",
        "type": "string",
        "count": 2,
        "nulls": 0,
        "distinct": 2,
        "empty": 0,
        "length": {"min": 7, "max": 9, "mean": 8.0},
        "withheld": True,
    }
    numbers = profile(pa.table({"PIN": [1234, 9999]})).told()[0]
    assert not {"min", "max", "mean", "quantiles", "top"} & numbers.keys()


def test_columns_of_every_type_are_told_and_added_up() -> None:
    keys = [bytes([at]) * 16 for at in range(6)]
    table = pa.table(
        {
            "uuid": pa.array(keys, pa.uuid()),
            "flag": [True, False, True, True, None, True],
            "time": pa.array([5, 3, 4, 5, 5, 5], pa.time64("us")),
            "span": pa.array([1, 1, 2, 1, 1, 1], pa.duration("s")),
            "huge": pa.array([2**64 - 1, 1, 1, 1, 1, 1], pa.uint64()),
            "none": pa.nulls(6),
            "half": pa.array([1.0] * 6, pa.float16()),
            "many": pa.array([[("k", 1)]] * 6, pa.map_(pa.string(), pa.int64())),
            "bytes": keys,
            "view": pa.array(list("aabbbb"), pa.string_view()),
        }
    )
    profiler = Profiler(table.schema)
    state = profiler.nothing()
    for batch in table.to_batches(max_chunksize=4):
        state = profiler.merge(state, pickle.loads(pickle.dumps(profiler.measure(batch))))
    told = {one.pop("name"): one for one in profiler.told(state)}
    orjson.dumps(told)
    assert told["uuid"]["distinct"] == 6
    assert told["uuid"]["top"][0] == {"value": "00000000-0000-0000-0000-000000000000", "count": 1}
    assert (told["flag"]["nulls"], told["flag"]["top"]) == (1, [{"value": True, "count": 4}, {"value": False, "count": 1}])
    assert (told["time"]["min"], told["time"]["max"]) == ("00:00:00.000003", "00:00:00.000005")
    assert told["span"]["top"][0] == {"value": "PT1S", "count": 5}
    assert (told["huge"]["max"], told["huge"]["top"][0]) == (2**64 - 1, {"value": 1, "count": 5})
    assert told["view"]["top"] == [{"value": "b", "count": 4}, {"value": "a", "count": 2}]
    for name in ("half", "many", "bytes"):  # whose values are not compared
        assert told[name] == {"type": str(table.schema.field(name).type), "count": 6, "nulls": 0}
    assert told["none"] == {"type": "null", "count": 0, "nulls": 6}


def test_of_texts_that_are_no_text_no_rule_follows() -> None:
    broken = pa.array([b"ok", b"\xff"] * 20).view(pa.string())
    table = pa.table({"t": broken})
    assert profile(table).to_dict()["columns"]["t"]["top"] == [{"value": "ok", "count": 20}, {"value": "\ufffd", "count": 20}]
    assert [rule["type"] for rule in suggest(profile(table))] == ["required-fields"]


def test_long_texts_are_cut_off_among_the_top_values() -> None:
    texts = ["ä" * 300 + end for end in "abb"]
    assert profile(pa.table({"t": texts})).to_dict()["columns"]["t"]["top"] == [{"value": "ä" * 100, "count": 3}]


def test_states_of_bundles_are_small_and_say_what_is_about_so() -> None:
    """Of 60,000 rows of four kinds of columns, cut in any way, one answer; no column takes more than a few hundred kilobytes."""
    random = np.random.default_rng(5)
    size = 60_000
    numbers = random.normal(50, 20, size)
    table = pa.table(
        {"n": random.permutation(size), "x": numbers, "t": [f"some text {at}" for at in range(size)], "c": random.integers(0, 9, size)}
    )
    whole = Profile.of(table.combine_chunks().to_batches()[0], BUNDLE)
    parts = [Profile.of(batch, BUNDLE) for batch in cut(table, [1, 7_000, 31_234]).to_batches()]
    merged = parts[2] + parts[0] + (parts[3] + parts[1])
    for name, column in merged.columns.items():
        assert len(pickle.dumps(column)) < 300_000, name
    told, of_whole = ({one.pop("name"): one for one in made.told()} for made in (merged, whole))
    for name in ("n", "t", "x"):
        for one in (told[name], of_whole[name]):
            assert 0 < one.pop("topMissed") <= size / COUNTERS
            assert one["top"] == []  # none occurs so often that it is known to
    assert told == of_whole
    assert told["n"]["distinctApproximate"]
    assert told["n"]["distinct"] == pytest.approx(size, rel=0.03)
    assert told["x"]["quantilesApproximate"]
    assert told["x"]["quantiles"]["0.95"] == pytest.approx(np.quantile(numbers, 0.95), rel=0.004)
    assert told["x"]["stddev"] == pytest.approx(statistics.stdev(numbers.tolist()), rel=1e-12)
    assert ("distinctApproximate" in told["c"], told["c"]["distinct"]) == (False, 9)
    assert told["t"]["patterns"] == [{"value": "a a 9", "count": size}]


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "x": st.none() | st.floats() | st.sampled_from([0.0, -0.0, 1.5]),
            "n": st.none() | st.integers(-(2**63), 2**63 - 1),
            "t": st.none() | st.text(max_size=5) | st.sampled_from(["a@b.io", "A-1", ""]),
            "d": st.none() | st.dates(),
        }
    ),
    max_size=12,
)
SCHEMA = pa.schema([("x", pa.float64()), ("n", pa.int64()), ("t", pa.string()), ("d", pa.date32())])


@settings(max_examples=40, deadline=None)
@given(ROWS, st.data())
def test_any_cut_and_order_give_the_same_profile(records: list[dict[str, Any]], data: st.DataObject) -> None:
    table = pa.Table.from_pylist(records, SCHEMA)
    told = profile(table).to_dict()
    batches = cut(table, data.draw(st.lists(st.integers(0, len(records)), max_size=5))).to_batches()
    parts = [pickle.loads(pickle.dumps(profile([batch]))) for batch in data.draw(st.permutations(batches))]
    merged = profile(table.slice(0, 0))
    for part in parts:
        merged = part + merged
    assert merged.to_dict() == told
    orjson.dumps(told)
    texts = Counter(record["t"] for record in records if record["t"] is not None)
    assert {one["value"]: one["count"] for one in merged.to_dict(top=100)["columns"]["t"]["top"]} == texts
    numbers = [record["n"] for record in records if record["n"] is not None]
    assert (told["columns"]["n"]["min"], told["columns"]["n"]["max"]) == (min(numbers, default=None), max(numbers, default=None))


def test_values_that_occur_often_are_found_among_many() -> None:
    random = np.random.default_rng(2)
    values = np.concatenate([np.full(3_000, -1), np.full(800, -2), random.integers(0, 10**9, 96_200)])
    random.shuffle(values)
    whole = Frequent.of(pa.array(values))
    parts = Frequent.nothing(pa.int64())
    for begin in range(0, 100_000, 9_973):
        parts = parts + Frequent.of(pa.array(values[begin : begin + 9_973]))
        assert len(parts.counts) <= COUNTERS
    for frequent in (whole, parts):
        assert frequent.missed <= 100
        (first, often), (second, less) = frequent.top(2, pa.int64())
        assert (first, second) == (-1, -2)
        assert 3_000 - frequent.missed <= often <= 3_000
        assert 800 - frequent.missed <= less <= 800


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("Bob-17", "Aa-9"),
        ("", ""),
        ("ABC", "A"),
        ("2024-01-02", "9-9-9"),
        ("a1b22c", "a9a9a"),
        ("  x", "  a"),
        ("Émile Ünal", "a a"),
        ("--", "--"),
        (r"\d.*[a](b){2}|^x$?+", r"\a.*[a](a){9}|^a$?+"),
        ("x" * 500, "a"),
        ("-" * 500, "-" * 60),
    ],
)
def test_the_shape_of_a_text(text: str, shape: str) -> None:
    around = pa.array(["A", text, "a9", text])  # where a text begins no run goes on
    assert shapes(around).to_pylist() == ["A", shape, "a9", shape]
    assert shapes(around.slice(1, 2)).to_pylist() == [shape, "a9"]
    wanted = pattern(shape)
    if wanted is not None:
        assert found(check(pa.table({"t": [text]}), [{"id": "r", "type": "regex", "field": "t", "pattern": wanted}]), "r") == []
        assert found(check(pa.table({"t": [text + "!"]}), [{"id": "r", "type": "regex", "field": "t", "pattern": wanted}]), "r") == [0]


def test_the_form_of_an_address() -> None:
    good = ["a@x.io", "a.b+c@mail.example.org", "o'neil@x-y.com"]
    bad = ["a@x", "a@x.local", "a@x.LOCAL", "a@ab--c.org", "a" * 65 + "@x.org", "a@" + "b" * 64 + ".org", ".a@x.io", "a@x..io", "a b@x.io"]
    assert of_form(pa.array(good + bad), "email").tolist() == [True] * len(good) + [False] * len(bad)


def suggested(**columns: Any) -> list[dict[str, Any]]:
    return suggest(profile(pa.table(columns)))


def test_rules_follow_from_what_held_of_all_rows() -> None:
    rows = range(100)
    rules = suggested(
        id=list(rows),
        email=[f"user{at}@example.org" for at in rows],
        country=["de", "fr", "it", "es"] * 25,
        age=[20 + at % 63 for at in rows],
        price=[Decimal(at % 50) / 100 + Decimal("1.07") for at in rows],
        code=[f"AB-{at % 30}" for at in rows],
        note=[None if at % 2 else f"some {'words ' * (at % 40)}" for at in rows],
    )
    known = {rule["id"]: {key: value for key, value in rule.items() if key != "id"} for rule in rules}
    assert known["required"] == {"type": "required-fields", "fields": ["id", "email", "country", "age", "price", "code"]}
    assert known["id-unique"] == {"type": "unique", "field": "id"}
    assert known["email-unique"] == {"type": "unique", "field": "email"}
    assert known["country-in-set"] == {"type": "in-set", "field": "country", "values": ["de", "es", "fr", "it"]}
    assert known["age-numeric-range"] == {"type": "numeric-range", "field": "age", "min": 20, "max": 90}
    assert known["price-numeric-range"] == {"type": "numeric-range", "field": "price", "min": 1, "max": 1.6}
    assert known["code-regex"] == {"type": "regex", "field": "code", "pattern": "^[A-Z]+-[0-9]+$"}
    assert [rule["type"] in ("email", "regex") for rule in rules if rule.get("field") == "email"] == [False, True]
    assert not [name for name in known if name.startswith("note")]


def test_of_few_rows_nothing_but_required_fields_follows() -> None:
    assert suggested(id=[1, 2, 3], code=["A-1", "A-2", "A-3"]) == [{"id": "required", "type": "required-fields", "fields": ["id", "code"]}]


def test_rules_about_fields_of_like_names_have_names_of_their_own() -> None:
    rules = suggested(**{"a b": list(range(30)), "a-b": list(range(30)), "é": list(range(30))})
    assert len({rule["id"] for rule in rules}) == len(rules) == 4


def test_a_key_of_many_values_is_suggested_as_a_warning() -> None:
    numbers = np.arange(300_000)
    (required, rule) = suggest(profile(pa.table({"k": numbers})))
    assert required["fields"] == ["k"]
    assert (rule["type"], rule["severity"]) == ("unique", "warning")
    assert "unique" not in {rule["type"] for rule in suggest(profile(pa.table({"k": numbers % 290_000})))}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_suggested_holds_of_the_rows_it_was_suggested_by(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 60))

    def column(values: st.SearchStrategy[Any], kind: pa.DataType) -> pa.Array:
        few = data.draw(st.lists(values, min_size=1, max_size=size))
        return pa.array([few[at % len(few)] for at in range(size)], kind)

    table = pa.table(
        {
            "x": column(st.none() | st.floats(), pa.float64()),
            "f": column(st.floats(width=32, allow_nan=False), pa.float32()),
            "n": column(st.integers(-(2**63), 2**63 - 1), pa.int64()),
            "m": column(st.decimals(-(10**30), 10**30, places=4), pa.decimal128(38, 4)),
            "t": column(st.text(max_size=4) | st.from_regex(r"\A[A-Z]{1,3}[-. ][0-9]{1,3}\Z"), pa.string()),
            "e": column(st.from_regex(r"\A[a-z]{1,4}\.[a-z]{1,3}@[a-z]{2,5}\.(org|io)\Z"), pa.string()),
        }
    )
    rules = suggest(profile(table))
    if rules:
        result = check(table, rules)
        assert result.violations.to_pylist() == []


def test_rules_of_very_many_columns_are_named_in_a_moment() -> None:
    values = pa.array(["a", "b"] * 20)
    wide = profile(pa.table({f"c{at}": values for at in range(2)}))
    one = wide.columns["c0"]
    rules = suggest(replace(wide, columns={f"c{at}": one for at in range(40_000)}))  # each held against each, it took a quarter of an hour
    assert len({rule["id"] for rule in rules}) == len(rules) == 40_001
