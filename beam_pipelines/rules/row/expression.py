"""Conditions of a row, as SQL or as a structure."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.condition import compile_condition
from beam_pipelines.columnar.convert import decoded
from beam_pipelines.columnar.expression import Scope
from beam_pipelines.columnar.kinds import is_odd_decimal, is_view
from beam_pipelines.columnar.origin import visible_schema
from beam_pipelines.errors import PlanError
from beam_pipelines.rules.field import Field, RuleMisfit, found
from beam_pipelines.rules.judgement import Finding, Judgement, positions
from beam_pipelines.spec.rule.expression import ExpressionRule

__all__ = ["ConditionRule"]

_KEY = "condition"
_SHOWN_CHARACTERS = 200  # of a condition in messages


class ConditionRule:
    """The condition is true; null is not evaluated, and a row on which it fails is one on which the rule failed.

    It holds a DuckDB connection until it is closed.

    Args:
        model: From the definition.
        schema: Of the rows.
        now: What `now()` gives: the run's start, aware.
    """

    def __init__(self, model: ExpressionRule, schema: pa.Schema, now: datetime) -> None:
        kinds = {field.name: decoded(pa.nulls(0, field.type)).type for field in visible_schema(schema) if _needs_decoding(field.type)}
        self._decoded = list(kinds)
        self._scope = Scope(pa.schema([field.with_type(kinds.get(field.name, field.type)) for field in visible_schema(schema)]), now)
        try:
            self._term = compile_condition(model.condition, self._scope, _KEY)
        except PlanError as error:
            self._scope.close()
            raise _misfit(error) from error
        except pa.ArrowNotImplementedError as error:
            self._scope.close()
            raise RuleMisfit(f"expected fields that SQL can look at, got a {error}", _KEY, code="type-unsupported") from error
        # A name with a dot is a column's own name here, which `find` tries first.
        self._fields = [Field.find(self._scope.schema.names[at], schema) for at in self._term.used]
        self._name = ", ".join(field.name for field in self._fields)
        self._message = f"expected {_worded(model.condition)}" if isinstance(model.condition, str) else "expected the condition to be true"

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        evaluated = self._scope.evaluate([self._term], self._plain(batch))[0]
        failed = dict(zip(evaluated.bad, evaluated.reasons, strict=True))
        unevaluated = evaluated.array.null_count - len(failed)
        if not pa.types.is_boolean(evaluated.array.type):  # the condition is NULL
            return Judgement((), unevaluated, failed)
        rows = positions(pc.invert(evaluated.array))
        if not len(rows):
            return Judgement((), unevaluated, failed)
        values = found(self._fields, batch, rows) if self._fields else None
        return Judgement((Finding(rows, self._name, values, self._message),), unevaluated, failed)

    def _plain(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for name in self._decoded:
            at = batch.schema.get_field_index(name)
            values = decoded(batch.column(at))
            batch = batch.set_column(at, batch.schema.field(at).with_type(values.type), values)
        return batch

    def close(self) -> None:
        self._scope.close()


def _needs_decoding(kind: pa.DataType) -> bool:
    """Whether Arrow or DuckDB cannot compute with values as they are stored."""
    return is_view(kind) or is_odd_decimal(kind)


def _misfit(error: PlanError) -> RuleMisfit:
    """Return the first mistake of a condition as one of its rule."""
    if not error.problems:
        return RuleMisfit(error.message, _KEY, code=error.code)
    first = error.problems[0]
    return RuleMisfit(first.message, first.path or _KEY, first.hint or "", error.code)


def _worded(condition: str) -> str:
    text = " ".join(condition.split())
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
