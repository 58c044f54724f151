"""The JSON Schema of a definition, by which an editor completes and checks one."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from beam_pipelines.spec.definition import Definition
from beam_pipelines.spec.model import Model

__all__ = ["FILE", "json_schema", "schema_text", "write"]

FILE = "definition.schema.json"  # beside this module, in the wheel


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12), made from the models."""
    described: dict[str, dict[str, Any]] = {}
    waiting: list[type[Model]] = [Definition]
    while waiting:
        model = waiting.pop()
        if model.__name__ not in described:
            schema = model.model_json_schema(by_alias=True)
            described |= schema.pop("$defs", {})
            described[model.__name__] = schema
            waiting += _linked(schema) + [member for part in described.values() for member in _linked(part)]
    for part in described.values():
        _ask_for_type(part)
    root = described.pop(Definition.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:beam-pipelines:definition:1",
        "$defs": dict(sorted(described.items())),
        **root,
        "title": "beam_pipelines service definition",
    }


def _linked(part: Any) -> list[type[Model]]:
    """Put references in the place of the models that unions name, and return these models."""
    found: list[type[Model]] = []
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        found += _linked(value)
    members = part.get("oneOf", []) if isinstance(part, dict) else []
    models = [member for member in members if isinstance(member, type)]
    if models:
        part["oneOf"] = [{"$ref": f"#/$defs/{model.__name__}"} for model in models]
    return found + models


def _ask_for_type(part: dict[str, Any]) -> None:
    """Make `type` (prices: `model`) a required key: the models default it for Python code, a file must say it."""
    for key in ("type", "model"):
        value = part.get("properties", {}).get(key)
        if value is not None and "const" in value and part["title"] != "Schedule":
            value.pop("default", None)
            part["required"] = [key, *part.get("required", [])]


def schema_text() -> str:
    """Return the shipped schema's text, as `beam-pipelines schema` prints it."""
    return resources.files("beam_pipelines.spec").joinpath(FILE).read_text(encoding="utf-8")


def write() -> None:
    """Write the shipped schema anew, after a change of the models: `python -c "from beam_pipelines.spec import schema; schema.write()"`."""
    path = resources.files("beam_pipelines.spec").joinpath(FILE)
    with open(str(path), "w", encoding="utf-8") as stream:
        stream.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
