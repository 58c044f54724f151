"""The converter `country`: ISO 3166 codes from codes and English names, as the library pycountry has them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.transforms.converters.converter import Bound, Converted, Entry, blank_to_null, plain_text, text_type

__all__ = ["ENTRIES"]

# Names that people write and ISO 3166 does not have, in lower case.
_OTHER_NAMES = {
    "britain": "GB",
    "brunei": "BN",
    "burma": "MM",
    "cape verde": "CV",
    "congo-brazzaville": "CG",
    "congo-kinshasa": "CD",
    "democratic republic of the congo": "CD",
    "east timor": "TL",
    "falkland islands": "FK",
    "great britain": "GB",
    "holland": "NL",
    "holy see": "VA",
    "ivory coast": "CI",
    "korea (north)": "KP",
    "korea (south)": "KR",
    "macau": "MO",
    "micronesia": "FM",
    "palestine": "PS",
    "republic of korea": "KR",
    "russia": "RU",
    "swaziland": "SZ",
    "the gambia": "GM",
    "the netherlands": "NL",
    "turkey": "TR",
    "u.k.": "GB",
    "u.s.": "US",
    "u.s.a.": "US",
    "uae": "AE",
    "uk": "GB",
    "vatican": "VA",
    "vatican city": "VA",
}


@lru_cache(maxsize=1)
def _countries() -> tuple[pa.Array, pa.Array]:
    """Return names and codes in lower case, beside the codes of two letters that they mean."""
    import pycountry

    meant = dict(_OTHER_NAMES)
    for country in pycountry.countries:
        meant.update((spelling, country.alpha_2) for name in _names(country) for spelling in _spellings(name.lower()))
    return pa.array(list(meant), pa.string()), pa.array(list(meant.values()), pa.string())


def _names(country: Any) -> Iterator[str]:
    known = ("name", "common_name", "official_name", "alpha_2", "alpha_3", "numeric")
    yield from (getattr(country, key) for key in known if getattr(country, key, None))
    yield str(int(country.numeric))  # 004 that was read as a number


def _spellings(name: str) -> Iterator[str]:
    """A name as ISO 3166 has it (in NFD), without accents, and with the usual short forms of `and` and `saint`."""
    apart = unicodedata.normalize("NFD", name)
    for one in (apart, "".join(letter for letter in apart if not unicodedata.combining(letter))):
        for joined in (one, one.replace(" and ", " & ")):
            yield joined
            if joined.startswith("saint "):
                yield f"st {joined[6:]}"
                yield f"st. {joined[6:]}"


def _country(kind: pa.DataType) -> Bound:
    text_type(kind, "country")
    names, codes = _countries()

    def convert(array: pa.Array) -> Converted:
        values = pc.utf8_normalize(blank_to_null(plain_text(array)).cast(pa.string()), form="NFD")
        values = pc.replace_substring(pc.utf8_lower(values), "\u2019", "'")
        places = pc.index_in(values, value_set=names)
        found = codes.take(pc.if_else(values.is_valid(), places, pa.scalar(None, pa.int32())))
        bad = pc.indices_nonzero(pc.and_(values.is_valid(), found.is_null())).to_pylist()
        return Converted(found, bad, ["the text is not a country that is known by its code or English name"] * len(bad))

    return Bound(pa.string(), convert)


ENTRIES = (
    Entry(
        "country",
        (),
        _country,
        "a country's ISO 3166 code of two letters, from a code of two or three letters, the number, or the English name",
    ),
)
