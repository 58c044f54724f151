"""The condition of a query, as a filter."""

from __future__ import annotations

from beam_pipelines.columnar.expression import Mistake, Node, Scope, Term, plan_error, statement_place
from beam_pipelines.spec.step.filter import FilterStep
from beam_pipelines.transforms.filter import Filter

__all__ = ["Where"]


class Where(Filter):
    """A filter whose condition is a part of a query.

    Args:
        node: The condition.
        text: Of the query.
        model: What the filter is called, and whether it is required.
        path: Where the step stands in the definition.
        word: What the query calls it.
    """

    def __init__(self, node: Node, text: str, model: FilterStep, path: str, word: str = "WHERE") -> None:
        super().__init__(model, path, "query")
        self._node, self._text, self._word = node, text, word

    def compile(self, scope: Scope) -> Term:
        term = scope.select(self._node, self._text, self._path)
        if str(term.type) not in ("bool", "null"):
            message = f"expected a condition in {self._word}, which is true or false, got an expression of type {term.type}"
            raise plan_error(Mistake(message, statement_place(self._node)), self._text, self._path)
        return term
