"""Columns that are chosen and computed, side by side: the select list of a query."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.compact import pick, take
from beam_pipelines.columnar.expression import Engine, Mistake, Node, Scope, Term, plan_error, statement_place
from beam_pipelines.errors import Code, PlanError
from beam_pipelines.transforms.sql.query import Chosen, Star

__all__ = ["Projection"]


@dataclass(frozen=True)
class _Column:
    """One column that comes out: a field as it is, or what an expression gives."""

    name: str
    field: pa.Field | None
    term: Term | None
    place: int | None


class Projection:
    """A select list over one schema, compiled.

    Args:
        chosen: What is selected.
        schema: Visible schema of the input.
        text: Of the query, for messages.
        path: Where the query stands in the definition.
        now: The run's start.
        required: A row on which an expression fails is a dead letter; else it goes on with null in all that is computed.

    Raises:
        PlanError: A field is missing, an expression cannot be used, or two columns have one name.
    """

    def __init__(
        self, chosen: Sequence[Star | Chosen], schema: pa.Schema, text: str, path: str, now: datetime, *, required: bool = True
    ) -> None:
        self._text, self._path, self._required = text, path, required
        self._engine = Engine()
        self._scope = Scope(schema, now, self._engine)
        try:
            self._columns = self._compiled(chosen)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._engine.close()

    @property
    def schema(self) -> pa.Schema:
        """Of what comes out."""
        fields = [
            one.field.with_name(one.name) if one.field is not None else pa.field(one.name, one.term.type if one.term else pa.null())
            for one in self._columns
        ]
        return pa.schema(fields, metadata=self._scope.schema.metadata)

    @property
    def reads(self) -> frozenset[str]:
        """The columns that are read."""
        names = self._scope.schema.names
        read = {one.field.name for one in self._columns if one.field is not None}
        return frozenset(read | {names[index] for one in self._columns if one.term for index in one.term.used})

    def apply(self, batch: pa.RecordBatch, passed: Collection[int] = ()) -> tuple[pa.RecordBatch, dict[int, str]]:
        """Return these columns of the rows of a batch, with their origin, and why rows failed.

        Args:
            batch: With hidden columns; other columns than `reads` may be missing.
            passed: Rows that failed before, and have null in all that is computed.

        Returns:
            The rows, without those that failed when they are required, else with null in all that is computed; and the reasons, by the
            position in `batch`.
        """
        evaluated = iter(self._scope.evaluate([one.term for one in self._columns if one.term], batch))
        arrays: list[pa.Array] = []
        failed: dict[int, str] = {}
        for one in self._columns:
            if one.field is not None:
                arrays.append(batch.column(batch.schema.get_field_index(one.field.name)))
                continue
            found = next(evaluated)
            arrays.append(found.array)
            for row, why in zip(found.bad, found.reasons, strict=True):
                failed.setdefault(row, f"{one.name!r}: {why}")
        nulled = set() if self._required else {*failed, *passed}
        if nulled:
            mask = np.zeros(batch.num_rows, dtype=bool)
            mask[list(nulled)] = True
            kept = pa.array(np.arange(batch.num_rows), mask=mask)
            arrays = [array if one.field is not None else pick(array, kept) for one, array in zip(self._columns, arrays, strict=True)]
        out = origin.carry(batch, pa.RecordBatch.from_arrays(arrays, schema=self.schema.remove_metadata()))
        if failed and self._required:
            out = take(out, np.delete(np.arange(batch.num_rows), list(failed)))
        return out, failed

    def _compiled(self, chosen: Sequence[Star | Chosen]) -> list[_Column]:
        columns: list[_Column] = []
        for one in chosen:
            columns += self._all(one) if isinstance(one, Star) else [self._one(one.name, one.node)]
        if not columns:
            raise self._refusal(
                "no column is left to choose", next(one.place for one in chosen if isinstance(one, Star)), "leave one out of EXCLUDE"
            )
        known = self._scope.schema.names
        taken: set[str] = set()
        for column in columns:
            # Whatever its case, unless the step gets both: to expressions and most databases `Id` and `id` are one.
            name = column.name if column.name in known else column.name.lower()
            if name in taken:
                raise self._refusal(f"two columns would be called {column.name!r}", column.place, f"write AS, or * EXCLUDE ({column.name})")
            taken |= {column.name, name}
        return columns

    def _all(self, star: Star) -> list[_Column]:
        schema = self._scope.schema
        known = {name.lower() for name in schema.names}
        for name in (*star.excluded, *star.replaced):
            if name not in known:
                raise self._refusal(f"no field {name!r}", star.place, f"fields: {', '.join(schema.names[:20])}", "column-missing")
        kept = [name for name in schema.names if name.lower() not in star.excluded]
        return [
            self._one(name, star.replaced[name.lower()])
            if name.lower() in star.replaced
            else _Column(name, schema.field(name), None, star.place)
            for name in kept
        ]

    def _one(self, name: str | None, node: Node) -> _Column:
        schema = self._scope.schema
        if node.get("class") == "COLUMN_REF":
            first, *rest = node["column_names"]
            same = [known for known in schema.names if known == first] or [
                known for known in schema.names if known.lower() == first.lower()
            ]
            if len(same) == 1 and not rest:
                return _Column(name or same[0], schema.field(same[0]), None, statement_place(node))
            name = name or str(node["column_names"][-1])
        assert name is not None
        return _Column(name, None, self._scope.select(node, self._text, self._path), statement_place(node))

    def _refusal(self, message: str, place: int | None, hint: str, code: Code = "expression-invalid") -> PlanError:
        return plan_error(Mistake(message, place, hint, code), self._text, self._path)
