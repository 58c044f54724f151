"""UUIDs, as text or as a type."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.kinds import is_uuid
from beam_pipelines.rules.field import Field
from beam_pipelines.rules.judgement import Judgement
from beam_pipelines.rules.row.form import Form
from beam_pipelines.spec.rule.form import Uuid

__all__ = ["UuidForm"]


class UuidForm(Form):
    """A UUID in 32 hexadecimal digits with four hyphens, in any case (RFC 9562, 4); of a version, if the rule names one."""

    def __init__(self, model: Uuid, schema: pa.Schema) -> None:
        version, variant = ("[0-9a-f]", "[0-9a-f]") if model.version is None else (str(model.version), "[89ab]")
        self._pattern = rf"^(?i:[0-9a-f]{{8}}-[0-9a-f]{{4}}-{version}[0-9a-f]{{3}}-{variant}[0-9a-f]{{3}}-[0-9a-f]{{12}})$"
        message = "expected a UUID" + ("" if model.version is None else f" of version {model.version}")
        super().__init__(model.field, schema, message, self._uuids, also=is_uuid)
        self._all_are = model.version is None and is_uuid(Field.find(model.field, schema).type)

    def _uuids(self, texts: pa.Array) -> pa.Array:
        return pc.match_substring_regex(texts, self._pattern)

    def judge(self, batch: pa.RecordBatch) -> Judgement:
        if self._all_are:
            return Judgement((), self._field.read(batch).null_count)
        return super().judge(batch)
