"""Text that matches a pattern: RE2, whose time grows with the text alone, whatever the pattern and the text."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.kinds import is_text
from beam_pipelines.rules.field import Field, RuleMisfit
from beam_pipelines.rules.judgement import Judgement, finding
from beam_pipelines.spec.rule.regex import Regex

__all__ = ["Pattern"]


class Pattern:
    """The pattern is found in the text, or is all of it; null and the empty text are not evaluated. Whole numbers are their digits."""

    def __init__(self, model: Regex, schema: pa.Schema) -> None:
        self._field = Field.find(model.field, schema)
        kind = self._field.type
        if not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
            raise RuleMisfit(f"expected a field of text, got {model.field!r} of type {kind}", "field")
        self._pattern = model.pattern if model.match == "search" else rf"\A(?:{model.pattern})\z"
        self._message = f"expected text {'that matches' if model.match == 'search' else 'that is as a whole a match of'} {model.pattern}"
        _try(model.pattern)
        _try(self._pattern)

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        values = self._field.read(batch)
        texts = values if is_text(values.type) else values.cast(pa.string())
        looked_at = pc.greater(pc.binary_length(texts), 0)
        unevaluated = len(texts) - (pc.sum(looked_at).as_py() or 0)
        violated = pc.invert(pc.match_substring_regex(texts, self._pattern))
        if unevaluated:
            violated = pc.and_(looked_at, violated)
        return Judgement(tuple(finding(violated, self._field.name, values, self._message)), unevaluated)


def _try(pattern: str) -> None:
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as bad:
        reason = str(bad).rpartition("Invalid regular expression: ")[2]
        hint = "patterns are RE2's, which has neither look-around nor back-references"
        raise RuleMisfit(f"expected a pattern that can be run, got {pattern!r}: {reason}", "pattern", hint) from bad
