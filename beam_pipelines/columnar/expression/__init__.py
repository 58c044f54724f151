"""SQL expressions over Arrow batches: parsed, allow-listed and typed before a run, evaluated by a locked-down DuckDB in it."""

from __future__ import annotations

from beam_pipelines.columnar.expression.engine import Engine
from beam_pipelines.columnar.expression.memo import recall, write_down
from beam_pipelines.columnar.expression.readable import UNREADABLE, unreadable
from beam_pipelines.columnar.expression.scope import Evaluated, Expression, Scope, Term
from beam_pipelines.columnar.expression.tree import (
    Node,
    cast,
    column,
    comparison,
    conditional,
    function,
    junction,
    literal,
    negation,
    operation,
)

__all__ = [
    "UNREADABLE",
    "Engine",
    "Evaluated",
    "Expression",
    "Node",
    "Scope",
    "Term",
    "cast",
    "column",
    "comparison",
    "conditional",
    "function",
    "junction",
    "literal",
    "negation",
    "operation",
    "recall",
    "unreadable",
    "write_down",
]
