from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pycountry
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.columnar.expression import Engine
from beam_pipelines.spec.mapping import FieldMapping
from beam_pipelines.transforms.converters import ConverterProblem, bind, email, names
from beam_pipelines.transforms.converters.catalogue import CATALOGUE

UTC = dt.timezone.utc
LETTERS = "abzAZ09_!#$%&'*+-/=?^`{|}~.. @@xn--\u00e9"
LABELS = st.sampled_from(
    ["x", "my-mail", "xn--mnchen-3ya", "a--b", "com", "Test", "local", "invalid", "9", "c0", "a" * 63, "a" * 64, "", "-"]
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    made.close()


def convert(engine: Engine, converter: Any, array: pa.Array) -> tuple[list[Any], list[int], list[str]]:
    model = FieldMapping.model_validate({"source": "x", "converter": converter}).converter
    assert model is not None
    bound = bind(model, array.type, engine)
    found = bound.convert(array)
    assert found.array.type == bound.type
    assert len(found.array) == len(array)
    assert all(found.array[row].as_py() is None for row in found.bad)
    # What a slice gives is the slice of what the whole gives.
    part = bound.convert(array.slice(1))
    assert part.array.to_pylist() == found.array.to_pylist()[1:]
    assert [row + 1 for row in part.bad] == [row for row in found.bad if row]
    return found.array.to_pylist(), found.bad, found.reasons


CASES: list[tuple[Any, list[Any], list[Any], list[int]]] = [
    ("trim", ["  a b\t", None, "", "\u00a0x\u00a0"], ["a b", None, "", "x"], []),
    ("lower", ["ÄB", None, ""], ["äb", None, ""], []),
    ("upper", ["äß", None, ""], ["Äẞ", None, ""], []),
    ("title", ["ann-marie o'NEIL", None], ["Ann-Marie O'Neil", None], []),
    ("string", [1, None, -2], ["1", None, "-2"], []),
    ("string", ["a", None], ["a", None], []),
    (
        "int",
        ["12", " -3 ", "+4", "", None, "1.5", "1,000", "x", "0x1F", "99999999999999999999"],
        [12, -3, 4, None, None] + [None] * 5,
        [5, 6, 7, 8, 9],
    ),
    ("int", [1.0, 2.5, math.nan, None], [1, None, None, None], [1, 2]),
    ("float", ["1.5", "-2", "1e3", "", None, "1,5", "x"], [1.5, -2.0, 1000.0, None, None, None, None], [5, 6]),
    (
        "decimal(6, 2)",
        ["1.5", "1234.56", "12345.6", "1.234", "", "x"],
        [Decimal("1.50"), Decimal("1234.56"), None, None, None, None],
        [2, 3, 5],
    ),
    ({"name": "decimal", "precision": 4}, [12, 12345], [Decimal(12), None], [1]),
    ("bool", ["true", "T", "yes", "0", "off", "", None, "2"], [True, True, True, False, False, None, None, None], [7]),
    ("bool", [1, 0, 2], [True, False, None], [2]),
    ("date", ["2024-02-29", "", None, "2023-02-29", "29.02.2024"], [dt.date(2024, 2, 29), None, None, None, None], [3, 4]),
    (
        "date('%d.%m.%Y')",
        ["29.02.2024", " 1.3.2024 ", "", None, "2024-02-29"],
        [dt.date(2024, 2, 29), dt.date(2024, 3, 1), None, None, None],
        [4],
    ),
    ({"name": "date", "format": "%d %B %Y"}, ["03 March 2024", "03 März 2024"], [dt.date(2024, 3, 3), None], [1]),
    ("date", [dt.datetime(1969, 12, 31, 23, 59), None], [dt.date(1969, 12, 31), None], []),
    (
        "timestamp",
        ["2024-05-01T10:00:00", "2024-05-01 10:00:00+02:00", "", "soon"],
        [dt.datetime(2024, 5, 1, 10), dt.datetime(2024, 5, 1, 8), None, None],
        [3],
    ),
    ({"name": "timestamp", "format": "%d/%m/%y %H:%M"}, ["01/05/24 10:30", "x"], [dt.datetime(2024, 5, 1, 10, 30), None], [1]),
    ({"name": "timestamp", "unit": "ms"}, [1_700_000_000_123, None], [dt.datetime(2023, 11, 14, 22, 13, 20, 123000, UTC), None], []),
    ({"name": "timestamp", "unit": "s"}, ["0", "x"], [dt.datetime(1970, 1, 1, tzinfo=UTC), None], [1]),
    ("round(2)", [1.005, 2.674, -2.5, None], [1.0, 2.67, -2.5, None], []),
    ("round", [2.5, -2.5, 0.4], [3.0, -3.0, 0.0], []),
    ("round(-2)", [149, 150, None], [100, 200, None], []),
    ("round(1)", ["1.25", "", None, "x"], [1.3, None, None, None], [3]),
    ("round(1)", [Decimal("1.25"), Decimal("-1.25")], [Decimal("1.3"), Decimal("-1.3")], []),
    ("abs", [-1, None, 2, -(2**63)], [1, None, 2, None], [3]),
    ("abs", [Decimal("-1.5")], [Decimal("1.5")], []),
    (
        "email",
        [" Ann@X.com ", "", None, "a@b", "a b@x.com", "a@@x.com", "a@x..com", "@x.com", "a@x.com."],
        ["ann@x.com"] + [None] * 8,
        [3, 4, 5, 6, 7, 8],
    ),
    (
        "email",
        [
            "A@example.com",
            "a@x.test",
            "J\u00d6RG@x.de",
            "a@xn--mnchen-3ya.de",
            "A@M\u00dcNCHEN.de",
            "a@x.local",
            '"a b"@x.com',
            f"{'a' * 65}@x.com",
        ],
        ["a@example.com", "a@x.test", "j\u00f6rg@x.de", "a@m\u00fcnchen.de", "a@m\u00fcnchen.de"] + [None] * 3,
        [5, 6, 7],
    ),
    (
        "phone",
        ["+49 (0)30 / 123-456", "0049 30 123456", "030 123456", "", None, "call me", "+1", "12"],
        ["+4930123456", "+4930123456"] + [None] * 6,
        [2, 5, 6, 7],
    ),
    ("phone(49)", ["030 123456", "+43 1 23456789", "30.123456", "0"], ["+4930123456", "+43123456789", "+4930123456", None], [3]),
    ("phone(1)", ["(212) 555-0123", "1-212-555-0123", "555-0123"], ["+12125550123", "+12125550123", None], [2]),
    ("phone(39)", ["06 6982 1234"], ["+390669821234"], []),
    (
        "phone(DE)",
        ["030 123456", "+43 1 23456789", "+49 30 1234 ext. 5", "+49 30 1234 oder"],
        ["+4930123456", "+43123456789", None, None],
        [2, 3],
    ),
    ({"name": "phone", "code": "gb"}, ["07700 900123", "020 7946 0958"], ["+447700900123", "+442079460958"], []),
    (
        "country",
        [
            "de",
            " GB ",
            "Germany",
            "south korea",
            "UK",
            "",
            None,
            "Atlantis",
            "USA",
            "FRA",
            "276",
            "4",
            "St. Lucia",
            "Cote d\u2019Ivoire",
            "Bosnia & Herzegovina",
        ],
        ["DE", "GB", "DE", "KR", "GB", None, None, None, "US", "FR", "DE", "AF", "LC", "CI", "BA"],
        [7],
    ),
    (
        "country",
        ["Kingdom of Spain", "Turkey", "T\u00fcrkiye", "russia", "Laos", "Cura\u00e7ao", "Curacao"],
        ["ES", "TR", "TR", "RU", "LA", "CW", "CW"],
        [],
    ),
    ("json", ['{"a": 1}', None, "", "{bad", "3"], ['{"a": 1}', None, None, None, "3"], [3]),
    ("json_text", [{"a": 1, "b": None}, None], ['{"a":1,"b":null}', None], []),
    ("json_text", [1.5, math.nan, None], ["1.5", '"NaN"', None], []),
    ("hash", ["a", None, ""], [hashlib.sha256(b"a").hexdigest(), None, hashlib.sha256(b"").hexdigest()], []),
    ("hash", [b"\xff", None], [hashlib.sha256(b"\xff").hexdigest(), None], []),
    ("hash", [12, None], [hashlib.sha256(b"12").hexdigest(), None], []),
    ("mask", ["secret", "", None, "ä\nö"], ["******", "", None, "***"], []),
    ("mask(4)", ["1234567890", "1234", "12", None], ["******7890", "****", "**", None], []),
    ({"name": "mask", "keep": 1, "by": "\\"}, ["abc"], ["\\\\c"], []),
    ("null_if('', 'N/A')", ["", "N/A", "n/a", None, "x"], [None, None, "n/a", None, "x"], []),
    ("null_if(0, -1)", [0, -1, 1, None], [None, None, 1, None], []),
    # e and a combining accent become one letter; a no-break space, a tab and a line end are white space.
    ("normalize", ["Zoe\u0301", " a\u00a0\t\x0b\x85\x1c\nb ", "", None, "\ufb01"], ["Zo\u00e9", "a b", "", None, "\ufb01"], []),
    ("normalize(NFKC)", ["\ufb01", "\u2460", "\uff21"], ["fi", "1", "A"], []),
    ({"name": "enum", "values": {"m": "male", "f": "female"}}, ["m", "f", "M", "", None], ["male", "female", None, None, None], [2, 3]),
    ({"name": "enum", "values": {"1": "open", "2": "closed"}}, [1, 2, 3, None], ["open", "closed", None, None], [2]),
    ({"name": "enum", "values": {"0": "none"}}, [0.0, -0.0, 0.5], ["none", "none", None], [2]),
    ({"name": "enum", "values": {"yes": True, "no": False}}, ["no", "yes"], [False, True], []),
]


@pytest.mark.parametrize(("converter", "given_values", "expected", "bad"), CASES)
def test_values_are_converted_or_named(
    engine: Engine, converter: Any, given_values: list[Any], expected: list[Any], bad: list[int]
) -> None:
    values, found, reasons = convert(engine, converter, pa.array(given_values))
    assert values == expected
    assert found == bad
    payload = [str(given_values[row]) for row in bad if len(str(given_values[row])) > 2]
    assert not any(value in reason for value in payload for reason in reasons)


def test_every_converter_of_the_catalogue_is_tested_and_keeps_null(engine: Engine) -> None:
    tested = {converter["name"] if isinstance(converter, dict) else converter.partition("(")[0] for converter, *_ in CASES}
    assert tested == set(names())
    for converter, given_values, _, _ in CASES:
        nulls = pa.nulls(2, pa.array(given_values).type)
        values, bad, _ = convert(engine, converter, nulls)
        assert (values, bad) == ([None, None], [])
        assert convert(engine, converter, nulls.slice(0, 0))[0] == []


def test_every_converter_says_what_it_does() -> None:
    assert all(len(entry.about) > 10 and not entry.about.endswith(".") for entry in CATALOGUE.values())


@pytest.mark.parametrize("converter", ["trim", "int", "email", "country", "date", "null_if('a')", "hash", "mask", "string", "json"])
def test_text_in_any_layout_is_read(engine: Engine, converter: str) -> None:
    values = ["1", "2024-01-01", None]
    plain = convert(engine, converter, pa.array(values))
    for array in (pa.array(values, pa.large_string()), pa.array(values, pa.string_view()), pa.array(values).dictionary_encode()):
        assert convert(engine, converter, array) == plain


def test_a_column_of_nulls_has_any_type(engine: Engine) -> None:
    assert convert(engine, "int", pa.nulls(2))[0] == [None, None]
    assert convert(engine, "trim", pa.nulls(2))[0] == [None, None]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2024-01-15T12:00:00", "2024-01-15T11:00:00"),
        ("2024-07-15T12:00:00", "2024-07-15T10:00:00"),
        ("2024-07-15T12:00:00+00:00", "2024-07-15T12:00:00"),
        ("2024-07-15T12:00:00Z", "2024-07-15T12:00:00"),
        ("2024-03-31T02:30:00", None),  # skipped when summer time begins
        ("2024-10-27T02:30:00", "2024-10-27T01:30:00"),  # twice: the later one
    ],
)
def test_local_times_are_in_their_zone(engine: Engine, text: str, utc: str | None) -> None:
    values, bad, reasons = convert(engine, {"name": "timestamp", "zone": "Europe/Berlin"}, pa.array([text]))
    assert values == [dt.datetime.fromisoformat(utc).replace(tzinfo=UTC) if utc else None]
    assert bad == ([] if utc else [0])
    assert reasons == ([] if utc else ["the time does not exist in Europe/Berlin"])


