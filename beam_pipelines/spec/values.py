"""Small typed values of a definition: durations, sizes, names and money, as a person writes them.

Every parser raises `ValueError` with what was expected and what came; the models turn that into a problem with its position.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, Strict, WithJsonSchema

__all__ = [
    "CodeRef",
    "ConnectionName",
    "Count",
    "Duration",
    "Flag",
    "Identifier",
    "ModuleName",
    "Money",
    "Number",
    "OpenBound",
    "Scalar",
    "SecretReference",
    "Size",
    "Text",
    "duration_text",
    "masked_urls",
    "parse_duration",
    "parse_size",
    "shown",
    "slug",
]

_DIGITS = 15  # on each side of the point: a product with any count of rows or bytes is then exact
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_UNIT_BYTES = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000 ** (power + 1) for power, letter in enumerate("kmgt")},
    **{f"{letter}ib": 1024 ** (power + 1) for power, letter in enumerate("kmgt")},
}
_DURATION = r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)"
_SIZE = r"(\d+(?:\.\d+)?)\s*([kmgtKMGT]i?[bB]|[bB])?"
_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s\"']*")
_SHOWN_CHARACTERS = 60  # enough to recognise a value; a message stays on one line
_MAX_DURATION = timedelta(days=36_500)  # a century: more is a slip of the unit


def shown(value: object) -> str:
    """Return a value as a message may show it: short, on one line, without the credentials of a URL."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, str):
        text = repr(masked_urls(value))
    elif isinstance(value, bool) or value is None:
        text = {True: "true", False: "false", None: "nothing"}[value]
    elif isinstance(value, Iterable):
        return "a list"
    else:
        text = str(value) if isinstance(value, (int, float, Decimal)) else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def masked_urls(text: str) -> str:
    """Return a text whose URLs have lost their user part and their query, where passwords stand.

    >>> masked_urls("see postgresql://bob:pw@db/crm?sslpassword=x")
    'see postgresql://***@db/crm?***'
    """
    return _URL.sub(lambda match: _masked_url(match[0]), text)


def _masked_url(url: str) -> str:
    """Return a URL without its user part and its query, where passwords stand."""
    scheme, _, rest = url.partition("://")
    host = rest.rpartition("@")[2] if "@" in rest else rest
    host, question, _ = host.partition("?")
    return f"{scheme}://{'***@' if '@' in rest else ''}{host}{'?***' if question else ''}"


def slug(name: str) -> str:
    """Return the identity that a service gets from its name: lower-case ASCII letters and digits joined by `-`.

    >>> slug("Customer Data ETL Pipeline")
    'customer-data-etl-pipeline'
    """
    folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", folded.lower()).strip("-")


def parse_duration(value: object) -> timedelta:
    """Return the duration that a person wrote.

    Args:
        value: Whole milliseconds as a number (the seed's way), text with a unit (`500ms`, `60s`, `5m`, `1h`, `1d`, `2w`), or a timedelta.

    Raises:
        ValueError: It is neither, is negative, finer than a millisecond, or longer than a century.
    """
    expected = f"expected a duration (milliseconds, or a number with ms, s, m, h, d or w, such as 60s), got {shown(value)}"
    duration: timedelta | None = None
    if isinstance(value, timedelta):
        duration = value
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_DURATION / timedelta(milliseconds=1):
        duration = timedelta(milliseconds=value)
    elif isinstance(value, str) and len(value) < 40 and (match := re.fullmatch(_DURATION, value.strip())):
        milliseconds = Decimal(match[1]) * _UNIT_MS[match[2]]
        if milliseconds == milliseconds.to_integral_value() and milliseconds <= _MAX_DURATION / timedelta(milliseconds=1):
            duration = timedelta(milliseconds=int(milliseconds))
    if duration is None or duration < timedelta(0) or duration > _MAX_DURATION or duration % timedelta(milliseconds=1):
        raise ValueError(expected)
    return duration


