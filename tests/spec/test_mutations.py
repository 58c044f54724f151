"""Definitions with one value exchanged for anything: an answer in a person's words, never a crash, never a leak of the machinery."""

from __future__ import annotations

import copy
import re
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from beam_pipelines import examples
from beam_pipelines.errors import Problem, SpecError
from beam_pipelines.spec import json_schema, parse

Path = tuple[str | int, ...]

RICH: dict[str, Any] = {
    "name": "Rich",
    "pipeline": {
        "source": {"type": "database", "connection": "crm", "table": "t", "cursor": {"column": "id", "kind": "sequence", "overlap": 10}},
        "transformations": [
            {"id": "m", "type": "map", "mappings": {"a.b": {"source": "x", "converter": "round(2)"}, "c": {"expression": "1"}}},
            {"id": "f", "type": "filter", "condition": {"any": ["a", {"not": {"field": "x", "operator": "in", "value": [1, "2"]}}]}},
            {"id": "g", "type": "aggregate", "groupBy": [], "aggregations": {"x": ["sum", {"function": "max", "as": "top"}]}},
            {"id": "j", "type": "join", "on": {"a": "b"}, "source": {"type": "file", "path": "x.parquet", "transformations": []}},
            {
                "id": "e",
                "type": "enrich",
                "connection": "api",
                "request": {
                    "method": "POST",
                    "path": "/x",
                    "body": {"ids": "{id}"},
                    "batch": {"size": 5, "items": "a.b", "match": {"id": "k"}},
                },
                "output": {"n": "bigint"},
                "fields": {"o.n": "n"},
                "default": {"n": 0},
                "cache": {"size": 5, "ttl": "1h"},
                "rateLimit": "5/s",
            },
            {"id": "l", "type": "enrich", "on": ["id"], "fields": ["n"], "source": {"type": "file", "path": "x.parquet"}},
        ],
        "destination": {
            "type": "data-warehouse",
            "connection": "w",
            "table": "t",
            "schema": "freeze",
            "mode": "replace",
            "allowEmpty": True,
        },
    },
    "schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
    "pricing": {"model": "per-gb", "rate": 0.1, "additionalCosts": {"m": 1}, "tiers": [{"min": 0, "max": 5, "rate": 0.1}]},
    "errorBudget": {"max": "1%", "onExceed": "warn"},
    "maxCellBytes": "1MiB",
}
SLIDING: dict[str, Any] = {
    "name": "Sliding",
    "stream": {
        "source": {"type": "kafka", "topic": "t", "startFrom": "2026-01-31T00:00:00Z", "outOfOrderness": "5s"},
        "processors": [
            {
                "id": "w",
                "type": "window",
                "window": {"type": "sliding", "size": "10m", "slide": "1m"},
                "aggregations": {"n": "count"},
                "emit": "every 10s",
                "late": {"type": "kafka", "topic": "late"},
            }
        ],
        "sinks": [{"type": "api", "endpoint": "https://example.com/in", "apiKey": "${env:KEY}"}],
    },
}


def example(name: str) -> dict[str, Any]:
    with examples.path(name).open(encoding="utf-8") as stream:
        data: dict[str, Any] = YAML(typ="safe", pure=True).load(stream)
    return data


DEFINITIONS = [RICH, SLIDING, *(example(name) for name in examples.names())]
SCHEMA = jsonschema.Draft202012Validator(json_schema())
WORDS = st.sampled_from(
    ["", "x", "5m", "-1", "${env:X}", "type", "postgresql://bob:hunter2@h/db", "crm:handle", "* * * * *", "all", "1%", "Infinity"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(WORDS | st.sampled_from(["id", "model", "not", "min", "path"]), inner, max_size=3)
    ),
    max_leaves=4,
)


def places(value: Any, path: Path = ()) -> list[Path]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


def exchanged(data: dict[str, Any], path: Path, value: Any, how: str) -> Any:
    if not path:
        return value if isinstance(value, dict) else {"name": value}
    data = copy.deepcopy(data)
    inner: Any = data
    for key in path[:-1]:
        inner = inner[key]
    if how == "drop":
        del inner[path[-1]]
    elif how == "misspell" and isinstance(path[-1], str):
        inner[path[-1] + "x"] = inner.pop(path[-1])
    else:
        inner[path[-1]] = value
    return data


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from(DEFINITIONS), st.sampled_from(["exchange", "exchange", "drop", "misspell"]))
def test_a_mutated_definition_is_read_or_refused_in_plain_words(data: st.DataObject, definition: dict[str, Any], how: str) -> None:
    mutated = exchanged(definition, data.draw(st.sampled_from(places(definition))), data.draw(ANYTHING), how)
    problems: tuple[Problem, ...] = ()
    try:
        definition_read = parse(mutated).definition
    except SpecError as error:
        problems = error.problems
    if not problems:
        # An editor must not redden what is right.
        SCHEMA.validate(mutated)
        assert parse(definition_read.model_dump(mode="json", by_alias=True, exclude_unset=True)).definition == definition_read
    for problem in problems:
        assert re.match(r"expected |unknown key |key", problem.message), problem
        assert "hunter2" not in str(problem)
        assert not re.search(r"pydantic|type=|tag\(|Input should|Value error", str(problem)), problem
