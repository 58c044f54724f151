"""A JSON Schema, checked before the first value: what it says of one. Nothing is fetched: a schema refers to parts of itself alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from beam_pipelines.rules.field import RuleMisfit

__all__ = ["JsonValidator"]

_KEY = "schema"
_SHOWN_PARTS = 12  # of a place in a schema, from its end: one that refers to itself has places without end
_SHOWN_CHARACTERS = 60
_REFERENCES = ("$ref", "$dynamicRef")


class JsonValidator:
    """Says what is wrong with a value by a JSON Schema of draft 3 to 2020-12. `format` says nothing, as the specification has it.

    Args:
        document: The schema.

    Raises:
        RuleMisfit: It is no schema, of a draft that is not known, or refers to something that is not in it.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for
        from referencing import Registry

        default: Any = None if "$schema" in document else Draft202012Validator
        kind = validator_for(document, default=default)
        if kind is None:
            raise RuleMisfit("expected a JSON Schema of a known draft", f"{_KEY}.$schema", "https://json-schema.org/draft/2020-12/schema")
        try:
            kind.check_schema(document)
        except SchemaError as bad:
            raise RuleMisfit(f"expected a JSON Schema, got a mistake: {bad.message}", _keyed(bad.absolute_path)) from bad
        _follow(document, str(kind.META_SCHEMA.get("$schema", "")))
        # A registry of one's own knows the drafts and asks no server; the library's default does.
        self._validator: Any = kind(document, registry=Registry())

    def messages(self, value: Any) -> list[str]:
        """Return what is wrong with a value, each thing once: the place in the schema, and never a part of the value.

        Raises:
            Exception: The library cannot tell, as of a schema that refers to itself without end (RecursionError).
        """
        try:
            return list(dict.fromkeys(_message(error) for error in self._validator.iter_errors(value)))
        except BaseException as panic:
            # The library's maps are of Rust: where the stack ends in one of them it is no Exception that comes out.
            if type(panic).__name__ != "PanicException":
                raise
            raise RecursionError("the schema refers to itself without end") from None


def _message(error: Any) -> str:
    parts = [str(part) for part in error.absolute_schema_path]
    place = "/".join(["#", *parts] if len(parts) <= _SHOWN_PARTS else ["...", *parts[-_SHOWN_PARTS:]])
    if error.validator == "required":
        return f"expected JSON that fits the schema, got none by {place}: {error.message}"  # which names the schema's own key
    wanted = error.validator_value
    if isinstance(wanted, (dict, list)) and not (isinstance(wanted, list) and all(isinstance(one, (str, int, float)) for one in wanted)):
        return f"expected JSON that fits the schema, got none by {place}"
    text = json.dumps(wanted, ensure_ascii=False, default=str)  # orjson stops at 64 bits, which a schema's numbers may exceed
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
    return f"expected JSON that fits the schema, got none by {place}: {shown}"


def _keyed(path: Any) -> str:
    return "".join([_KEY, *(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)])


def _follow(document: Mapping[str, Any], dialect: str) -> None:
    """Look up whatever a schema refers to, and what that refers to in turn.

    Raises:
        RuleMisfit: Something is not in it.
    """
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    draft = specification_with(dialect)
    root = draft.create_resource(document)
    resolver = REGISTRY.with_resource(root.id() or "", root).resolver_with_root(root)
    pending: list[tuple[Any, Any]] = [(resolver, root)]
    seen: set[int] = set()
    while pending:
        resolver, resource = pending.pop()
        if id(resource.contents) in seen:
            continue
        seen.add(id(resource.contents))
        pending += [(resolver.in_subresource(part), part) for part in resource.subresources()]
        if not isinstance(resource.contents, Mapping):
            continue
        for name in _REFERENCES:
            target = resource.contents.get(name)
            if not isinstance(target, str):
                continue
            try:
                resolved = resolver.lookup(target)
            except Unresolvable as missing:
                hint = "nothing is fetched: put what it refers to under $defs"
                raise RuleMisfit(f"expected {name} to a part of the schema, got {target!r}", _KEY, hint) from missing
            pending.append((resolved.resolver, draft.create_resource(resolved.contents)))
