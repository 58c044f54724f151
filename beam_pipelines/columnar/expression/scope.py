"""The expressions of one step: compiled against its schema, evaluated together on each batch."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.expression.binding import bind, check_constant_parts, try_out
from beam_pipelines.columnar.expression.bound import ROW_BYTES, ROW_FACTOR, limit
from beam_pipelines.columnar.expression.engine import Engine, one_chunk
from beam_pipelines.columnar.expression.kernel import Kernel, joined, lower
from beam_pipelines.columnar.expression.memo import known, schema_key, tree_of
from beam_pipelines.columnar.expression.order import check_constants, order_nan
from beam_pipelines.columnar.expression.probe import Probe, probes, reasons, suspects
from beam_pipelines.columnar.expression.readable import UNREADABLE, unreadable
from beam_pipelines.columnar.expression.tree import Mistake, Node, parse, part_of_statement, resolve, walk
from beam_pipelines.columnar.expression.vocabulary import CLOCK
from beam_pipelines.errors import FatalError, PlanError, Problem

__all__ = ["Evaluated", "Expression", "Scope", "Term", "plan_error"]

_TOO_LARGE = f"its values could take more than {ROW_BYTES // 1024} KiB and {ROW_FACTOR} times the row's own fields"
_NO_MEMORY = "its values need more memory than an expression may use"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Evaluated:
    """The values of one expression for a batch.

    Args:
        array: One value for each row; null where it is null and where it failed.
        bad: Positions of the rows on which it failed, ascending.
        reasons: Why, one for each of `bad`; never a value of the row.
    """

    array: pa.Array
    bad: list[int]
    reasons: list[str]


@dataclass(frozen=True)
class Term:
    """One compiled expression of a scope.

    Args:
        type: Of its values.
        sql: As it runs.
        used: Indices of the schema's fields that it reads, ascending.
        guard: Condition, as SQL, that is true for rows on which its values could get too large; None when no row can do that.
        probes: The parts that can fail; none: a null needs no second look.
        kernel: The same in Arrow compute, where that is known to give the same; asked first.
        tree: Of a term with a kernel, as it was parsed, as JSON: what is written down of it.
        rest: How to get all of a term that was recalled from what was written down, which is its kernel; None: this is all.
    """

    type: pa.DataType
    sql: str
    used: tuple[int, ...]
    guard: str | None
    probes: tuple[Probe, ...]
    kernel: Kernel | None = None
    tree: str = ""
    rest: Callable[[Scope], Term] | None = None


class Scope:
    """Compiles and evaluates expressions over batches of one schema. One instance, one DuckDB connection, one thread.

    Args:
        schema: Visible schema of the batches; batches may have more columns.
        now: What `now()` and its kin give: the run's start, aware. Needed to evaluate, not to compile.
        engine: To share with other scopes of the instance; it is theirs to close. Default: one of its own.
    """

    def __init__(self, schema: pa.Schema, now: datetime | None = None, engine: Engine | None = None) -> None:
        self.schema = schema
        self.now = (now or _EPOCH).astimezone(timezone.utc)
        self._schema_key = schema_key(schema)
        self._owned = engine is None
        self._engine = engine or Engine()

    def __enter__(self) -> Scope:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._owned:
            self._engine.close()

    def compile(self, text: str, path: str = "") -> Term:
        """Parse, allow-list, resolve and type one SQL expression.

        Args:
            text: As the user wrote it.
            path: Where it stands in the definition.

        Raises:
            PlanError: Code `expression-invalid`, `column-missing` or `type-unsupported`, with the position in the text.
        """
        try:
            return self._known(text, lambda: parse(self._engine, text), text)
        except Mistake as mistake:
            raise plan_error(mistake, text, path, self._unquoted(text)) from mistake

    def _known(self, key: str, parsed: Callable[[], Node], text: str) -> Term:
        """Return the term that the memo has for a key, else compile its tree."""
        if any(name in key.lower() for name in CLOCK):
            return self._compile(parsed(), text)
        return known(self._schema_key, key, lambda: self._recalled(key, parsed, text) or self._compile(parsed(), text))

    def _recalled(self, key: str, parsed: Callable[[], Node], text: str) -> Term | None:
        """Return the kernel that was written down, without asking the engine; the rest of the term is compiled if it is needed."""
        tree = tree_of(self._schema_key, key)
        if tree is None:
            return None
        node = resolve(tree, self.schema, self.now)
        used = _used(node)
        lowered = lower(node, self._table(self._empty, used).schema)
        if lowered is None:
            return None

        def rest(scope: Scope) -> Term:
            return known(scope._schema_key, f"{key}\0", lambda: scope._compile(parsed(), text))

        return Term(lowered[1], "", used, None, (), lowered[0], rest=rest)

    def _unquoted(self, text: str) -> str:
        """Return what to do where a field's name is a word of SQL: `at < now()` does not parse."""
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", " ", text)
        words = [name for name in self.schema.names if name.isidentifier() and re.search(rf"\b{name}\b", bare)]
        words = [name for name in words if self._engine.parse(f"SELECT ({name})")["error"]]
        return f"quote fields that are words of SQL: {', '.join(chr(34) + name + chr(34) for name in words)}" if words else ""

    def select(self, node: Node, text: str, path: str = "") -> Term:
        """Check, resolve and type one expression of a statement that was parsed whole.

        Args:
            node: Of the statement's tree; it stays as it is.
            text: Of the statement.
            path: Where the statement stands in the definition.

        Raises:
            PlanError: As `compile`, with the position in the statement.
        """
        try:
            # The text is a part of the key, for messages about rows quote it.
            return self._known(f"{text}\0{json.dumps(node, sort_keys=True)}", lambda: part_of_statement(node), text)
        except Mistake as mistake:
            raise plan_error(mistake, text, path, self._unquoted(text)) from mistake

    def build(self, node: Node, path: str = "") -> Term:
        """Resolve and type a tree made by a program (`column`, `literal`, `comparison`, ...).

        Raises:
            PlanError: As `compile`, without a position.
        """
        try:
            return self._known(json.dumps(node, sort_keys=True), lambda: json.loads(json.dumps(node)), "")
        except Mistake as mistake:
            raise plan_error(mistake, "", path) from mistake

    def join(self, kind: str, terms: Sequence[Term]) -> Term:
        """Return `AND`, `OR` or `NOT` of compiled conditions."""
        kernel = joined(kind, [term.kernel if str(term.type) == "bool" else None for term in terms])
        used = tuple(sorted({index for term in terms for index in term.used}))
        if kernel is not None and any(term.rest for term in terms):
            return Term(pa.bool_(), "", used, None, (), kernel, rest=lambda scope: scope.join(kind, [scope._whole(term) for term in terms]))
        terms = [self._whole(term) for term in terms]
        guards = [f"({term.guard})" for term in terms if term.guard]
        return Term(
            pa.bool_(),
            f"NOT ({terms[0].sql})" if kind == "NOT" else f" {kind} ".join(f"({term.sql})" for term in terms),
            used,
            " OR ".join(guards) or None,
            tuple(probe for term in terms for probe in term.probes),
            kernel,
        )

    def _whole(self, term: Term) -> Term:
        return term.rest(self) if term.rest else term

    def _compile(self, node: Node, text: str) -> Term:
        tree = json.dumps(node)
        node = resolve(node, self.schema, self.now)
        used = _used(node)
        guard = limit(node, self.schema)  # first of all: the engine computes what is constant, however large, when it is asked for a type
        empty = self._table(self._empty, used)
        types = bind(self._engine, node, empty, self.schema.names)
        check_constants(self._engine, node, types)
        parts = list(suspects(node))
        check_constant_parts(self._engine, parts, self.schema.names)
        asked = probes(parts, self._engine.render(parts), text)
        lowered = lower(node, empty.schema)
        node = order_nan(node, types)  # changes it
        sql, *guards = self._engine.render([node, guard] if guard else [node])
        kind = try_out(self._engine, node, sql, empty.schema, self.schema.names)
        kernel = lowered[0] if lowered and lowered[1] == kind and not guards else None
        return Term(kind, sql, used, guards[0] if guards else None, asked, kernel, tree if kernel else "")

    @property
    def _empty(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([], self.schema)

    def _table(self, batch: pa.RecordBatch, used: Sequence[int]) -> pa.Table:
        """Return the used fields as the engine's slots; values are not copied unless the engine cannot read their type."""
        names = [self.schema.field(index).name for index in used]
        arrays = []
        for index, name in zip(used, names, strict=True):
            field = self.schema.field(index)
            array = batch.column(
                index if len(batch.schema) > index and batch.schema.names[index] == name else batch.schema.get_field_index(name)
            )
            if array.type != field.type:
                raise FatalError(f"expected {field.type} in {name!r} as planned, got {array.type}", code="schema-changed")
            arrays.append(self._plain(array, field))
        slots = [f"c{index}" for index in used]
        if not arrays:
            return pa.table({"c": pa.nulls(batch.num_rows, pa.bool_())})
        return pa.Table.from_arrays(arrays, names=slots)

    def _plain(self, array: pa.Array, field: pa.Field) -> pa.Array:
        """Return an array that the engine reads with one type for every batch."""
        if pa.types.is_dictionary(field.type):
            return array.dictionary_decode()  # the engine would make an enum of it, another one for each batch
        if pa.types.is_float16(field.type):
            return array.cast(pa.float32())
        if pa.types.is_decimal256(field.type):
            message = f"the field {field.name!r} is a {field.type}, which expressions cannot read; cast it in the source's query"
            raise Mistake(message, code="type-unsupported")
        return array

    def evaluate(self, terms: Sequence[Term], batch: pa.RecordBatch) -> list[Evaluated]:
        """Return the values of each term for the rows of a batch; a row on which a term fails costs that row only.

        Raises:
            FatalError: The batch does not have the planned schema.
        """
        if batch.num_rows == 0:
            return [Evaluated(pa.array([], term.type), [], []) for term in terms]
        table = self._table(batch, sorted({index for term in terms for index in term.used}))
        broken = {
            name: rows for name, column in zip(table.column_names, table.columns, strict=True) if (rows := unreadable(column.chunk(0)))
        }
        if broken:
            return [self._without(term, table, _of_term(term, broken)) for term in terms]
        return self._evaluate(terms, table)

    def _evaluate(self, terms: Sequence[Term], table: pa.Table) -> list[Evaluated]:
        """Evaluate by kernels what they can, what needs no guard in one statement, and the rest each by itself."""
        done = self._by_kernel(terms, table)
        terms = [term if number in done else self._whole(term) for number, term in enumerate(terms)]
        free = [number for number, term in enumerate(terms) if not term.guard and number not in done]
        done.update(zip(free, self._run([terms[number] for number in free], table), strict=True))
        for number, term in enumerate(terms):
            if number not in done:
                large = pc.indices_nonzero(self._engine.query([f"coalesce({term.guard}, false)"], table)[0]).to_pylist()
                done[number] = self._without(term, table, dict.fromkeys(large, _TOO_LARGE)) if large else self._run([term], table)[0]
        return [done[number] for number in range(len(terms))]

    def _by_kernel(self, terms: Sequence[Term], table: pa.Table) -> dict[int, Evaluated]:
        """Return what Arrow's own kernels can say, by the term's number; nothing of it can have failed."""
        kernels = [(number, term.kernel) for number, term in enumerate(terms) if term.kernel is not None]
        slots = {name: one_chunk(column) for name, column in zip(table.column_names, table.columns, strict=True)} if kernels else {}
        answers = [(number, kernel(slots)) for number, kernel in kernels]
        return {number: Evaluated(array, [], []) for number, array in answers if array is not None}

    def _without(self, term: Term, table: pa.Table, excluded: dict[int, str]) -> Evaluated:
        """Evaluate a term on all rows but some, which fail for the reasons given."""
        kept = np.delete(np.arange(table.num_rows), list(excluded))
        found = self._evaluate([term], table.take(pa.array(kept)))[0] if len(kept) else Evaluated(pa.array([], term.type), [], [])
        back = np.zeros(table.num_rows, dtype=np.int64)
        back[kept] = np.arange(len(kept))
        mask = np.zeros(table.num_rows, dtype=bool)
        mask[list(excluded)] = True
        why = {**excluded, **dict(zip(kept[found.bad].tolist(), found.reasons, strict=True))}
        bad = sorted(why)
        return Evaluated(found.array.take(pa.array(back, mask=mask)), bad, [why[row] for row in bad])

    def _run(self, terms: Sequence[Term], table: pa.Table) -> list[Evaluated]:
        """Evaluate in one statement; by halves when the results do not fit into the engine's memory, or a row cannot be read."""
        if not terms:
            return []
        import duckdb

        try:
            arrays = self._engine.query([f"TRY({term.sql})" for term in terms], table)
            return [self._judged(term, array, table) for term, array in zip(terms, arrays, strict=True)]
        except (duckdb.OutOfMemoryException, duckdb.DataError, duckdb.ProgrammingError, duckdb.NotSupportedError) as error:
            rows = table.num_rows
            if rows > 1:
                first, second = self._run(terms, table.slice(0, rows // 2)), self._run(terms, table.slice(rows // 2))
                return [_joined(*pair, offset=rows // 2) for pair in zip(first, second, strict=True)]
            if len(terms) > 1:
                return [self._run([term], table)[0] for term in terms]
            memory = isinstance(error, duckdb.OutOfMemoryException)
            return [Evaluated(pa.nulls(1, terms[0].type), [0], [_NO_MEMORY if memory else "the row cannot be read by an expression"])]

    def _judged(self, term: Term, array: pa.Array, table: pa.Table) -> Evaluated:
        """Tell nulls that are values from nulls that `TRY` put where the expression failed."""
        if array.null_count == 0 or not term.probes:
            return Evaluated(array, [], [])
        nulls = pc.indices_nonzero(array.is_null())
        some = table if len(nulls) == len(array) else table.take(nulls)
        # `TRY(x IS NULL)` is null exactly where x fails.
        failed = self._engine.query([f"TRY(({term.sql}) IS NULL)"], some)[0]
        if failed.null_count == 0:
            return Evaluated(array, [], [])
        at = pc.indices_nonzero(failed.is_null())
        return Evaluated(array, nulls.take(at).to_pylist(), reasons(self._engine, term.probes, some.take(at)))


class Expression:
    """One SQL expression over batches of one schema.

    Args:
        sql: As the user wrote it.
        schema: Visible schema of the batches.
        path: Where it stands in the definition.
        now: What `now()` gives.

    Raises:
        PlanError: As `Scope.compile`.

    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"age": [17, 18, None]})
    >>> Expression("age >= 18", batch.schema).evaluate(batch).array.to_pylist()
    [False, True, None]
    """

    def __init__(self, sql: str, schema: pa.Schema, path: str = "", now: datetime | None = None) -> None:
        self._scope = Scope(schema, now)
        try:
            self._term = self._scope.compile(sql, path)
        except PlanError:
            self._scope.close()
            raise

    @property
    def type(self) -> pa.DataType:
        return self._term.type

    def evaluate(self, batch: pa.RecordBatch) -> Evaluated:
        return self._scope.evaluate([self._term], batch)[0]

    def close(self) -> None:
        self._scope.close()


def _used(node: Node) -> tuple[int, ...]:
    """Return the indices of the schema's fields that a resolved tree reads, ascending."""
    return tuple(sorted({int(part["column_names"][0][1:]) for part in walk(node) if part.get("class") == "COLUMN_REF"}))


def _of_term(term: Term, broken: dict[str, list[int]]) -> dict[int, str]:
    return {row: UNREADABLE for index in term.used for row in broken.get(f"c{index}", ())}


def _joined(first: Evaluated, second: Evaluated, offset: int) -> Evaluated:
    bad = [*first.bad, *(row + offset for row in second.bad)]
    return Evaluated(pa.concat_arrays([first.array, second.array]), bad, [*first.reasons, *second.reasons])


def plan_error(mistake: Mistake, text: str, path: str, hint: str = "") -> PlanError:
    """Return the error of a mistake in a text that stands at a path of the definition."""
    message = mistake.message
    if text:
        before = text.encode()[: mistake.place].decode(errors="ignore") if mistake.place is not None else None
        shown, line = text, ""
        if before is not None and "\n" in text.strip():
            number, before = before.count("\n"), before.rpartition("\n")[2]
            shown, line = text.split("\n")[number], f" of line {number + 1}"
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        message += f", in {shown!r}" + (f" at character {len(before) + 1}{line}" if before is not None else "")
    problem = Problem(message, path, hint=mistake.hint or hint)
    return PlanError("an expression cannot be used", problems=[problem], code=mistake.code)
