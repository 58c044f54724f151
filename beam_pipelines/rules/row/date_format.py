"""Text that is a date or a time in a format."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.expression import Scope, column, function, literal
from beam_pipelines.errors import PlanError
from beam_pipelines.rules.field import RuleMisfit
from beam_pipelines.rules.row.form import Form
from beam_pipelines.spec.rule.moment import DateFormat

__all__ = ["DateInFormat"]

_SCHEMA = pa.schema([pa.field("value", pa.string())])
_LEAST_YEAR = 1000


class DateInFormat(Form):
    """Text that strptime reads by a format, as the converters `date` and `timestamp` do: DuckDB's, which knows English names.

    White space at the ends of the text is not part of a format, and %Y is a year of four digits. Whole numbers are their digits. It holds a
    DuckDB connection until it is closed.
    """

    def __init__(self, model: DateFormat, schema: pa.Schema) -> None:
        super().__init__(
            model.field, schema, f"expected a date or time in the format {model.format}", self._dates, also=pa.types.is_integer
        )
        self._long_years = "%Y" in model.format
        self._scope = Scope(_SCHEMA)
        try:
            self._term = self._scope.build(function("try_strptime", column("value"), literal(model.format)))
        except PlanError as error:
            self._scope.close()
            reason = error.problems[0].message if error.problems else error.message
            raise RuleMisfit(f"expected a format such as %d.%m.%Y, got {model.format!r}: {reason}", "format") from error

    def _dates(self, texts: pa.Array) -> pa.Array:
        texts = texts.cast(pa.string())
        batch = pa.RecordBatch.from_arrays([texts], schema=_SCHEMA)
        read = self._scope.evaluate([self._term], batch)[0].array
        good = pc.and_(read.is_valid(), pc.equal(pc.utf8_trim_whitespace(texts), texts))
        if not self._long_years:
            return good
        # strptime reads 24 as the year 24.
        return pc.and_(good, pc.greater_equal(pc.year(read), _LEAST_YEAR))

    def close(self) -> None:
        self._scope.close()
