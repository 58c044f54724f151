"""The expressions of one step: compiled against its schema, evaluated together on each batch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.expression.bound import ROW_BYTES, ROW_FACTOR, limit
from beam_pipelines.columnar.expression.engine import Engine, reason
from beam_pipelines.columnar.expression.order import Types, check_constants, operands, order_nan
from beam_pipelines.columnar.expression.tree import Mistake, Node, operation, parse, place, resolve, walk
from beam_pipelines.columnar.expression.vocabulary import TOTAL
from beam_pipelines.errors import FatalError, PlanError, Problem

__all__ = ["Evaluated", "Expression", "Scope", "Term"]

MAX_REASONS = 100  # rows of a batch whose reason is found by running the expression on them alone, at about 1 ms each
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
        node: Its tree as it runs.
        type: Of its values.
        sql: `node` as text.
        used: Indices of the schema's fields that it reads, ascending.
        guard: Condition, as SQL, that is true for rows on which its values could get too large; None when no row can do that.
        total: It never fails, and a null needs no second look.
    """

    node: Node
    type: pa.DataType
    sql: str
    used: tuple[int, ...]
    guard: str | None
    total: bool


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
            return self._compile(parse(self._engine, text))
        except Mistake as mistake:
            raise _plan_error(mistake, text, path, self._unquoted(text)) from mistake

    def _unquoted(self, text: str) -> str:
        """Return what to do where a field's name is a word of SQL: `at < now()` does not parse."""
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", " ", text)
        words = [name for name in self.schema.names if name.isidentifier() and re.search(rf"\b{name}\b", bare)]
        words = [name for name in words if self._engine.parse(f"SELECT ({name})")["error"]]
        return f"quote fields that are words of SQL: {', '.join(chr(34) + name + chr(34) for name in words)}" if words else ""

    def build(self, node: Node, path: str = "") -> Term:
        """Resolve and type a tree made by a program (`column`, `literal`, `comparison`, ...).

        Raises:
            PlanError: As `compile`, without a position.
        """
        try:
            return self._compile(node)
        except Mistake as mistake:
            raise _plan_error(mistake, "", path) from mistake

    def join(self, kind: str, terms: Sequence[Term]) -> Term:
        """Return `AND`, `OR` or `NOT` of compiled conditions."""
        nodes = [term.node for term in terms]
        node = (
            operation("OPERATOR_NOT", nodes[0])
            if kind == "NOT"
            else (nodes[0] if len(nodes) == 1 else {"class": "CONJUNCTION", "type": f"CONJUNCTION_{kind}", "children": nodes})
        )
        guards = [f"({term.guard})" for term in terms if term.guard]
        used = tuple(sorted({index for term in terms for index in term.used}))
        return Term(node, pa.bool_(), self._engine.render([node])[0], used, " OR ".join(guards) or None, all(term.total for term in terms))

    def _compile(self, node: Node) -> Term:
        node = resolve(node, self.schema, self.now)
        used = tuple(sorted({int(part["column_names"][0][1:]) for part in walk(node) if part.get("class") == "COLUMN_REF"}))
        guard = limit(node, self.schema)  # first of all: the engine computes what is constant, however large, when it is asked for a type
        empty = self._table(pa.RecordBatch.from_pylist([], self.schema), used)
        types = self._bind(node, empty)
        check_constants(self._engine, node, types)
        node = order_nan(node, types)
        sql, *guards = self._engine.render([node, guard] if guard else [node])
        kind = self._engine.query([sql], empty)[0].type
        return Term(node, kind, sql, used, guards[0] if guards else None, all(_is_total(part) for part in walk(node)))

    def _bind(self, node: Node, empty: pa.Table) -> Types:
        """Let the engine type the tree, and return the types of what it compares, by the operand's id.

        Raises:
            Mistake: It refuses the tree; the place is that of the smallest part that it refuses.
        """
        import duckdb

        compared = [operand for part in walk(node) for operand in operands(part) if operand.get("class") != "CONSTANT"]
        texts = self._engine.render([node, *compared])
        try:
            names = self._engine.types(texts, empty)
            return {id(operand): name for operand, name in zip(compared, names[1:], strict=True)}
        except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
            culprit, found = self._culprit(node, empty) or (node, error)
            raise Mistake(self._words(found), place(culprit)) from error

    def _culprit(self, node: Node, empty: pa.Table) -> tuple[Node, Exception] | None:
        import duckdb

        for part in walk(node):
            try:
                self._engine.types(self._engine.render([part]), empty)
            except duckdb.Error as error:
                return part, error
        return None

    def _words(self, error: Exception) -> str:
        text = str(error).partition("\n")[0].partition(" You might need to add explicit type casts")[0]
        for index in sorted(range(len(self.schema)), reverse=True):
            text = text.replace(f'"c{index}"', repr(self.schema.field(index).name)).replace(
                f"__batch.c{index}", self.schema.field(index).name
            )
        head, colon, rest = text.partition(": ")
        text = rest if colon and head.endswith("Error") else text
        return text[:1].lower() + text[1:]

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
        free = [number for number, term in enumerate(terms) if not term.guard]
        done: dict[int, Evaluated] = dict(zip(free, self._run([terms[number] for number in free], batch), strict=True))
        for number, term in enumerate(terms):
            if term.guard:
                done[number] = self._run_guarded(term, batch)
        return [done[number] for number in range(len(terms))]

    def _run(self, terms: Sequence[Term], batch: pa.RecordBatch) -> list[Evaluated]:
        """Evaluate in one statement; halve the batch when the results do not fit into the engine's memory."""
        import duckdb

        if not terms:
            return []
        table = self._table(batch, sorted({index for term in terms for index in term.used}))
        try:
            arrays = self._engine.query([f"TRY({term.sql})" for term in terms], table)
        except duckdb.OutOfMemoryException as error:
            rows = batch.num_rows
            if rows > 1:
                first, second = self._run(terms, batch.slice(0, rows // 2)), self._run(terms, batch.slice(rows // 2))
                return [_joined(*pair, offset=rows // 2) for pair in zip(first, second, strict=True)]
            if len(terms) > 1:
                return [self._run([term], batch)[0] for term in terms]
            return [Evaluated(pa.nulls(1, terms[0].type), [0], [reason(error)])]
        return [self._judged(term, array, table) for term, array in zip(terms, arrays, strict=True)]

    def _judged(self, term: Term, array: pa.Array, table: pa.Table) -> Evaluated:
        """Tell nulls that are values from nulls that `TRY` put where the expression failed."""
        if array.null_count == 0 or term.total:
            return Evaluated(array, [], [])
        nulls = pc.indices_nonzero(array.is_null()) if array.null_count < len(array) else None
        # `TRY(x IS NULL)` is null exactly where x fails.
        failed = self._engine.query([f"TRY(({term.sql}) IS NULL)"], table if nulls is None else table.take(nulls))[0]
        if failed.null_count == 0:
            return Evaluated(array, [], [])
        at = pc.indices_nonzero(failed.is_null())
        bad: list[int] = (at if nulls is None else nulls.take(at)).to_pylist()
        return Evaluated(array, bad, self._reasons(term, table, bad))

    def _reasons(self, term: Term, table: pa.Table, bad: Sequence[int]) -> list[str]:
        reasons = [self._reason(term, table.slice(row, 1)) for row in bad[:MAX_REASONS]]
        if len(bad) > MAX_REASONS:
            rest = f"it failed, as on {MAX_REASONS} rows before this one in the batch; on the first: {reasons[0]}"
            reasons += [rest] * (len(bad) - MAX_REASONS)
        return reasons

    def _reason(self, term: Term, row: pa.Table) -> str:
        import duckdb

        try:
            self._engine.query([term.sql], row)
        except duckdb.Error as error:
            return reason(error)
        return "it failed"

    def _run_guarded(self, term: Term, batch: pa.RecordBatch) -> Evaluated:
        """Evaluate a term on the rows whose values cannot get too large; the others fail."""
        table = self._table(batch, term.used)
        large = self._engine.query([f"coalesce({term.guard}, false)"], table)[0]
        if not pc.any(large).as_py():
            return self._run([term], batch)[0]
        small = pc.indices_nonzero(pc.invert(large))
        found = self._run([term], batch.take(small))[0] if len(small) else Evaluated(pa.array([], term.type), [], [])
        back = pc.replace_with_mask(pa.nulls(batch.num_rows, pa.int64()), pc.invert(large), pa.array(range(len(small)), pa.int64()))
        why = f"its values could take more than {ROW_BYTES // 1024} KiB and {ROW_FACTOR} times the row's own fields"
        reasons = dict.fromkeys(pc.indices_nonzero(large).to_pylist(), why)
        reasons.update(zip(small.take(pa.array(found.bad, pa.int64())).to_pylist(), found.reasons, strict=True))
        bad = sorted(reasons)
        return Evaluated(found.array.take(back), bad, [reasons[row] for row in bad])


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


def _is_total(node: Mapping[str, object]) -> bool:
    if node["class"] == "FUNCTION":
        return str(node["function_name"]).lower() in TOTAL
    return node["class"] in ("COLUMN_REF", "CONSTANT")


def _joined(first: Evaluated, second: Evaluated, offset: int) -> Evaluated:
    bad = [*first.bad, *(row + offset for row in second.bad)]
    return Evaluated(pa.concat_arrays([first.array, second.array]), bad, [*first.reasons, *second.reasons])


def _plan_error(mistake: Mistake, text: str, path: str, hint: str = "") -> PlanError:
    message = mistake.message
    if text:
        characters = len(text.encode()[: mistake.place].decode(errors="ignore")) if mistake.place is not None else None
        shown = text if len(text) <= 80 else text[:77] + "..."
        message += f", in {shown!r}" + (f" at character {characters + 1}" if characters is not None else "")
    problem = Problem(message, path, hint=mistake.hint or hint)
    return PlanError("an expression cannot be used", problems=[problem], code=mistake.code)
