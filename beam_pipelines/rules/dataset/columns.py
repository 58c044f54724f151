"""Which columns there are: known before the first row."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from beam_pipelines.columnar.kinds import is_list, plain_type
from beam_pipelines.columnar.origin import PREFIX
from beam_pipelines.columnar.types.names import parse_name
from beam_pipelines.errors import PlanError
from beam_pipelines.rules.dataset.rule import Verdict
from beam_pipelines.rules.field import RuleMisfit
from beam_pipelines.spec.rule.columns import SchemaRule

__all__ = ["Columns"]


class Columns:
    """The columns have the names and types that were expected; hidden columns are none."""

    def __init__(self, model: SchemaRule, schema: pa.Schema) -> None:
        wanted = {name: _parsed(name, text) for name, text in model.columns.items()}
        there = {field.name: field.type for field in schema if not field.name.startswith(PREFIX)}
        self._columns = {name: str(kind) for name, kind in there.items()}
        self._wrong = [f"no {name!r}" for name in wanted if name not in there]
        self._wrong += [
            f"{name!r} of type {there[name]}" for name, kind in wanted.items() if name in there and _bare(there[name]) != _bare(kind)
        ]
        if model.extra == "refuse":
            self._wrong += [f"{name!r} besides" for name in there if name not in wanted]
        if model.order and [name for name in there if name in wanted] != [name for name in wanted if name in there]:
            self._wrong.append("another order")
        self._message = "expected the columns " + ", ".join(f"{name!r} {text}" for name, text in model.columns.items())

    def nothing(self) -> None:
        return None

    def measure(self, batch: pa.RecordBatch) -> None:
        del batch  # all batches have the schema that is known

    def merge(self, one: None, other: None) -> None:
        del one, other

    def judge(self, state: None, now: datetime) -> Verdict:
        del state, now
        message = f"{self._message}, got {', '.join(self._wrong)}" if self._wrong else self._message
        return Verdict(not self._wrong, self._columns, message)


def _parsed(name: str, text: str) -> pa.DataType:
    try:
        return parse_name(text)
    except PlanError as unknown:
        raise RuleMisfit(unknown.message, f"columns.{name}") from unknown


def _bare(kind: pa.DataType) -> pa.DataType:
    """Return a type without the ways to store it: large, dictionary, view, nullable, the unit of a time."""
    kind = plain_type(kind)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    for same, bare in ((pa.types.is_date, pa.date32()), (pa.types.is_time, pa.time64("us")), (pa.types.is_duration, pa.duration("us"))):
        if same(kind):
            return bare
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if is_list(kind):
        return pa.list_(_bare(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _bare(field.type)) for field in kind])
    return pa.map_(_bare(kind.key_type), _bare(kind.item_type)) if pa.types.is_map(kind) else kind
