from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from beam_pipelines import examples
from beam_pipelines.errors import SpecError
from beam_pipelines.spec import json_schema, parse
from beam_pipelines.spec.model import Model
from beam_pipelines.spec.schema import schema_text

CHECK = jsonschema.Draft202012Validator(json_schema())
GOOD: dict[str, Any] = {
    "$schema": "./definition.schema.json",
    "name": "X",
    "pipeline": {
        "source": {"type": "database", "connection": "crm", "table": "t", "cursor": {"column": "u", "overlap": "5m"}},
        "transformations": [
            {"id": "m", "type": "map", "mappings": {"a": {"source": "x", "converter": {"name": "round", "digits": 2}}}},
            {"id": "f", "type": "filter", "condition": {"all": ["a > 1", {"field": "x", "operator": ">=", "value": 1}]}},
            {"id": "g", "type": "aggregate", "groupBy": [], "aggregations": {"x": ["sum", {"function": "max", "as": "top"}], "y": "count"}},
            {
                "id": "j",
                "type": "join",
                "on": ["id"],
                "source": {"type": "file", "path": "x", "transformations": [{"id": "i", "type": "function"}]},
            },
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
        "destination": {"type": "database", "connection": "w", "table": "t", "schema": "freeze"},
    },
    "maxCellBytes": "64MiB",
    "errorBudget": {"max": "1%", "onExceed": "warn"},
}
BAD: list[dict[str, Any]] = [
    {"colour": "red"},
    {"pipeline": {"source": {"connection": "crm", "table": "t"}, "destination": GOOD["pipeline"]["destination"]}},
    {"pipeline": {**GOOD["pipeline"], "transformations": [{"id": "a", "type": "melt"}]}},
    {"pipeline": {**GOOD["pipeline"], "transformations": [{"type": "function"}]}},
    {"schedule": {"cron": "0 0 * * *", "expression": "0 0 * * *"}},
    {"schedule": {}},
    {"pricing": {"rate": 1}},
    {"maxCellBytes": "lots"},
    {"errorBudget": {"max": "many"}},
]


def test_the_shipped_schema_is_the_models() -> None:
    assert json.loads(schema_text()) == json_schema(), "the models changed: beam_pipelines.spec.schema.write()"


def test_the_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("name", examples.names())
def test_every_example_keeps_to_the_schema(name: str) -> None:
    with examples.path(name).open(encoding="utf-8") as stream:
        CHECK.validate(YAML(typ="safe", pure=True).load(stream))


def test_what_the_models_take_the_schema_takes() -> None:
    parse(GOOD)
    CHECK.validate(GOOD)


@pytest.mark.parametrize("part", BAD)
def test_what_the_schema_refuses_the_models_refuse(part: dict[str, Any]) -> None:
    data = {**GOOD, **part}
    assert not CHECK.is_valid(data)
    with pytest.raises(SpecError):
        parse(data)


def test_every_key_has_a_description() -> None:
    def models(base: type[Model]) -> list[type[Model]]:
        return [base, *(inner for child in base.__subclasses__() for inner in models(child))]

    bare = [f"{model.__name__}.{name}" for model in models(Model) for name, field in model.model_fields.items() if not field.description]
    assert bare == []
