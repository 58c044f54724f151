"""The steps of the customer ETL. A function step without `handler` is the function of its id in this file.

`normalize` and `enrich` work on whole Arrow batches: fast, for what can be said about columns. `validate` works row by row: a row on
which it raises becomes a dead letter with the reason, and the others go on.
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# ISO code, region, currency, calling code, trunk prefix (national numbers begin with it, international ones drop it), other spellings.
COUNTRIES = [
    ("AT", "Europe", "EUR", "43", "0", "austria", "österreich"),
    ("AU", "Oceania", "AUD", "61", "0", "australia", "aus"),
    ("BR", "South America", "BRL", "55", "0", "brazil", "brasil", "bra"),
    ("CA", "North America", "CAD", "1", "1", "canada", "can"),
    ("CH", "Europe", "CHF", "41", "0", "switzerland", "schweiz", "suisse", "svizzera"),
    ("DE", "Europe", "EUR", "49", "0", "germany", "deutschland", "deu", "ger"),
    ("ES", "Europe", "EUR", "34", "", "spain", "españa", "esp"),
    ("FR", "Europe", "EUR", "33", "0", "france", "fra"),
    ("GB", "Europe", "GBP", "44", "0", "united kingdom", "great britain", "england", "uk", "gbr"),
    ("IN", "Asia", "INR", "91", "0", "india", "bharat", "ind"),
    ("IT", "Europe", "EUR", "39", "", "italy", "italia", "ita"),
    ("JP", "Asia", "JPY", "81", "0", "japan", "日本", "jpn"),
    ("NL", "Europe", "EUR", "31", "0", "netherlands", "the netherlands", "nederland", "holland", "nld"),
    ("PL", "Europe", "PLN", "48", "", "poland", "polska", "pol"),
    ("SE", "Europe", "SEK", "46", "0", "sweden", "sverige", "swe"),
    ("US", "North America", "USD", "1", "1", "united states", "united states of america", "usa", "u.s.", "u.s.a.", "america"),
]
ISO, REGION, CURRENCY, CALLING_CODE, TRUNK = (pa.array(column, pa.string()) for column in list(zip(*COUNTRIES, strict=False))[:5])
_SPELLINGS = {spelling: row for row, (iso, *others) in enumerate(COUNTRIES) for spelling in (iso.lower(), *others[4:])}
SPELLING = pa.array(list(_SPELLINGS), pa.string())
SPELLING_ROW = pa.array(list(_SPELLINGS.values()), pa.int32())

NOTHING = pa.array(["", "-", "?", "n/a", "none", "null", "unknown"])
FREE_MAIL = pa.array(
    [
        "gmail.com",
        "gmx.de",
        "hotmail.com",
        "icloud.com",
        "libero.it",
        "orange.fr",
        "outlook.com",
        "proton.me",
        "web.de",
        "wp.pl",
        "yahoo.com",
    ]
)
EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


def normalize(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Write the same thing in the same way: names, e-mail, ISO country, phone as +<country><number>; what says nothing becomes null."""
    country = iso_country(batch["country"])
    return replace(
        batch,
        name=proper_name(batch["name"]),
        email=pc.replace_substring_regex(pc.utf8_lower(tidy(batch["email"])), "^mailto:", ""),
        phone=international_phone(batch["phone"], country),
        street=tidy(batch["street"]),
        city=proper_name(batch["city"]),
        postal_code=pc.utf8_upper(tidy(batch["postal_code"])),
        country=country,
        plan=pc.utf8_lower(tidy(batch["plan"])),
    )


def enrich(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Add what others know: region, currency and calling code of the country, and whether the e-mail's domain is a free provider's.

    The tables stand in for a third party's data.
    """
    country = pc.index_in(batch["country"], ISO)
    domain = pc.struct_field(pc.extract_regex(batch["email"], r"@(?P<domain>[^@\s]+)$"), "domain")
    return replace(
        batch,
        region=REGION.take(country),
        currency=CURRENCY.take(country),
        calling_code=CALLING_CODE.take(country),
        email_domain=domain,
        email_kind=pc.case_when(pc.make_struct(pc.is_in(domain, FREE_MAIL), pc.is_valid(domain)), "free", "business"),
    )


def validate(row: dict[str, Any]) -> dict[str, Any]:
    """Let good rows pass. The reason says what is wrong, and never the value: it is personal data."""
    if row["name"] is None:
        raise ValueError("name is missing")
    email = row["email"]
    if email is None:
        raise ValueError("email is missing")
    if not EMAIL.fullmatch(email):
        raise ValueError("email is not an address")
    age = row["age"]
    if age is not None and not 0 < age < 120:
        raise ValueError("age is out of range")
    return row


def replace(batch: pa.RecordBatch, **columns: pa.Array) -> pa.RecordBatch:
    """The batch with these columns in place of those of the same name; new ones come last."""
    return pa.record_batch({**dict(zip(batch.schema.names, batch.columns, strict=True)), **columns})


def tidy(text: pa.Array) -> pa.Array:
    """Trim, and take `n/a`, `-` and the like for what they are: nothing."""
    text = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.is_in(pc.utf8_lower(text), NOTHING), None, text)


def proper_name(text: pa.Array) -> pa.Array:
    """Capitalise names that were typed without care, with single spaces, and leave McDonald and van Gogh as they are."""
    text = tidy(pc.replace_substring_regex(text, r"[\s\x{A0}]+", " "))
    careless = pc.or_(pc.utf8_is_lower(text), pc.utf8_is_upper(text))
    return pc.if_else(careless, pc.utf8_title(text), text)


def iso_country(text: pa.Array) -> pa.Array:
    """`Germany`, `de`, `DEUTSCHLAND` -> `DE`; null when it is none of the table's."""
    spelling = pc.index_in(pc.utf8_lower(tidy(text)), SPELLING)
    return ISO.take(SPELLING_ROW.take(spelling))


def international_phone(text: pa.Array, country: pa.Array) -> pa.Array:
    """`(030) 555 0123` of DE -> `+49305550123`; null when 7 to 15 digits do not come out, or the country is needed and unknown."""
    text = pc.replace_substring_regex(tidy(text), r"\(0\)|(?i)\s*(x|ext\.?)\s*\d+$", "")
    digits = pc.replace_substring_regex(text, r"\D+", "")
    double_zero = pc.starts_with(digits, "00")
    row = pc.index_in(country, ISO)
    trunk = pc.fill_null(TRUNK.take(row), "")
    begins = pc.equal(pc.utf8_slice_codeunits(digits, 0, 1), trunk)
    national = pc.binary_join_element_wise(CALLING_CODE.take(row), pc.if_else(begins, pc.utf8_slice_codeunits(digits, 1), digits), "")
    abroad = pc.if_else(double_zero, pc.utf8_slice_codeunits(digits, 2), digits)
    number = pc.if_else(pc.or_(pc.starts_with(text, "+"), double_zero), abroad, national)
    length = pc.utf8_length(number)
    possible = pc.and_(pc.greater_equal(length, 7), pc.less_equal(length, 15))
    return pc.if_else(possible, pc.binary_join_element_wise("+", number, ""), None)
