"""What the engine says of a tree before the run: its types, and what can never work, with the smallest part that is to blame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.expression.engine import Engine
from beam_pipelines.columnar.expression.order import Types, operands
from beam_pipelines.columnar.expression.tree import Mistake, Node, place, walk

__all__ = ["bind", "check_constant_parts", "try_out"]


def bind(engine: Engine, node: Node, empty: pa.Table, names: Sequence[str]) -> Types:
    """Type a tree, and return the types of what it compares, by the operand's id.

    Args:
        engine: Of the scope.
        node: Resolved tree.
        empty: The engine's table without rows.
        names: The schema's field names, for messages.

    Raises:
        Mistake: The engine refuses the tree.
    """
    compared = [operand for part in walk(node) for operand in operands(part) if operand.get("class") != "CONSTANT"]
    texts = engine.render([node, *compared])
    types = _asked(engine, list(walk(node)), names, lambda texts: engine.types(texts, empty), texts)
    return {id(operand): name for operand, name in zip(compared, types[1:], strict=True)}


def check_constant_parts(engine: Engine, parts: Sequence[Node], names: Sequence[str]) -> None:
    """Compute the parts that read no field: one that fails would fail on every row (`INTERVAL 'x day'`).

    Raises:
        Mistake: With the part's place.
    """
    constant = [part for part in parts if not any(below.get("class") == "COLUMN_REF" for below in walk(part))]
    if constant:
        one = pa.table({"c": [0]})
        _asked(engine, constant, names, lambda texts: engine.query(texts, one), engine.render(constant))


def try_out(engine: Engine, node: Node, sql: str, slots: pa.Schema, names: Sequence[str]) -> pa.DataType:
    """Evaluate an expression on no row and on one row of ones, and return its type.

    What fails without a row, or is not caught by `TRY` on one, is not about values: a regular expression that is none, an unknown zone.

    Args:
        engine: Of the scope.
        node: Tree, as it runs.
        sql: Its text.
        slots: Schema of the engine's table.
        names: The schema's field names, for messages.

    Raises:
        Mistake: With the place of the part that cannot be evaluated.
    """
    row = pa.table({field.name: _specimen(field.type) for field in slots})

    def ask(texts: Sequence[str]) -> list[pa.Array]:
        engine.query(texts, row.slice(0, 0))
        return engine.query([f"TRY({text})" for text in texts], row)

    return _asked(engine, list(walk(node)), names, ask, [sql])[0].type


def _specimen(kind: pa.DataType) -> pa.Array:
    for value in (1, "a", b"a"):
        try:
            return pa.array([value]).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    return pa.array([None], kind)


def _asked(
    engine: Engine, parts: Sequence[Node], names: Sequence[str], ask: Callable[[Sequence[str]], list[Any]], texts: Sequence[str]
) -> list[Any]:
    """Ask the engine; when it refuses, ask it for each part, smallest first, to find which one it refuses."""
    import duckdb

    refusals = (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError)
    try:
        return ask(texts)
    except refusals as error:
        for part in parts:
            try:
                ask(engine.render([part]))
            except refusals as found:
                raise Mistake(_words(found, names), place(part)) from found
        raise Mistake(_words(error, names)) from error


def _words(error: Exception, names: Sequence[str]) -> str:
    """Return the engine's message with the fields' own names; there are no rows yet, so that it can hold no payload."""
    text = str(error).partition("\n")[0].partition(" You might need to add explicit type casts")[0].rstrip(".! ")
    for index in reversed(range(len(names))):
        text = text.replace(f'"c{index}"', repr(names[index])).replace(f"__batch.c{index}", names[index])
    head, colon, rest = text.partition(": ")
    text = rest if colon and head.endswith("Error") else text
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
