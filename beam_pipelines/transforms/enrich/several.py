"""Answers of several keys in one response, told apart by what they say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import family
from beam_pipelines.spec.step.enrich import RequestBatch
from beam_pipelines.transforms.enrich.answer import KINDS, NOTHING, Failure, Found, Nothing, Reader, at, parts_of
from beam_pipelines.transforms.enrich.request import plain

__all__ = ["Several"]

_AMBIGUOUS = Failure("the API gave several answers for the row's key, and they differ", "lookup-ambiguous")
_NO_VALUE = object()


class Several:
    """Takes the answers of the keys of one request out of its response.

    Args:
        model: From the definition.
        kinds: Types of the fields of the request, by name, in the order of the keys.
        reader: Of one answer.
    """

    def __init__(self, model: RequestBatch, kinds: Mapping[str, pa.DataType], reader: Reader) -> None:
        self._items = parts_of(model.items) if model.items else []
        self._places = [(parts_of(model.match[name]), kind) for name, kind in kinds.items()]
        self._reader = reader

    def read(self, response: Any, exact: Any, keys: Sequence[tuple[Any, ...]]) -> list[Found | Nothing | Failure]:
        """Return one result for each key that was asked for.

        What belongs to no key, or does not say to which, is left out. Of several answers of a key all must say the same.

        Args:
            response: JSON; None: nothing is known of any key.
            exact: The same with numbers as they were sent (`io.http.json.Json`).
            keys: As `request.keys_of` gives them.
        """
        if response is None:
            return [NOTHING for _ in keys]
        found, numbers = at(response, self._items), at(exact, self._items)
        if not isinstance(found, list):
            why = Failure(f"expected a list of answers, got {KINDS.get(type(found), 'a value')}")
            return [why for _ in keys]
        of_key: dict[tuple[Any, ...], Found | Nothing | Failure] = {}
        wanted = set(keys)
        told = [_told([at(one, place) for one in numbers], kind) for place, kind in self._places]
        for key, one, number in zip(zip(*told, strict=True), found, numbers, strict=True):
            if key not in wanted:
                continue
            answer = self._reader.read(one, number)
            if of_key.setdefault(key, answer) != answer:
                of_key[key] = _AMBIGUOUS
        return [of_key.get(key, NOTHING) for key in keys]


def _told(values: Sequence[Any], kind: pa.DataType) -> list[Any]:
    """Return JSON values as keys of a type hold them: 1.5 is the key 1.50 of a decimal, and "17" is 17. What cannot be one has none."""
    if pa.types.is_boolean(kind):
        return [value if isinstance(value, bool) else _NO_VALUE for value in values]
    texts = pa.array([_text(value) for value in values], pa.string())
    if family(kind) != "text":
        texts = plain(convert_column(texts, kind)[0])[0]
    return [_NO_VALUE if value is None else value for value in texts.to_pylist()]


def _text(value: Any) -> str | None:
    """Return a text or a number as text, None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        value = int(value)  # what another language writes as 17.0
    return str(value)
