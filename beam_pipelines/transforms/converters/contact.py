"""Converters of what reaches a person: e-mail addresses, phone numbers, countries. Simple rules, stated; not the full standards."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.transforms.converters.converter import (
    Bound,
    Converted,
    ConverterProblem,
    Entry,
    Parameter,
    blank_to_null,
    checked,
    plain_text,
    text_type,
)

__all__ = ["ENTRIES"]

# One @, no white space, a dot in the domain, no empty label; 254 characters is the longest path SMTP carries (RFC 5321, 4.5.3.1.3).
_EMAIL = r"^[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+$"
_EMAIL_CHARACTERS = 254
_PHONE_CHARACTERS = r"^\+?[0-9()\s./\-]+$"
_E164 = r"^\+[1-9][0-9]{6,14}$"  # ITU-T E.164: at most 15 digits, the first not zero; shorter than 7 is no subscriber anywhere
_NATIONAL = r"^[0-9]{5,15}$"
_KEEPS_ZERO = (39, 378, 379)  # Italy, San Marino, Vatican City: the leading zero belongs to the number


def _email(kind: pa.DataType) -> Bound:
    def convert(array: pa.Array) -> Converted:
        values = pc.utf8_lower(blank_to_null(plain_text(array)))
        good = pc.and_(pc.match_substring_regex(values, _EMAIL), pc.less_equal(pc.utf8_length(values), _EMAIL_CHARACTERS))
        return checked(values, good, "the text is not an e-mail address")

    return Bound(text_type(kind, "email"), convert)


def _phone(kind: pa.DataType, code: int | None) -> Bound:
    if code is not None and not 1 <= code <= 999:
        raise ConverterProblem(f"expected a country calling code such as 49 for the converter 'phone', got {code}")

    def convert(array: pa.Array) -> Converted:
        values = blank_to_null(plain_text(array))
        known = pc.match_substring_regex(values, _PHONE_CHARACTERS)
        # `+49 (0)30`: the bracketed zero is for callers from inside.
        digits = pc.replace_substring_regex(values, r"^(\+|00)([^(]*)\(0\)", r"\1\2")
        digits = pc.replace_substring_regex(digits, r"[()\s./\-]", "")
        digits = pc.replace_substring_regex(digits, r"^00", "+")
        if code is not None:
            digits = _international(digits, code)
        good = pc.match_substring_regex(digits, _E164 if code is not None else rf"{_E164}|{_NATIONAL}")
        return checked(digits, pc.and_(known, good), "the text is not a phone number")

    return Bound(text_type(kind, "phone"), convert)


def _international(digits: pa.Array, code: int) -> pa.Array:
    """Put the country's code before numbers that have none, in place of the leading zero that callers from inside dial."""
    if code == 1:
        national = pc.replace_substring_regex(digits, r"^1?([2-9][0-9]{9})$", r"+1\1")
    else:
        bare = digits if code in _KEEPS_ZERO else pc.replace_substring_regex(digits, r"^0", "")
        national = pc.replace_substring_regex(bare, r"^([0-9])", rf"+{code}\1")
    return pc.if_else(pc.starts_with(digits, "+"), digits, national)


_OTHER_NAMES = {
    "uk": "GB",
    "united kingdom": "GB",
    "great britain": "GB",
    "britain": "GB",
    "usa": "US",
    "u.s.a.": "US",
    "u.s.": "US",
    "united states of america": "US",
    "uae": "AE",
    "south korea": "KR",
    "republic of korea": "KR",
    "north korea": "KP",
    "russian federation": "RU",
    "viet nam": "VN",
    "czechia": "CZ",
    "the netherlands": "NL",
    "ivory coast": "CI",
    "côte d'ivoire": "CI",
    "democratic republic of the congo": "CD",
    "republic of the congo": "CG",
    "türkiye": "TR",
    "turkiye": "TR",
    "burma": "MM",
    "myanmar": "MM",
    "swaziland": "SZ",
    "eswatini": "SZ",
    "cabo verde": "CV",
    "timor-leste": "TL",
    "macao": "MO",
    "samoa": "WS",
    "american samoa": "AS",
    "central african republic": "CF",
    "holy see": "VA",
}


@lru_cache(maxsize=1)
def _countries() -> tuple[pa.Array, pa.Array]:
    """Return names and codes in lower case beside the codes they mean: ISO 3166 as the time zone database carries it, and usual names."""
    import importlib.resources

    text = (importlib.resources.files("tzdata") / "zoneinfo" / "iso3166.tab").read_text(encoding="utf-8")
    codes = dict(line.split("\t")[:2] for line in text.splitlines() if line and not line.startswith("#"))
    meant = {name.lower(): code for code, name in codes.items()}
    meant.update({name.replace(" & ", " and "): code for name, code in list(meant.items()) if " & " in name})
    meant.update(_OTHER_NAMES)
    meant.update({code.lower(): code for code in codes})
    return pa.array(list(meant), pa.string()), pa.array(list(meant.values()), pa.string())


def _country(kind: pa.DataType) -> Bound:
    text_type(kind, "country")
    names, codes = _countries()

    def convert(array: pa.Array) -> Converted:
        values = pc.utf8_lower(blank_to_null(plain_text(array))).cast(pa.string())
        places = pc.index_in(values, value_set=names)
        found = codes.take(pc.if_else(values.is_valid(), places, pa.scalar(None, pa.int32())))
        bad = pc.indices_nonzero(pc.and_(values.is_valid(), found.is_null())).to_pylist()
        return Converted(found, bad, ["the text is not a country that is known by its code or English name"] * len(bad))

    return Bound(pa.string(), convert)


ENTRIES = (
    Entry("email", (), _email, "an e-mail address in lower case, without white space at its ends"),
    Entry(
        "phone",
        (Parameter("code", "int", None),),
        _phone,
        "a phone number, as in +49301234567; code: for numbers without one, as in phone(49)",
    ),
    Entry("country", (), _country, "a country's ISO 3166 code of two letters, from the code or the English name"),
)
