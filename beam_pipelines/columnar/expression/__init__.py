"""SQL expressions over Arrow batches: parsed, allow-listed and typed before a run, evaluated by a locked-down DuckDB in it."""

from __future__ import annotations

from beam_pipelines.columnar.expression.engine import Engine
from beam_pipelines.columnar.expression.memo import recall, write_down
from beam_pipelines.columnar.expression.readable import UNREADABLE, unreadable
from beam_pipelines.columnar.expression.scope import Evaluated, Expression, Scope, Term, plan_error
from beam_pipelines.columnar.expression.tree import (
    Mistake,
    Node,
    cast,
    children,
    column,
    comparison,
    conditional,
    function,
    junction,
    literal,
    negation,
    operation,
    parse_statement,
    statement_place,
)

__all__ = [
    "UNREADABLE",
    "Engine",
    "Evaluated",
    "Expression",
    "Mistake",
    "Node",
    "Scope",
    "Term",
    "cast",
    "children",
    "column",
    "comparison",
    "conditional",
    "function",
    "junction",
    "literal",
    "negation",
    "operation",
    "parse_statement",
    "plan_error",
    "recall",
    "statement_place",
    "unreadable",
    "write_down",
]
