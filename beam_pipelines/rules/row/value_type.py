"""Values of a type, and text that can be read as one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.convert import family
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.rules.field import Field
from beam_pipelines.rules.judgement import Judgement, finding
from beam_pipelines.rules.row.texts import without_unreadable
from beam_pipelines.spec.rule.value_type import TypeRule

__all__ = ["TypeOfValue"]

# What text is read as, which families of types are of the kind as they are, and its name.
_KINDS: dict[str, tuple[pa.DataType, frozenset[str], str]] = {
    "int": (pa.int64(), frozenset({"int"}), "a whole number"),
    "number": (pa.float64(), frozenset({"int", "float", "decimal"}), "a number"),
    "text": (pa.string(), frozenset({"text"}), "text"),
    "boolean": (pa.bool_(), frozenset({"bool"}), "true or false"),
    "date": (pa.date32(), frozenset({"date"}), "a date"),
    "timestamp": (pa.timestamp("us", "UTC"), frozenset({"timestamp"}), "a timestamp"),
    "time": (pa.time64("us"), frozenset({"time"}), "a time of day"),
    "uuid": (pa.uuid(), frozenset({"uuid"}), "a UUID"),
    "json": (pa.json_(), frozenset({"json", "struct", "list", "map"}), "JSON"),
}


class TypeOfValue:
    """A value is of a type, by the field's own type, or is text that can be read as one by `columnar.text_values`.

    Null is not evaluated, nor is empty text that would have to be read. NaN is no number. A decimal type without places behind the point is
    one of whole numbers.
    """

    def __init__(self, model: TypeRule, schema: pa.Schema) -> None:
        self._field = Field.find(model.field, schema)
        self._target, families, name = _KINDS[model.kind]
        kind = self._field.type
        self._reads = is_text(kind) and model.kind != "text"
        whole = model.kind == "int" and pa.types.is_decimal(kind) and kind.scale <= 0
        self._holds = whole or family(kind) in families
        self._nan_violates = model.kind == "number"
        self._message = f"expected {name}" if is_text(kind) else f"expected {name}, got a value of type {kind}"

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        values = self._field.read(batch)
        unevaluated = values.null_count
        if self._reads:
            looked_at = pc.fill_null(pc.greater(pc.binary_length(values), 0), False)
            unevaluated = len(values) - (pc.sum(looked_at).as_py() or 0)
            wrong = pc.and_(looked_at, self._misread(values))
        elif not self._holds:
            wrong = values.is_valid()
        elif self._nan_violates and pa.types.is_floating(values.type):
            wrong = pc.is_nan(values)
        else:
            return Judgement((), unevaluated)
        return Judgement(tuple(finding(wrong, self._field.name, values, self._message)), unevaluated)

    def _misread(self, texts: pa.Array) -> pa.Array:
        """Return which texts cannot be read as the type; it says anything of the empty text."""
        readable, odd = without_unreadable(texts)
        read, wrong = convert_column(readable, self._target)
        mask = pa.array(odd if wrong is None else np.asarray(wrong) | odd)
        return pc.or_(mask, pc.fill_null(pc.is_nan(read), False)) if self._nan_violates else mask
