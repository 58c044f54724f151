"""The converter `phone`: numbers in the form of E.164, by the library phonenumbers."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa

from beam_pipelines.transforms.converters.converter import (
    Bound,
    Converted,
    ConverterProblem,
    Entry,
    Parameter,
    blank_to_null,
    plain_text,
    text_type,
)
from beam_pipelines.transforms.converters.distinct import Unconverted, by_distinct

__all__ = ["ENTRIES"]

_REMEMBERED = 1 << 16  # numbers; some 15 MB
_NOWHERE = ("001", "ZZ")  # what the library calls the regions of codes that belong to no country


def _phone(kind: pa.DataType, code: int | str | None) -> Bound:
    region = None if code is None else _region(code)

    def convert(array: pa.Array) -> Converted:
        return by_distinct(blank_to_null(plain_text(array)), lambda text: _number(text, region))

    return Bound(text_type(kind, "phone"), convert)


def _region(code: int | str) -> str:
    """Return the ISO 3166 code of the country that numbers without one are from."""
    import phonenumbers

    if isinstance(code, str) and code.upper() in phonenumbers.SUPPORTED_REGIONS:
        return code.upper()
    if isinstance(code, int) and not isinstance(code, bool):
        region = phonenumbers.region_code_for_country_code(code)
        if region not in _NOWHERE:
            return str(region)
    raise ConverterProblem(f"expected a country for the converter 'phone', as its calling code 49 or as its ISO 3166 code DE, got {code!r}")


@lru_cache(maxsize=_REMEMBERED)
def _number(text: str, region: str | None) -> str:
    """Return one number, as in +4930123456; 15 us where it is not remembered.

    A number counts when it has as many digits as numbers of its country have. Whether its range is in use is not asked: ranges are opened
    faster than the library is brought up to date, and a number that is left out is lost.

    Raises:
        Unconverted: It is none, or would lose something.
    """
    import phonenumbers
    from phonenumbers import NumberParseException, PhoneNumberFormat, ValidationResult

    # 00 is what most of the world dials for +; elsewhere no number begins with it.
    international = f"+{text[2:]}" if text.startswith("00") else text
    try:
        number = phonenumbers.parse(international, region)
    except NumberParseException as error:
        if error.error_type == NumberParseException.INVALID_COUNTRY_CODE and region is None and not international.startswith("+"):
            raise Unconverted("the phone number has no country code, and the converter none for such numbers") from error
        raise Unconverted("the text is not a phone number") from error
    if number.extension:
        raise Unconverted("the phone number has an extension, for which E.164 has no place")
    # The library takes letters for the digits on their keys, and so words behind a number for a part of it.
    if any(character.isalpha() for character in text):
        raise Unconverted("the text is not a phone number")
    if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
        raise Unconverted("the phone number is too short or too long for its country")
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


ENTRIES = (
    Entry(
        "phone",
        (Parameter("code", "any", None),),
        _phone,
        "a phone number in E.164, as in +49301234567; code: the country of numbers without one, as in phone(49) or phone(DE)",
    ),
)