def test_local_times_by_a_format_and_from_timestamps_are_in_their_zone_too(engine: Engine) -> None:
    noon = dt.datetime(2024, 7, 15, 10, tzinfo=UTC)
    assert convert(engine, {"name": "timestamp", "format": "%d.%m.%Y %H", "zone": "Europe/Berlin"}, pa.array(["15.07.2024 12"]))[0] == [
        noon
    ]
    assert convert(engine, {"name": "timestamp", "zone": "Europe/Berlin"}, pa.array([dt.datetime(2024, 7, 15, 12)]))[0] == [noon]
    assert convert(engine, {"name": "timestamp", "format": "%Y-%m-%d %H%z"}, pa.array(["2024-07-15 12+0200"]))[0] == [noon]


@pytest.mark.parametrize(
    ("converter", "kind", "message"),
    [
        ("trimm", pa.string(), "no converter 'trimm'"),
        ("trim", pa.int64(), "expected text for the converter 'trim', got int64"),
        ("round('x')", pa.float64(), "expected a whole number for the argument 'digits' of round(digits), got 'x'"),
        ("round(1, 2)", pa.float64(), "expected at most 1 arguments for round(digits), got 2"),
        ({"name": "round", "digit": 2}, pa.float64(), "no argument 'digit' for round(digits)"),
        ("round(99)", pa.float64(), "between -18 and 18"),
        ("round", pa.date32(), "expected numbers for the converter 'round', got date32[day]"),
        ("decimal", pa.string(), "expected the argument 'precision' of decimal(precision, scale), which is missing"),
        ("decimal(39)", pa.string(), "1 <= precision <= 38"),
        ("date('%Q')", pa.string(), "expected a format such as %d.%m.%Y for the converter 'date', got '%Q'"),
        ({"name": "timestamp", "zone": "Europe/Nowhere"}, pa.string(), "expected an IANA time zone such as Europe/Berlin"),
        ({"name": "timestamp", "unit": "h"}, pa.int64(), "expected unit: s, ms, us, ns"),
        ({"name": "timestamp", "unit": "s", "zone": "UTC"}, pa.int64(), "expected 'unit' alone"),
        ({"name": "timestamp", "format": "%Y%z", "zone": "UTC"}, pa.string(), "expected no zone beside timestamps that have one"),
        ("null_if", pa.string(), "expected the argument 'values' of null_if(values), which is missing"),
        ("null_if('x')", pa.int64(), "expected values of type int64"),
        ("normalize(NFX)", pa.string(), "expected one of NFC, NFKC, NFD, NFKD"),
        ({"name": "enum", "values": {"a": "x"}}, pa.int64(), "expected a mapping of values of type int64"),
        ({"name": "enum", "values": {}}, pa.string(), "expected a mapping of values of type string"),
        ({"name": "enum", "values": {"a": "x", "b": 1}}, pa.string(), "expected new values of one type"),
        ({"name": "enum", "values": {"1": 2**64}}, pa.int64(), "numbers within 64 bits"),
        ({"name": "enum", "values": "a"}, pa.string(), "the argument 'values' of enum(values)"),
        ("phone(0)", pa.string(), "expected a country for the converter 'phone', as its calling code 49 or as its ISO 3166 code DE, got 0"),
        ("phone(800)", pa.string(), "expected a country for the converter 'phone'"),
        ("phone(UK)", pa.string(), "expected a country for the converter 'phone'"),
        ("mask(2, '**')", pa.string(), "one character"),
        ("hash", pa.list_(pa.string()), "expected text, bytes or numbers"),
    ],
)
def test_a_converter_that_does_not_fit_is_refused(engine: Engine, converter: Any, kind: pa.DataType, message: str) -> None:
    model = FieldMapping.model_validate({"source": "x", "converter": converter}).converter
    assert model is not None
    with pytest.raises(ConverterProblem) as raised:
        bind(model, kind, engine)
    assert message in raised.value.message


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=20))
def test_whole_numbers_written_out_come_back(engine: Engine, values: list[int | None]) -> None:
    texts = pa.array([None if value is None else str(value) for value in values], pa.string())
    found = bind(FieldMapping.model_validate({"source": "x", "converter": "int"}).converter, texts.type, engine).convert(texts)  # type: ignore[arg-type]
    assert found.array.to_pylist() == values


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.dates()), max_size=20))
def test_dates_written_in_a_format_come_back(engine: Engine, values: list[dt.date | None]) -> None:
    texts = pa.array([None if value is None else f"{value.day:02d}.{value.month:02d}.{value.year:04d}" for value in values], pa.string())
    bound = bind(FieldMapping.model_validate({"source": "x", "converter": "date('%d.%m.%Y')"}).converter, texts.type, engine)  # type: ignore[arg-type]
    assert bound.convert(texts).array.to_pylist() == values


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.recursive(st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3))
    )
)
def test_json_is_kept_as_written(engine: Engine, values: list[Any]) -> None:
    texts = pa.array([json.dumps(value) for value in values], pa.string())
    found = bind(FieldMapping.model_validate({"source": "x", "converter": "json"}).converter, texts.type, engine).convert(texts)  # type: ignore[arg-type]
    assert found.array.storage.to_pylist() == texts.to_pylist()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(LETTERS, max_size=12), st.just("a" * 64), st.just("a" * 65)), st.lists(LABELS, max_size=5))
