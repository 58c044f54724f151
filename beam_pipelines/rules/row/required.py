"""Fields that must have a value."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.rules.field import Field
from beam_pipelines.rules.judgement import Finding, Judgement, finding
from beam_pipelines.spec.rule.required import RequiredFields

__all__ = ["Required"]


class Required:
    """Every field has a value: null is none, nor is, as the rule says, empty or blank text, NaN and a sentinel; 0 and false are values.

    A row has a finding for each field that it lacks.
    """

    def __init__(self, model: RequiredFields, schema: pa.Schema) -> None:
        self._model = model
        self._fields = [Field.find(name, schema, f"fields[{at}]") for at, name in enumerate(model.fields)]

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        findings: list[Finding] = []
        for field in self._fields:
            values = field.read(batch)
            missing = self._missing(values)
            if missing is not None:
                findings += finding(missing, field.name, values, f"expected a value of {field.name}, which is missing")
        return Judgement(tuple(findings))

    def _missing(self, values: pa.Array) -> pa.Array | None:
        tests = [values.is_null()] if values.null_count else []
        if is_text(values.type):
            tests += self._without_text(values)
        elif pa.types.is_floating(values.type) and self._model.nan_is_missing:
            tests.append(pc.is_nan(values))
        missing = tests[0] if tests else None
        for test in tests[1:]:
            missing = pc.or_kleene(missing, test)
        return missing

    def _without_text(self, values: pa.Array) -> list[pa.Array]:
        tests = []
        if self._model.blank_is_missing:
            tests.append(_blank(values))
        elif self._model.empty_is_missing:
            tests.append(pc.equal(pc.binary_length(values), 0))
        if self._model.sentinels:
            tests.append(pc.is_in(values, value_set=pa.array(self._model.sentinels, values.type)))
        return tests


def _blank(values: pa.Array) -> pa.Array:
    try:
        return pc.equal(pc.binary_length(pc.utf8_trim_whitespace(values)), 0)
    except pa.ArrowInvalid:  # bytes that are no UTF-8 are no white space; looked for one by one, as they are rare
        texts = values.cast(pa.large_binary()).to_pylist()
        return pa.array([None if text is None else not text.decode("utf-8", "replace").strip() for text in texts], pa.bool_())
