"""Rows of two sources under the same columns, batch by batch."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pyarrow as pa

from beam_pipelines.columnar import cast, origin
from beam_pipelines.errors import Code, FatalError
from beam_pipelines.spec.step.union import UnionStep
from beam_pipelines.transforms.binding import Binding
from beam_pipelines.transforms.step import Applied, DeadRows
from beam_pipelines.transforms.wider import wider

__all__ = ["Union"]


class Union:
    """A union step.

    What comes out has the columns of the rows that reach the step, then those that only the other source has; columns are the same by their
    names. A column is wide enough for both sides. A row whose values do not fit it is a dead letter.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "union"
    needs_sample = False
    required = True

    def __init__(self, model: UnionStep, path: str) -> None:
        self.id = model.id
        self._path, self._fills = path, model.missing == "null"
        self._other: pa.Schema | None = None
        self._schema: pa.Schema | None = None
        self._names: dict[str, str] = {}  # of the other source's columns, by what they are called here

    def against(self, other: pa.Schema) -> None:
        """Say what the rows of the other source are; before `plan` and `open`."""
        self._other = other

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:  # noqa: ARG002 (nothing is sampled)
        other = self._against()
        named = self._matched(schema)
        fields, binding = [], Binding()
        for field in schema:
            if field.name not in named:
                fields.append(field.with_nullable(True))
                continue
            again = other.field(named[field.name])
            kind = wider(field.type, again.type)
            if kind is None:
                message = f"{field.name!r} is {field.type} here and {again.type} in the other source, for which there is no common type"
                binding.refuse(message, f"{self._path}.source", "convert one of them in a map step")
                continue
            fields.append(pa.field(field.name, kind, field.nullable or again.nullable, field.metadata))
        fields += [other.field(name).with_nullable(True) for name in named if name not in schema.names]
        lacking = {"the other source": [name for name in schema.names if name not in named]}
        lacking["this one"] = [name for name in named if name not in schema.names]
        for side, names in lacking.items():
            if names and not self._fills:
                columns = "column" if len(names) == 1 else "columns"
                message = f"expected the same columns in both sources; {side} lacks the {columns} {', '.join(map(repr, names))}"
                hint = 'rename or drop them in a map step, or put null there with missing: "null"'
                binding.refuse(message, f"{self._path}.missing", hint, "column-missing")
        binding.check("a union cannot be carried out")
        return pa.schema(fields)

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (it has no clock)
        self._names, self._schema = self._matched(schema_in), schema_out

    def close(self) -> None:
        self._schema = None

    def apply(self, batch: pa.RecordBatch) -> Applied:
        """Give rows that reach the step the columns of both."""
        return self._conformed(batch, {name: name for name in origin.names(batch.schema)})

    def added(self, batch: pa.RecordBatch) -> Applied:
        """Give rows of the other source the columns of both; all of them are made."""
        return replace(self._conformed(batch, self._names), made=batch.num_rows)

    def _conformed(self, batch: pa.RecordBatch, names: dict[str, str]) -> Applied:
        schema = self._opened()
        columns = [batch.column(names[field.name]) if field.name in names else pa.nulls(batch.num_rows) for field in schema]
        rows = origin.carry(batch, pa.RecordBatch.from_arrays(columns, names=schema.names))
        found = cast.conform(rows, schema)
        codes: list[Code] = ["cast-failed"] * len(found.bad)
        died = (DeadRows(batch, found.bad, codes, found.reasons),) if found.bad else ()
        return Applied((found.batch,) if found.batch.num_rows else (), dead=died)

    def _matched(self, schema: pa.Schema) -> dict[str, str]:
        """Columns of the other source by the names that they come out under: those of ours, whatever their case, else their own."""
        binding = Binding()
        ours: dict[str, str] = {}
        for name in self._against().names:
            same = [known for known in schema.names if known == name] or [known for known in schema.names if known.lower() == name.lower()]
            target = same[0] if same else name
            if len(same) > 1 or target in ours:
                several = same if len(same) > 1 else [ours[target], name]
                message = f"the column {name!r} of the other source cannot be told apart: there are {', '.join(map(repr, several))}"
                binding.refuse(message, f"{self._path}.source", "rename one in a map step", "expression-invalid")
            ours.setdefault(target, name)
        binding.check("a union cannot be carried out")
        return ours

    def _against(self) -> pa.Schema:
        if self._other is None:
            raise FatalError(f"step {self.id!r} does not know its other source", code="internal")
        return self._other

    def _opened(self) -> pa.Schema:
        if self._schema is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        return self._schema
