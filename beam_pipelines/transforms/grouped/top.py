"""Keep the first rows of each group, or of all."""

from __future__ import annotations

from beam_pipelines.spec.order import terms
from beam_pipelines.spec.step.limit import LimitStep
from beam_pipelines.spec.step.top import TopStep
from beam_pipelines.transforms.grouped.blocks import Positions
from beam_pipelines.transforms.grouped.step import Grouped

__all__ = ["Limit", "Top"]


class Top(Grouped):
    """A top step: the first `n` rows of each group by an order, among equals by that of the source.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "top"

    def __init__(self, model: TopStep, path: str) -> None:
        super().__init__(model, path, model.by, terms(model.order_by))
        self._n = model.n

    def _kept(self, order: Positions, ranks: Positions) -> Positions:
        return order[ranks < self._n]


class Limit(Grouped):
    """A limit step: the first `n` rows in the order of the source.

    Args:
        model: From the definition.
        path: Where the step stands in it.
    """

    type = "limit"

    def __init__(self, model: LimitStep, path: str) -> None:
        super().__init__(model, path, (), ())
        self._n = model.n

    def _kept(self, order: Positions, ranks: Positions) -> Positions:
        return order[ranks < self._n]
