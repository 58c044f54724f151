from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_pipelines.examples import crm
from beam_pipelines.examples.customer_data_etl import functions, people
from beam_pipelines.examples.example import place
from beam_pipelines.functions import Functions

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        *((name, pa.string()) for name in ("name", "email", "phone", "street", "city", "postal_code", "country")),
        ("age", pa.int64()),
        ("plan", pa.string()),
        ("lifetime_value", pa.float64()),
    ]
)
GOOD = {"id": 1, "name": "Ana Lima", "email": "ana@lima.example", "age": 30}


def batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    whole = [{name: row.get(name) for name in SCHEMA.names} for row in rows]
    return pa.RecordBatch.from_pylist(whole, schema=SCHEMA)


def crowd(count: int, seed: int = 5) -> pa.RecordBatch:
    rows = list(people.people(random.Random(seed), range(1, count + 1)))
    return batch(*(dict(zip(people.COLUMNS, row, strict=True)) for row in rows))


def normalized(column: str, *values: str | None, **others: str) -> list[Any]:
    done = functions.normalize(batch(*({**others, column: value} for value in values)))
    return done[column].to_pylist()


def test_names_typed_without_care_are_capitalised_and_others_stay() -> None:
    typed = ("  ANNA  MÜLLER ", "seán o'brien", "Ronald McDonald", "Vincent\u00a0van Gogh", "jean-luc picard", "佐藤 健")
    written = ["Anna Müller", "Seán O'Brien", "Ronald McDonald", "Vincent van Gogh", "Jean-Luc Picard", "佐藤 健"]
    assert normalized("name", *typed) == written


@pytest.mark.parametrize("column", ["name", "email", "phone", "street", "city", "postal_code", "country", "plan"])
def test_what_says_nothing_becomes_null(column: str) -> None:
    assert normalized(column, "", "   ", "N/A", "-", "None", "unknown", None) == [None] * 7


def test_emails_are_lower_case_and_bare() -> None:
    assert normalized("email", " Ana@Lima.Example ", "mailto:a@b.example", "No At") == ["ana@lima.example", "a@b.example", "no at"]


def test_countries_become_iso_codes_and_unknown_ones_null() -> None:
    assert normalized("country", "Germany", " de", "DEUTSCHLAND", "España", "日本", "U.S.A.", "Atlantis") == [
        "DE",
        "DE",
        "DE",
        "ES",
        "JP",
        "US",
        None,
    ]


@pytest.mark.parametrize("locale", people.LOCALES, ids=lambda locale: locale.country[1])
def test_every_spelling_of_a_country_in_the_crm_is_known(locale: people.Locale) -> None:
    assert set(normalized("country", *locale.country)) == {locale.country[1]}


@pytest.mark.parametrize("locale", people.LOCALES, ids=lambda locale: locale.country[1])
def test_all_ways_to_write_a_phone_give_one_number(locale: people.Locale) -> None:
    phones = [pattern % (234, 567) for pattern in locale.phones]
    (number,) = set(normalized("phone", *phones, country=locale.country[0]))
    assert number.startswith("+")
    assert number[1:].isdigit()


@pytest.mark.parametrize(
    ("phone", "country", "number"),
    [
        ("(030) 555 0123", "DE", "+49305550123"),
        ("+49 (0)30 555-0123", "DE", "+49305550123"),
        ("0044 20 7946 0958", "DE", "+442079460958"),
        ("212.555.0123 x12", "US", "+12125550123"),
        ("1-212-555-0123 ext. 4", "US", "+12125550123"),
        ("06 12 34 56 78", "FR", "+33612345678"),
        ("020 7946 0958", None, None),
        ("+44 20 7946 0958", None, "+442079460958"),
        ("call the office", "GB", None),
        ("123", "ES", None),
        ("+1234567890123456", "US", None),
    ],
)
def test_a_phone_becomes_international_or_null(phone: str, country: str | None, number: str | None) -> None:
    done = functions.normalize(batch({"phone": phone, "country": country}))
    assert done["phone"].to_pylist() == [number]


