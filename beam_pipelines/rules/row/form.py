"""Text of a form: what rules about it have in common."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.column import convert_column
from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.rules.judgement import Judgement, finding
from beam_pipelines.rules.row.texts import without_unreadable

__all__ = ["Form"]


class Form:
    """Text is of a form; null and the empty text are not evaluated, and what is no UTF-8 is of no form.

    Args:
        name: Of the field, as the definition names it.
        schema: Of the rows.
        message: What is expected.
        good: Says which of the texts, which are readable, are of the form; null where it says nothing, for null and for bad ones.
        also: Says of which types a field may be beside text; their values are read as text.

    Raises:
        RuleMisfit: There is no such field, or it is not text.
    """

    def __init__(
        self,
        name: str,
        schema: pa.Schema,
        message: str,
        good: Callable[[pa.Array], pa.Array],
        also: Callable[[pa.DataType], bool] = is_text,
    ) -> None:
        self._field = Field.find(name, schema)
        kind = self._field.type
        if not (is_text(kind) or pa.types.is_null(kind) or also(kind)):
            raise RuleMisfit(f"expected a field of text, got {name!r} of type {kind}", "field")
        self._message, self._good = message, good

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        values = self._field.read(batch)
        texts = values if is_text(values.type) else convert_column(values, pa.string())[0]
        looked_at = pc.fill_null(pc.greater(pc.binary_length(texts), 0), False)
        unevaluated = len(texts) - (pc.sum(looked_at).as_py() or 0)
        readable, _ = without_unreadable(texts)
        bad = pc.and_not(looked_at, pc.fill_null(self._good(readable), False))
        return Judgement(tuple(finding(bad, self._field.name, values, self._message)), unevaluated)
