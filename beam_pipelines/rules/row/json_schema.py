"""JSON by a schema, which is asked once for each distinct value of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.kinds import is_list, is_text, storage
from beam_pipelines.columnar.origin import visible
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.rules.judgement import Finding, Judgement
from beam_pipelines.rules.row.json_validator import JsonValidator
from beam_pipelines.rules.row.texts import without_unreadable
from beam_pipelines.spec.rule.json_schema import JsonSchemaRule

__all__ = ["JsonBySchema"]

_NO_JSON = "expected JSON that fits the schema, got text that is no JSON"
_NESTED = ("struct", "list", "map")


class JsonBySchema:
    """A value fits a JSON Schema: JSON text, JSON, a struct, a list or a map; or the row does, as an object of its fields.

    Null and the empty text are not evaluated. What is not JSON becomes it as in dead letters, except that decimals are numbers and that
    fields that are null are left out of their object: what is `required` is not null.
    """

    def __init__(self, model: JsonSchemaRule, schema: pa.Schema) -> None:
        self._field = None if model.field is None else Field.find(model.field, schema)
        self._nested = self._field is None or family(self._field.type) in _NESTED
        if self._field is not None and not self._nested and family(self._field.type) not in ("text", "json", "null"):
            wanted = "a field of JSON text, JSON, structs, lists or maps"
            raise RuleMisfit(f"expected {wanted}, got {model.field!r} of type {self._field.type}", "field")
        self._validator = JsonValidator(model.document)

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        values = _rows(batch) if self._field is None else self._field.read(batch)
        texts = self._texts(values)
        looked_at = np.asarray(pc.fill_null(pc.greater(pc.binary_length(texts), 0), False))
        readable, odd = without_unreadable(texts)
        encoded = readable.dictionary_encode()
        nothing = len(encoded.dictionary)  # place of null: of those that are looked at, what is no UTF-8
        told, failed = self._asked(encoded.dictionary)
        if odd.any():
            told.setdefault(_NO_JSON, []).append(nothing)
        places = np.asarray(pc.fill_null(encoded.indices, nothing))
        why: dict[int, str] = {}
        for reason, which in failed.items():
            why |= dict.fromkeys(np.flatnonzero(looked_at & np.isin(places, which)).tolist(), reason)
        findings = []
        for message, which in told.items():
            rows = np.flatnonzero(looked_at & np.isin(places, which)).astype(np.int64)
            found = None if self._field is None else values.take(pa.array(rows))
            findings += [Finding(rows, "" if self._field is None else self._field.name, found, message)] if len(rows) else []
        return Judgement(tuple(findings), len(texts) - int(looked_at.sum()), why)

    def _texts(self, values: pa.Array) -> pa.Array:
        """Return values as JSON text."""
        if self._nested:
            return convert_column(convert_column(values, _with_floats(values.type))[0], pa.large_string())[0]
        stored = storage(values)
        return stored if is_text(stored.type) else stored.cast(pa.string())

    def _asked(self, distinct: pa.Array) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Return the positions of values that do not fit, by message, and of those of which the schema cannot tell, by reason."""
        told: dict[str, list[int]] = {}
        failed: dict[str, list[int]] = {}
        for at, text in enumerate(distinct.to_pylist()):
            try:
                value = orjson.loads(text)
            except orjson.JSONDecodeError:
                told.setdefault(_NO_JSON, []).append(at)
                continue
            try:
                messages = self._validator.messages(_present(value) if self._nested else value)
            except Exception as error:  # noqa: BLE001 (whatever the library raises for a value costs the rows that hold it)
                failed.setdefault(f"the schema cannot be applied to it ({type(error).__name__})", []).append(at)
                continue
            for message in messages:
                told.setdefault(message, []).append(at)
        return told, failed


def _rows(batch: pa.RecordBatch) -> pa.Array:
    shown = visible(batch)
    return pa.StructArray.from_arrays(shown.columns, fields=list(shown.schema))


def _present(value: Any) -> Any:
    """Return a value without the fields of objects that are null: Arrow does not tell them from those that are not there."""
    if isinstance(value, dict):
        return {name: _present(part) for name, part in value.items() if part is not None}
    return [_present(part) for part in value] if isinstance(value, list) else value


def _with_floats(kind: pa.DataType) -> pa.DataType:
    """Return a type with floats for decimals, which are written as text elsewhere and are numbers to a schema."""
    if pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_dictionary(kind) and pa.types.is_decimal(kind.value_type):
        return pa.float64()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_with_floats(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, kind.item_field.with_type(_with_floats(kind.item_type)))
    if is_list(kind):
        items = kind.value_field.with_type(_with_floats(kind.value_type))
        if pa.types.is_fixed_size_list(kind):
            return pa.list_(items, kind.list_size)
        return pa.large_list(items) if pa.types.is_large_list(kind) else pa.list_(items)
    return kind
