"""Expressions that were compiled before, in this process or in an earlier one.

The same step is opened for every bundle, and compiling takes 10 ms; a new process needs 200 ms more, for the engine itself. What Arrow's
kernels carry out (`kernel`) needs no engine once it is known that they give what it gives: such trees are written down with the plan, so
that neither the run's workers nor the next run load the engine for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from beam_pipelines.columnar.expression.scope import Term

__all__ = ["SchemaKey", "known", "recall", "schema_key", "tree_of", "write_down"]

SchemaKey = str
MAX_TERMS = 512
_TERMS: dict[tuple[SchemaKey, str], Term] = {}
_TREES: dict[tuple[SchemaKey, str], str] = {}


def schema_key(schema: pa.Schema) -> SchemaKey:
    """Return what stands for a schema in the memo, and in what is written down of it."""
    return hashlib.sha256(schema.serialize().to_pybytes()).hexdigest()[:16]


def known(schema: SchemaKey, text: str, compile_it: Callable[[], Term]) -> Term:
    """Return the term of an expression over a schema, compiled if need be."""
    term = _TERMS.get((schema, text))
    if term is None:
        term = compile_it()
        # Another thread may do the same at the same time: then it was compiled twice, and either will do.
        if len(_TERMS) >= MAX_TERMS:
            _TERMS.clear()
        _TERMS[schema, text] = term
    return term


def tree_of(schema: SchemaKey, text: str) -> dict[str, Any] | None:
    """Return the parsed tree of an expression that was written down as one for kernels; None: it was not."""
    written = _TREES.get((schema, text))
    return json.loads(written) if written is not None else None


def write_down(schemas: Iterable[pa.Schema]) -> str:
    """Return, for `recall`, the expressions over these schemas that kernels carry out.

    They hold for one release of this package and of the engine.
    """
    wanted = {schema_key(schema) for schema in schemas}
    trees = {full: term.tree for full, term in list(_TERMS.items()) if full[0] in wanted and term.kernel is not None and term.tree}
    trees.update({full: tree for full, tree in list(_TREES.items()) if full[0] in wanted})
    return json.dumps([[*full, tree, _seal(*full, tree)] for full, tree in sorted(trees.items())])


def recall(text: str) -> None:
    """Know again what was written down; what somebody has changed since is not known, and compiled anew."""
    if len(_TREES) >= MAX_TERMS:
        _TREES.clear()
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, list) and len(entry) == 4 and all(isinstance(part, str) for part in entry) and _seal(*entry[:3]) == entry[3]:
            _TREES[entry[0], entry[1]] = entry[2]


def _seal(schema: str, expression: str, tree: str) -> str:
    """Return what binds a tree to its expression: a slip of the hand is seen by it, a forger is not its matter."""
    return hashlib.sha256("\0".join([schema, expression, tree]).encode()).hexdigest()[:16]
