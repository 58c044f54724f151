"""Unions of models that a key tells apart: `type`, of prices `model`.

Of a union pydantic builds the validators of every member, and of what these hold: thirty milliseconds of each start for the steps, sources
and destinations that a definition does not have. Here a member is imported and built when a mapping of its type is met.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from beam_pipelines.spec.model import Model, nearest, untyped

__all__ = ["Home", "Met", "OneOf"]

Home = str  # where a member is found: `package.module:Class`


class OneOf:
    """Which models a mapping may become, by what its key says: `Annotated[A | B, OneOf(A, B)]`.

    A misspelt name counts as the nearest one, so that the mistakes of the mapping's other keys are found as well.

    Args:
        members: The models, whose key has the name as its default; or the homes of models, by name.
        key: The key that tells them apart.
    """

    def __init__(self, *members: type[Model], homes: Mapping[str, Home] | None = None, key: str = "type") -> None:
        self._known: dict[str, type[Model]] = {model.model_fields[key].default: model for model in members}
        self._homes = dict(homes or {})
        self._key = key

    @property
    def names(self) -> list[str]:
        return list(self._homes or self._known)  # as they are listed, whatever was imported first

    def member(self, name: str) -> type[Model]:
        """Return the model of a name.

        Raises:
            KeyError: There is none.
        """
        if name not in self._known:
            module, _, model = self._homes[name].partition(":")
            self._known[name] = getattr(importlib.import_module(module), model)
        return self._known[name]

    def members(self) -> list[type[Model]]:
        return [self.member(name) for name in self.names]

    def _validate(self, value: Any) -> Model:
        if isinstance(value, Model):
            name = getattr(value, self._key, None)
            if name in self.names and isinstance(value, self.member(str(name))):
                return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError("mapping_type", "expected a mapping")
        name = value.get(self._key)
        meant = name if name in self.names else nearest(name, self.names) if isinstance(name, str) else None
        if meant is None:
            raise untyped(value, self._key, self.names)
        return self.member(meant).model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler  # which would build every member
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        del schema, handler
        return {"oneOf": self.members()}  # for `schema.json_schema`, which describes each model once


class Met:
    """A model that is imported and built when a mapping for it is met: `Annotated[Case, Met("beam_pipelines.spec.case:Case")]`.

    Args:
        home: Where the model is found.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def _model(self) -> type[Model]:
        module, _, model = self._home.partition(":")
        found: type[Model] = getattr(importlib.import_module(module), model)
        return found

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(lambda value: self._model().model_validate(value))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        del schema, handler
        return {"oneOf": [self._model()]}
