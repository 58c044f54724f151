from __future__ import annotations

import json
import logging
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.io.kafka.decode import Decoded
from beam_pipelines.io.kafka.json import JsonDecoder, inferred

SCHEMA = pa.schema(
    [
        ("n", pa.int64()),
        ("x", pa.float64()),
        ("t", pa.string()),
        ("b", pa.bool_()),
        ("s", pa.struct([("a", pa.int64()), ("l", pa.list_(pa.string()))])),
    ]
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(2**63), 2**63 - 1)
rows = st.fixed_dictionaries(
    {},
    optional={
        "n": st.none() | numbers,
        "x": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "t": st.none() | texts,
        "b": st.none() | st.booleans(),
        "s": st.none()
        | st.fixed_dictionaries({}, optional={"a": st.none() | numbers, "l": st.none() | st.lists(st.none() | texts, max_size=3)}),
    },
)
# What is no row, and the word by which its reason is known.
POISON: list[tuple[bytes | None, str]] = [
    (None, "null"),
    (b"", "text that is none"),
    (b"not json", "text that is none"),
    (b'{"n": 1', "text that is none"),
    (b'{"n": 1}{"n": 2}', "text that is none"),
    (b'{"n": 1} x', "text that is none"),
    (b"[1]", "a list"),
    (b"7", "a number"),
    (b"null", "null"),
    (b'"text"', "a text"),
    (b'{"n": NaN}', "NaN"),
    (b'{"n": 1, "n": 2}', "one twice"),
    (b'{"s": {"a": 1, "a": 2}}', "one twice"),
    (b'{"t": "\xff"}', "no characters"),
    (b'{"t": "\\ud800"}', "surrogate"),
    (b'{"t": "a\nb"}', "text that is none"),
    (b'{"n": "1"}', "column 'n'"),
    (b'{"n": 1.5}', "column 'n'"),
    (b'{"n": 9223372036854775808}', "column 'n'"),
    (b'{"n": [1]}', "column 'n'"),
    (b'{"x": "1"}', "column 'x'"),
    (b'{"b": 1}', "column 'b'"),
    (b'{"s": 1}', "column 's'"),
    (b'{"s": {"a": "x"}}', "column 's'"),
    (b'{"t": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", "nested too deep"),
]


def decoder(**more: Any) -> JsonDecoder:
    return JsonDecoder(SCHEMA, **more)


def by_hand(row: dict[str, Any]) -> dict[str, Any]:
    made = {name: row.get(name) for name in SCHEMA.names}
    if made["s"] is not None:
        made["s"] = {"a": made["s"].get("a"), "l": made["s"].get("l")}
    return made


def good(number: int) -> bytes:
    return json.dumps({"n": number, "t": f"t{number}"}).encode()


@given(st.lists(rows, max_size=40), st.booleans())
def test_objects_become_the_rows_that_pythons_json_makes_of_them(given: list[dict[str, Any]], ascii_only: bool) -> None:
    values = [json.dumps(row, ensure_ascii=ascii_only).encode() for row in given]
    found = decoder().decode(values)
    assert found.bad == {}
    assert found.rows.tolist() == list(range(len(given)))
    assert found.batch.schema.equals(SCHEMA)
    assert found.batch.to_pylist() == [by_hand(json.loads(value)) for value in values]


pieces = st.one_of(
    rows.map(lambda row: json.dumps(row).encode()),
    rows.map(lambda row: json.dumps({**row, "other": [1, {"a": None}]}, indent=2).encode()),
    st.sampled_from([value for value, _ in POISON]),
    st.sampled_from([b' {"n": 1}\n', b'{"t": {"a": [1.50, null]}}', b'{"x": 1}', b'{"o": 1, "o": 2}', b'{"t": 1}', b'{"s": {"q": 1}}']),
    st.binary(max_size=6),
)


@given(st.lists(pieces, max_size=30), st.booleans(), st.data())
def test_what_becomes_of_a_value_does_not_depend_on_the_others(values: list[bytes | None], reject: bool, data: st.DataObject) -> None:
    def told(found: Decoded, start: int = 0) -> dict[int, Any]:
        made: dict[int, Any] = {start + row: value for row, value in zip(found.rows.tolist(), found.batch.to_pylist(), strict=True)}
        return {**made, **{start + place: why for place, why in found.bad.items()}}

    together = told(decoder(reject=reject).decode(values))
    cut = data.draw(st.integers(0, len(values)))
    one = decoder(reject=reject)
    apart = {**told(one.decode(values[:cut])), **told(one.decode(values[cut:]), cut)}
    alone: dict[int, Any] = {}
    for place, value in enumerate(values):
        alone |= told(decoder(reject=reject).decode([value]), place)
    assert together == apart == alone
    assert sorted(together) == list(range(len(values)))


@pytest.mark.parametrize("many", [1, 3, 200])
@pytest.mark.parametrize(("poison", "why"), POISON)
def test_a_value_that_is_none_costs_itself_wherever_it_stands(poison: bytes | None, why: str, many: int) -> None:
    for place in {0, many // 2, many - 1}:
        values = [poison if at == place else good(at) for at in range(many)]
        found = decoder().decode(values)
        assert list(found.bad) == [place]
        code, message = found.bad[place]
        assert code in ("row-invalid", "cast-failed")
        assert why in message
        assert found.rows.tolist() == [at for at in range(many) if at != place]
        assert found.batch.column("n").to_pylist() == found.rows.tolist()


def test_values_of_many_lines_and_with_blanks_around_them_are_objects() -> None:
    values = [json.dumps({"n": n, "t": f"{{{n}}}"}, indent=4).encode() for n in range(10)]
    values[3] = b'\r\n\t {"n": 3, "t": "{3}"} \n'
    found = decoder().decode(values)
    assert found.bad == {}
    assert found.batch.column("n").to_pylist() == list(range(10))


def test_keys_that_are_no_columns_are_left_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    values = [b'{"n": 1, "new": {"a": 1}, "other": 2}', b'{"n": 2, "new": 1, "new": 2}']
    one = decoder(topic="events")
    with caplog.at_level(logging.WARNING):
        found = [one.decode(values), one.decode(values)]
    assert [some.batch.column("n").to_pylist() for some in found] == [[1, 2], [1, 2]]
    assert [record.getMessage() for record in caplog.records] == [
        "messages of topic 'events' have keys that are no columns, and are left out: 'new', 'other'; declare them in `columns` to have them"
    ]
    rejected = decoder(reject=True).decode([*values, b'{"n": 3}', b'{"s": {"q": 1}}'])
    assert rejected.batch.column("n").to_pylist() == [3]
    assert {code for code, _ in rejected.bad.values()} == {"row-invalid"}
    assert "unknownKeys: ignore" in rejected.bad[0][1]


def test_a_column_of_text_takes_every_value() -> None:
    found = decoder().decode([b'{"t": 1.50}', b'{"t": {"a": [1, null]}}', b'{"t": true}', b'{"t": {"a": 1, "a": 2}}'])
    assert found.batch.column("t").to_pylist() == ["1.50", '{"a":[1,null]}', "true"]
    assert list(found.bad) == [3]


def test_declared_columns_take_text_that_reads_as_their_type() -> None:
    schema = pa.schema(
        [("d", pa.decimal128(10, 2)), ("at", pa.timestamp("us", "UTC")), ("n", pa.int64()), ("m", pa.map_(pa.string(), pa.int64()))]
    )
    one = JsonDecoder(schema, schema.names)
    found = one.decode(
        [
            b'{"d": "1.5", "at": "2026-01-31T00:00:00Z", "n": "7", "m": {"a": 1}}',
            b'{"d": 1.505}',
            b'{"d": 12345.10}',
            b'{"m": {"a": 1, "a": 2}}',
        ]
    )
    first, second = found.batch.to_pylist()
    assert (first["d"], first["at"].isoformat(), first["n"], first["m"]) == (Decimal("1.50"), "2026-01-31T00:00:00+00:00", 7, [("a", 1)])
    assert second["d"] == Decimal("12345.10")
    assert found.rows.tolist() == [0, 2]
    assert {place: code for place, (code, _) in found.bad.items()} == {1: "cast-failed", 3: "row-invalid"}


def test_a_reason_holds_no_value() -> None:
    values = [
        b"hunter2",
        b'{"n": "hunter2"}',
        b'{"hunter2": 1, "n": "hunter2"}',
        b'{"s": {"a": "hunter2"}}',
        b'{"hunter2": 1, "n": 1, "n": 2}',
    ]
    found = decoder(reject=True).decode(values)
    assert len(found.bad) == 5
    assert [message for _, message in found.bad.values() if "hunter2" in message] == []


def test_types_are_inferred_over_a_sample() -> None:
    found = inferred([b'{"a": 1, "b": null}', b"none", b'{"a": 2.5, "c": {"d": [true]}, "c": 1}', b'{"b": "x", "e": null}'])
    assert found == pa.schema([("a", pa.float64()), ("b", pa.string()), ("c", pa.int64()), ("e", pa.string())])


def test_a_message_in_ten_of_another_type_does_not_change_a_column() -> None:
    good, bad = [b'{"n": 1, "l": [1], "s": {"a": 1}, "b": true}'] * 9, [b'{"n": "x", "l": 1, "s": "x", "b": 1}']
    wanted = pa.schema([("n", pa.int64()), ("l", pa.list_(pa.int64())), ("s", pa.struct([("a", pa.int64())])), ("b", pa.bool_())])
    assert inferred([*good, *bad]) == inferred([*bad, *good]) == wanted
    assert inferred([*good, *bad, *bad]).types == [pa.string()] * 4
    assert inferred([b'{"n": 1}', b'{"n": 2.5}']).types == [pa.float64()]
    assert inferred([b'{"n": null}'] * 50 + [b'{"n": 1}']).types == [pa.int64()]