def parse_size(value: object) -> int:
    """Return a size in bytes.

    Args:
        value: Bytes as a whole number, or text with a unit: `kB MB GB TB` are powers of 1000, `KiB MiB GiB TiB` of 1024.

    Raises:
        ValueError: It is neither, is negative, or is not a whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and len(value) < 40 and (match := re.fullmatch(_SIZE, value.strip())):
        size = Decimal(match[1]) * _UNIT_BYTES[(match[2] or "").lower()]
        if size == size.to_integral_value():
            return int(size)
    raise ValueError(f"expected a size (bytes, or a number with kB, MB, GB, KiB, MiB or GiB, such as 64MiB), got {shown(value)}")


def _parse_decimal(value: object) -> Decimal:
    """Return an exact decimal: a binary float goes by its shortest text, so that 0.1 is a tenth."""
    number: Decimal | None = None
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = Decimal(str(value))
    elif isinstance(value, str):
        try:
            number = Decimal(value.strip())
        except InvalidOperation:
            number = None
    if number is None or not number.is_finite() or number < 0:
        raise ValueError(f"expected a number, zero or above, got {shown(value)}")
    if number and not -_DIGITS <= number.adjusted() < _DIGITS:
        raise ValueError(f"expected a number of at most {_DIGITS} digits before and after the point, got {shown(value)}")
    return number


def _parse_open_bound(value: object) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, (float, Decimal)) and value == float("inf"):
        return None
    if isinstance(value, str) and value.strip().lower() in ("infinity", "inf"):
        return None
    return _parse_decimal(value)


def _scalar(value: object) -> object:
    """Return a plain value as it is: no reading of "1" as 1 or of true as 1."""
    if value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"expected text, a finite number, true, false or null, got {shown(value)}")


def _number(value: object) -> int | float:
    if (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"expected a number, got {shown(value)}")


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("expected text, got an empty one")
    return value


def _matches(pattern: str, expected: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {expected}, got {shown(value)}")
        return value

    return AfterValidator(check)


def _reference(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(_SECRET, value):
        return value
    # The value is not shown: it may be the secret itself.
    raise ValueError("expected a reference to a secret, such as ${env:CRM_API_KEY}, got a value written out (not shown here)")


def _connection(value: str) -> str:
    if re.fullmatch(_CONNECTION, value):
        return value
    if "://" in value:
        # A URL may hold a password in places that no pattern knows, so none of it is shown.
        raise ValueError("expected the name of a connection, got a URL (not shown here): put it into the connections file under a name")
    raise ValueError(f"expected the name of a connection (letters, digits, '-', '_', '.'), got {shown(value)}")


_CONNECTION = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_IDENTIFIER = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_MODULE = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
_SECRET = r"\$\{(env|file|gcp-secret|aws-secret):[^{}]+\}"
_NUMBER_OR_TEXT: dict[str, Any] = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}


def _milliseconds(value: timedelta) -> int:
    return value // timedelta(milliseconds=1)


Text = Annotated[str, AfterValidator(_not_blank), Field(json_schema_extra={"minLength": 1})]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1)]
Identifier = Annotated[
    str,
    _matches(_IDENTIFIER, "a name of letters, digits, '-', '_' and '.', at most 128"),
    Field(json_schema_extra={"pattern": f"^{_IDENTIFIER}$"}),
]
ConnectionName = Annotated[
    str,
    AfterValidator(_connection),
    Field(json_schema_extra={"pattern": f"^{_CONNECTION}$"}),
]
ModuleName = Annotated[
    str,
    _matches(_MODULE, "the dotted name of a Python module"),
    Field(json_schema_extra={"pattern": f"^{_MODULE}$"}),
]
CodeRef = Annotated[
    str,
    _matches(rf"{_MODULE}:{_MODULE}", "module:function"),
    Field(json_schema_extra={"pattern": f"^{_MODULE}:{_MODULE}$"}),
]
SecretReference = Annotated[
    str,
    BeforeValidator(_reference),
    WithJsonSchema({"type": "string", "pattern": f"^{_SECRET}$"}),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(_milliseconds, return_type=int, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": rf"^\s*{_DURATION}\s*$"}]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": rf"^\s*{_SIZE}\s*$"}]}),
]
Money = Annotated[Decimal, BeforeValidator(_parse_decimal), WithJsonSchema(_NUMBER_OR_TEXT)]
OpenBound = Annotated[
    Decimal | None,
    BeforeValidator(_parse_open_bound),
    WithJsonSchema({"anyOf": [*_NUMBER_OR_TEXT["anyOf"], {"type": "null"}]}),
]
Number = Annotated[int | float, PlainValidator(_number), WithJsonSchema({"type": "number"})]
Scalar = Annotated[
    str | int | float | bool | None,
    PlainValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]


def duration_text(span: timedelta) -> str:
    """A duration as definitions write it, in the largest unit that it is a whole number of."""
    ms = span // timedelta(milliseconds=1)
    units = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
    unit = next(unit for unit, size in units.items() if ms % size == 0)
    return f"{ms // units[unit]}{unit}"