def test_the_pattern_of_addresses_says_what_the_library_says(engine: Engine, local: str, labels: list[str]) -> None:
    text = f"{local}@{'.'.join(labels)}"
    values, bad, _ = convert(engine, "email", pa.array([text]))
    try:
        expected = validate_email(text.strip().lower(), check_deliverability=False, test_environment=True, strict=True).normalized
    except EmailNotValidError:
        assert (values, bad) == ([None], [0])
    else:
        assert (values, bad) == ([expected], [])


def test_plain_addresses_are_not_given_to_the_library(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    given_to_it: list[str] = []
    monkeypatch.setattr(email, "address", lambda text: given_to_it.append(text) or text)
    convert(
        engine, "email", pa.array(["Ann.Lee+crm@mail.example.com", "a@my-mail.com", None, "a@x.invalid", "a@my--mail.com", "a@x.invalid"])
    )
    # Twice: once of the whole, once of a slice.
    assert given_to_it == ["a@x.invalid", "a@my--mail.com"] * 2


def test_why_a_number_is_refused_is_said_for_each_row(engine: Engine) -> None:
    numbers = ["030 123456", None, "+49 30 1234 ext. 5", "call", "030 123456", "+1 212 555"]
    values, bad, reasons = convert(engine, "phone", pa.array(numbers).dictionary_encode())
    assert (values, bad) == ([None] * 6, [0, 2, 3, 4, 5])
    no_country = "the phone number has no country code, and the converter none for such numbers"
    extension = "the phone number has an extension, for which E.164 has no place"
    short = "the phone number is too short or too long for its country"
    assert reasons == [no_country, extension, "the text is not a phone number", no_country, short]


def test_every_country_is_known_by_its_codes_and_names(engine: Engine) -> None:
    for key in ("alpha_2", "alpha_3", "numeric", "name", "official_name", "common_name"):
        known = [country for country in pycountry.countries if getattr(country, key, None)]
        values, bad, _ = convert(engine, "country", pa.array([getattr(country, key) for country in known]))
        assert (values, bad) == ([country.alpha_2 for country in known], [])
