"""What is asked of an API for the keys of rows: requests made of a template, in which no value can change where they lead."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import decoded, family
from beam_pipelines.columnar.path import FieldPath
from beam_pipelines.spec.step.enrich import EnrichRequest

__all__ = ["Keys", "Request", "Template", "askable", "keys_of", "plain"]

Key = tuple[Any, ...]  # JSON values, one for each field of the request
_PLACE = re.compile(r"\{([^{}]*)\}")
_SEGMENT = re.compile(r"(?:^|(?<=/))(?:\{[^{}]*\}|[^/{}])*")  # what is between two slashes; the name of a field may have some
_KINDS = ("bool", "int", "float", "decimal", "text", "date", "timestamp", "time", "uuid", "null")
_AS_THEY_ARE = ("bool", "int")  # in JSON; floats as well, and others are text


@dataclass(frozen=True)
class Request:
    """One call, below the URL of the connection.

    Args:
        method: `GET` or `POST`.
        target: Path and query, percent-encoded.
        body: JSON, None: there is none.
    """

    method: str
    target: str
    body: bytes | None = None


@dataclass(frozen=True)
class Keys:
    """The keys of some rows.

    Args:
        distinct: Each key once, in the order in which they come.
        numbers: Of each row the position of its key, -1: it has none, for a part is null or not a finite number.
    """

    distinct: list[Key]
    numbers: npt.NDArray[np.int64]


def askable(kind: pa.DataType) -> bool:
    """Return whether a value of this type can stand in a request."""
    return family(kind.value_type if pa.types.is_dictionary(kind) else kind) in _KINDS


def keys_of(batch: pa.RecordBatch, fields: Sequence[FieldPath]) -> Keys:
    """Return the keys of a slice of rows: whole numbers, floats and booleans as they are, others as text; 0.0 and -0.0 are one.

    Args:
        batch: Of at most a few thousand rows, for each distinct key exists as Python values.
        fields: Where the parts of a key are; at least one.
    """
    valid = np.ones(batch.num_rows, dtype=np.bool_)
    codes = np.zeros(batch.num_rows, dtype=np.int64)
    for field in fields:
        column, good = plain(field.read(batch))
        valid &= good
        encoded = pc.dictionary_encode(column)
        places = np.asarray(pc.fill_null(encoded.indices, 0), dtype=np.int64)
        # Made small again after each field: the product of their numbers might not fit.
        codes = np.unique(codes * (len(encoded.dictionary) + 1) + places, return_inverse=True)[1].reshape(-1)
    rows = np.flatnonzero(valid)
    _, firsts, inverse = np.unique(codes[rows], return_index=True, return_inverse=True)
    order = np.argsort(firsts, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    numbers = np.full(batch.num_rows, -1, dtype=np.int64)
    numbers[rows] = rank[inverse.reshape(-1)]
    chosen = pa.array(rows[firsts[order]])
    parts = [plain(field.read(batch).take(chosen))[0].to_pylist() for field in fields]
    return Keys(list(zip(*parts, strict=True)), numbers)


def plain(array: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Return a column as JSON would hold it, and where there is a value."""
    array = decoded(array)
    kind = family(array.type)
    if kind == "float":
        array = pc.add(array.cast(pa.float64()), 0.0)  # -0.0 + 0.0 is 0.0
        finite = np.asarray(pc.fill_null(pc.is_finite(array), False), dtype=np.bool_)
        return array, finite
    if kind not in _AS_THEY_ARE:
        array = convert_column(array, pa.string())[0]
    return array, np.asarray(array.is_valid(), dtype=np.bool_)


class Template:
    """A request with the places of its fields.

    Args:
        model: From the definition.
    """

    def __init__(self, model: EnrichRequest) -> None:
        self._model = model
        self._position = {name: position for position, name in enumerate(model.fields)}
        self.batch_size = model.batch.size if model.batch else 1

    def of(self, keys: Sequence[Key]) -> Request | None:
        """Return the request for a key, or for those of one batch; None where a key would make another path of it.

        A value in a path is one segment, or a part of one: it is percent-encoded, and a segment that would become empty, `.` or `..` names
        something else than a row.
        """
        path = self._path(keys[0])
        if path is None:
            return None
        pairs = [f"{quote(name, safe='')}={value}" for name, given in self._model.query.items() for value in self._query(given, keys)]
        body = None if self._model.body is None else orjson.dumps(self._json(self._model.body, keys))
        return Request(self._model.method, path + ("?" + "&".join(pairs) if pairs else ""), body)

    def _path(self, key: Key) -> str | None:
        made = []
        for segment in _SEGMENT.findall(self._model.path):
            filled = _PLACE.sub(lambda found: quote(self._text(found, key), safe=""), segment)
            if filled != segment and filled in ("", ".", ".."):
                return None
            made.append(filled if filled != segment else quote(segment, safe="!$&'()*+,;=:@-._~%"))
        return "/".join(made)

    def _query(self, given: Any, keys: Sequence[Key]) -> list[str]:
        if not isinstance(given, str):
            return [] if given is None else [quote(_word(given), safe="")]
        if not _PLACE.search(given):
            return [quote(given, safe="")]
        return [quote(_PLACE.sub(lambda found, key=key: self._text(found, key), given), safe="") for key in keys]  # type: ignore[misc]

    def _json(self, given: Any, keys: Sequence[Key]) -> Any:
        if isinstance(given, Mapping):
            return {name: self._json(item, keys) for name, item in given.items()}
        if isinstance(given, (list, tuple)):
            return [self._json(item, keys) for item in given]
        if not isinstance(given, str):
            return given
        alone = _PLACE.fullmatch(given.strip())
        if alone:
            values = [key[self._position[alone[1].strip()]] for key in keys]
            return values if self._model.batch else values[0]
        return _PLACE.sub(lambda found: self._text(found, keys[0]), given)

    def _text(self, found: re.Match[str], key: Key) -> str:
        return _word(key[self._position[found[1].strip()]])


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and math.fabs(value) < 1e15:
        return str(int(value))  # what another language writes as 1, not as 1.0
    return str(value)
