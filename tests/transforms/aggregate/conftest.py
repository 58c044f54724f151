"""Aggregates carried out as the engine does, in pieces, in any order, in shards; and what must come out, in plain Python."""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import itertools
import math
import random
from collections.abc import Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.columnar import hashing, origin
from beam_pipelines.spec.step.aggregate import AggregateStep
from beam_pipelines.transforms.aggregate import Aggregate
from beam_pipelines.transforms.step import Applied, check_law

NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.timezone.utc)


def aggregate(**definition: Any) -> Aggregate:
    model = AggregateStep.model_validate({"id": "totals", "type": "aggregate", "groupBy": [], **definition})
    return Aggregate(model, "pipeline.transformations[0]")


def opened(batch: pa.RecordBatch, **definition: Any) -> tuple[Aggregate, pa.Schema]:
    step = aggregate(**definition)
    planned = step.plan(batch.schema, None)
    step.open(batch.schema, planned, NOW)
    return step, planned


def rows_of(results: list[Applied], planned: pa.Schema) -> list[dict[str, Any]]:
    """The rows of results, which must be of the planned types."""
    rows = []
    for applied in results:
        for batch in applied.batches:
            shown = origin.visible(batch)
            assert origin.visible_schema(shown.schema) == planned
            shown.validate(full=True)
            rows += shown.to_pylist()
    return rows


def at_once(batch: pa.RecordBatch, **definition: Any) -> list[dict[str, Any]]:
    step, planned = opened(batch, **definition)
    applied = step.apply(origin.with_load(batch, "target"))
    check_law("totals", batch.num_rows, applied)
    return rows_of([applied], planned)


def in_pieces(batch: pa.RecordBatch, seed: int, shards: int, **definition: Any) -> list[dict[str, Any]]:
    """The same, of batches cut anywhere, whose states are combined in any order, some of them more than once, in shards."""
    chance = random.Random(seed)
    step, planned = opened(batch, **definition)
    cuts = sorted(chance.choices(range(batch.num_rows + 1), k=4))
    edges = [0, *cuts, batch.num_rows]
    states = [step.states(batch.slice(begin, end - begin), begin) for begin, end in itertools.pairwise(edges)]
    chance.shuffle(states)
    while len(states) > 1 and chance.random() < 0.7:
        states = [step.combine(states[:2]), *states[2:]]
        chance.shuffle(states)
    results = []
    keys = states[0].schema.names[: len(step.group_by)]
    owners = [np.asarray(hashing.shard(state, keys, shards)) if keys else np.zeros(state.num_rows) for state in states]
    for number in range(shards if keys else 1):
        mine = [state.take(pa.array(np.flatnonzero(owner == number))) for state, owner in zip(states, owners, strict=True)]
        parts = [part for part in mine if part.num_rows] or mine[:1]
        results.append(step.results(parts, "target"))
    assert batch.num_rows + sum(one.made for one in results) == sum(
        one.rows_out + one.filtered + one.absorbed + one.rows_dead for one in results
    )
    return rows_of(results, planned)


def canonical(value: Any) -> Any:
    """A value as it is told from others: every NaN is one, -0.0 is 0.0."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, (list, tuple)):
        return tuple(map(canonical, value))
    return tuple((key, canonical(one)) for key, one in value.items()) if isinstance(value, dict) else value


def expected(function: str, rows: Sequence[Any], orders: Sequence[Any] | None = None, share: float = 0.5) -> Any:
    """Return the result of a function over the values of one group, in the order of the source."""
    if function == "count":
        return len(rows)
    kept = [value for value in rows if value is not None]
    if function == "collect":
        return kept
    if function == "count_distinct":
        return len(set(map(canonical, kept)))
    if not kept:
        return None
    if function in ("first", "last"):
        return _picked(function, rows, orders)
    if function in ("min", "max"):
        real = [value for value in kept if canonical(value) != "NaN"]
        return (min if function == "min" else max)(real) if real else kept[0]
    if function == "sum":
        with decimal.localcontext() as context:
            context.prec = 90
            return math.fsum(kept) if isinstance(kept[0], float) else functools.reduce(lambda a, b: a + b, kept)
    return _measured(function, kept, share)


def _measured(function: str, kept: Sequence[Any], share: float) -> float | None:
    numbers = [float(value) for value in kept]
    if any(math.isnan(value) for value in numbers) and function in ("avg", "stddev"):
        return math.nan if function == "avg" or len(kept) > 1 else None
    if function == "avg":
        return float(sum(map(Fraction, kept)) / len(kept))
    if function == "stddev":
        if len(kept) < 2:
            return None
        exact = [Fraction(value) for value in numbers]
        mean = sum(exact) / len(exact)
        return math.sqrt(sum((value - mean) ** 2 for value in exact) / (len(exact) - 1))
    ordered = sorted(numbers, key=lambda value: (math.isnan(value), value))
    place = (len(ordered) - 1) * share
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low if low == high or place == math.floor(place) else low + (high - low) * (place - math.floor(place))


def _picked(function: str, rows: Sequence[Any], orders: Sequence[Any] | None) -> Any:
    """By `orders`, what is null or no number last; rows that are equal by it in the order of the source."""
    places = [place for place, value in enumerate(rows) if value is not None]
    if orders is not None:
        clear = [place for place in places if orders[place] is not None]
        numbers = [place for place in clear if canonical(orders[place]) != "NaN"]
        places = numbers or clear or places
        if numbers:
            best = (min if function == "first" else max)(orders[place] for place in numbers)
            places = [place for place in numbers if orders[place] == best]
    return rows[places[0] if function == "first" else places[-1]]


def same(got: Any, wanted: Any, scale: float) -> bool:
    """Whether a result is the one expected: of doubles within 1e-12 of the greatest value that went in."""
    if isinstance(wanted, float) and isinstance(got, float):
        if math.isnan(wanted) or math.isnan(got):
            return math.isnan(wanted) and math.isnan(got)
        return wanted == got or abs(wanted - got) <= 1e-12 * max(abs(wanted), scale)
    return bool(canonical(got) == canonical(wanted)) and type(got) is type(wanted)


@pytest.fixture(scope="session")
def workshop() -> SimpleNamespace:
    """Everything above."""
    return SimpleNamespace(
        aggregate=aggregate, opened=opened, at_once=at_once, in_pieces=in_pieces, canonical=canonical, expected=expected, same=same
    )