def test_normalizing_twice_changes_nothing_more() -> None:
    once = functions.normalize(crowd(3_000))
    assert functions.normalize(once).equals(once)


def test_the_same_person_entered_twice_has_one_email_afterwards() -> None:
    before, done = crowd(5_000), functions.normalize(crowd(5_000))
    assert len(set(done["email"].to_pylist())) < len(set(before["email"].to_pylist()))


def test_enrichment_follows_country_and_domain() -> None:
    done = functions.enrich(batch({"country": "DE", "email": "a@gmail.com"}, {"country": "JP", "email": "a@b.example"}, {"email": "none"}))
    new = ("region", "currency", "calling_code", "email_domain", "email_kind")
    assert [tuple(row[name] for name in new) for row in done.to_pylist()] == [
        ("Europe", "EUR", "49", "gmail.com", "free"),
        ("Asia", "JPY", "81", "b.example", "business"),
        (None, None, None, None, None),
    ]


def test_batches_keep_their_columns_and_rows() -> None:
    whole = crowd(1_000)
    done = functions.enrich(functions.normalize(whole))
    assert done.schema.names[: len(SCHEMA)] == SCHEMA.names
    assert done["id"].equals(whole["id"])
    assert done["age"].equals(whole["age"])


@pytest.mark.parametrize("cuts", [(0, 0, 1_000), (1, 2, 999), (500, 500, 700)])
def test_splitting_a_batch_changes_nothing(cuts: tuple[int, int, int]) -> None:
    whole = crowd(1_000)
    edges = (0, *cuts, 1_000)
    parts = [whole.slice(start, end - start) for start, end in itertools.pairwise(edges)]
    done = [functions.enrich(functions.normalize(part)) for part in parts]
    assert pa.Table.from_batches(done).equals(pa.Table.from_batches([functions.enrich(functions.normalize(whole))]))


def test_every_column_has_a_value_among_the_rows_a_schema_is_sampled_from() -> None:
    done = functions.enrich(functions.normalize(crowd(1_000)))
    assert [field.name for field, column in zip(done.schema, done.columns, strict=True) if column.null_count == len(column)] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": None}, "name is missing"),
        ({"email": None}, "email is missing"),
        ({"email": "ana.lima.example"}, "email is not an address"),
        ({"email": "ana@@lima.example"}, "email is not an address"),
        ({"email": "ana@lima"}, "email is not an address"),
        ({"email": "ana at lima.example"}, "email is not an address"),
        ({"age": 0}, "age is out of range"),
        ({"age": 199}, "age is out of range"),
    ],
)
def test_a_bad_row_raises_with_a_reason_and_without_the_value(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match="is") as caught:
        functions.validate({**GOOD, **change})
    assert str(caught.value) == reason


@pytest.mark.parametrize("change", [{}, {"age": None}, {"age": 119}, {"email": "ana.lima+crm@mail.lima.example"}])
def test_a_good_row_passes_as_it_is(change: dict[str, Any]) -> None:
    assert functions.validate({**GOOD, **change}) == {**GOOD, **change}


def test_two_to_four_in_a_hundred_rows_are_bad(tmp_path: Path) -> None:
    crm.create(tmp_path / "crm.db", 20_000)
    with contextlib.closing(sqlite3.connect(tmp_path / "crm.db")) as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute("SELECT * FROM customers WHERE typeof(age) != 'text'")]
    bad = 0
    for row in functions.normalize(batch(*rows)).to_pylist():
        try:
            functions.validate(row)
        except ValueError:
            bad += 1
    assert 400 <= bad + 20_000 - len(rows) <= 800


def test_the_placed_functions_are_found_by_the_ids_of_the_steps(tmp_path: Path) -> None:
    placed = place(tmp_path, customers=10)
    found = {name: Functions(placed.definition.parent).find(name) for name in ("normalize", "enrich", "validate")}
    assert {name: function.by for name, function in found.items()} == {"normalize": "batch", "enrich": "batch", "validate": "row"}
