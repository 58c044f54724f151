"""JSON to its last digit, and not too deep."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from beam_pipelines.io.http.json import JsonError, parsed


@pytest.mark.parametrize(
    ("text", "value", "exact"),
    [
        ("12345678901234567.89", 12345678901234568.0, Decimal("12345678901234567.89")),
        ("123456789012345678901234567890", 1.2345678901234568e29, 123456789012345678901234567890),
        ("18446744073709551615", 18446744073709551615, 18446744073709551615),
        ("0.1234567890123456", 0.1234567890123456, 0.1234567890123456),
        ("0.0000000000000000", 0.0, 0.0),
        ("1.5", 1.5, 1.5),
    ],
)
def test_a_number_keeps_the_digits_that_a_float_would_lose(text: str, value: Any, exact: Any) -> None:
    found = parsed(f'{{"a": [{text}, 1]}}'.encode())
    assert (found.value, found.exact) == ({"a": [value, 1]}, {"a": [exact, 1]})
    assert type(found.exact["a"][0]) is type(exact)


def nested(levels: int, way: str) -> bytes:
    return (b'{"a":' * levels + b"1" + b"}" * levels) if way == "objects" else b"[" * levels + b"]" * levels


@pytest.mark.parametrize("way", ["lists", "objects"])
@pytest.mark.parametrize("levels", [101, 260, 1000])
def test_what_is_nested_too_deeply_is_refused(levels: int, way: str) -> None:
    with pytest.raises(JsonError, match="nested too deeply"):
        parsed(nested(levels, way))


WIDE = b"[%s]" % b",".join([b"[]"] * 500)


@pytest.mark.parametrize("content", [nested(100, "lists"), nested(100, "objects"), WIDE, b'"%s"' % (b"[" * 500)])
def test_what_is_wide_or_only_looks_deep_is_read(content: bytes) -> None:
    assert parsed(content).value == json.loads(content)


@pytest.mark.parametrize("content", [b'["\\ud800", 1234567890123456789]', b"[NaN, 1234567890123456789]", b"1" * 400])
def test_what_is_no_json_is_refused_whatever_numbers_it_has(content: bytes) -> None:
    with pytest.raises(JsonError, match="not JSON"):
        parsed(content)
