"""The base of every model: frozen, closed, and able to report all of its mistakes at once in a person's words.

Pydantic stops checking a model's own laws when one of its fields is wrong, and reports a misspelt key as two errors (an unknown
one and a missing one). `Model` runs its laws on the raw mapping beside the fields, joins both lists, and words each mistake once.
A mistake is a pydantic error of type `spec`, whose context holds `message`, `hint` and `at` (`key` or `value`: where to point).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from beam_pipelines.spec.values import shown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from typing_extensions import Self

__all__ = ["Model", "mistake", "nearest", "untyped"]

_TAG = "type: "  # prefix of unions' tags: pydantic puts tags into an error's location, and no key looks like this


def nearest(word: object, known: Iterable[str]) -> str | None:
    """Return the known word that a misspelt one most likely means, whatever its case and separators; None when none is near."""
    folded = {_fold(name): name for name in known}
    found = difflib.get_close_matches(_fold(str(word)), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def _fold(word: str) -> str:
    return re.sub(r"[\W_]", "", word).lower()


def mistake(message: str, *location: str | int, hint: str = "", at: str = "value", wants: tuple[str, ...] = ()) -> InitErrorDetails:
    """Return one mistake of the model being checked.

    Args:
        message: What was expected and what came.
        location: Keys (as in the file) and positions below the model.
        hint: What to do.
        at: `key` to point at the key, `value` at what stands behind it.
        wants: Keys of which one is missing; when a misspelt one stands there, that is the mistake.
    """
    context = {"message": message, "hint": hint, "at": at, "wants": wants}
    return InitErrorDetails(type=PydanticCustomError("spec", "{message}", context), loc=location, input=None)


class Model(BaseModel):
    """A part of a definition. Keys are the seed's camelCase; the Python names are accepted as well."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        hide_input_in_errors=True,
        defer_build=True,
    )

    synonyms: ClassVar[dict[str, str]] = {}  # other spellings of a key, by the key they stand for

    @classmethod
    def laws(cls, raw: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Yield the mistakes between fields, from the raw mapping by its camelCase keys; values may be anything."""
        del raw  # a model without laws of its own
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _report_all(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        raw, spelled, mistakes = cls._by_alias(data)
        mistakes += cls.laws(raw)
        value: Self | None = None
        try:
            value = handler(raw)
        except ValidationError as error:
            mistakes = _worded(cls, error.errors(include_url=False), mistakes)
        if value is not None:
            # What tells members of a union apart counts as given, so that it is written out even with `exclude_unset`.
            value.model_fields_set.update({"type", "model"} & cls.model_fields.keys())
        if mistakes or value is None:
            for item in mistakes:
                head, *tail = item["loc"] or ("",)
                if head in spelled:
                    item["loc"] = (spelled[str(head)], *tail)
            raise ValidationError.from_exception_data(cls.__name__, mistakes, hide_input=True)
        return value

    @classmethod
    def keys(cls) -> dict[str, str]:
        """Return the camelCase key of each field, by its Python name."""
        return {name: str(field.validation_alias or name) for name, field in cls.model_fields.items()}

    @classmethod
    def _by_alias(cls, data: Mapping[Any, Any]) -> tuple[dict[Any, Any], dict[str, str], list[InitErrorDetails]]:
        keys = {**cls.keys(), **cls.synonyms}
        raw: dict[Any, Any] = {}
        spelled: dict[str, str] = {}
        mistakes = []
        for key, value in data.items():
            name = keys.get(key, key) if isinstance(key, str) else key
            if name in raw:
                mistakes.append(mistake(f"expected {name!r} once, got it as {spelled.get(name, name)!r} and as {key!r}", key, at="key"))
                continue
            raw[name] = value
            if name != key:
                spelled[name] = key
        return raw, spelled, mistakes


def _worded(cls: type[Model], errors: list[ErrorDetails], laws: list[InitErrorDetails]) -> list[InitErrorDetails]:
    """Return pydantic's errors and the laws' mistakes in a person's words, one for each mistake."""
    known = list(cls.keys().values())
    missing = {str(error["loc"][0]): error for error in errors if error["type"] == "missing" and len(error["loc"]) == 1}
    judged = {item["loc"] for item in laws if item["loc"]}
    meant_keys = set()
    worded = []
    for error in errors:
        location = tuple(part for part in error["loc"] if not str(part).startswith(_TAG))
        if error["type"] == "extra_forbidden" and len(location) == 1:
            # A misspelt required key is unknown and missing: one mistake.
            meant = nearest(location[0], [*missing, *known])
            missing.pop(str(meant), None)
            meant_keys.add(meant)
            hint = f"did you mean {meant!r}?" if meant else f"known keys: {', '.join(known)}"
            worded.append(mistake(f"unknown key {location[0]!r}", *location, hint=hint, at="key"))
        elif error["type"] == "spec":
            context = error["ctx"]
            worded.append(mistake(context["message"], *location, hint=context["hint"], at=context["at"], wants=context["wants"]))
        elif error["type"] == "too_short" and any(len(other["loc"]) > len(error["loc"]) == _shared(other, error) for other in errors):
            continue  # entries that are wrong are not counted
        elif error["type"] != "missing" and not any(location[: len(place)] == place for place in judged):
            worded.append(_translated(error, location))
    worded += [mistake(f"expected {key!r}, which is missing", key, hint=_about(cls, key)) for key in missing if (key,) not in judged]
    return worded + [law for law in laws if not meant_keys.intersection(_context(law)["wants"])]


def _shared(one: ErrorDetails, other: ErrorDetails) -> int:
    """Return how many parts of the locations of two errors are the same, from the first on."""
    return next((at for at, (left, right) in enumerate(zip(one["loc"], other["loc"], strict=False)) if left != right), len(other["loc"]))


def _context(item: InitErrorDetails) -> dict[str, Any]:
    kind = item["type"]
    return dict(kind.context or {}) if isinstance(kind, PydanticCustomError) else {}


def _about(cls: type[Model], key: str) -> str:
    description = next((cls.model_fields[name].description for name, alias in cls.keys().items() if alias == key), None)
    return f"{key}: {description}" if description else ""


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "float_type": "a number",
    "finite_number": "a finite number",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "union_tag_not_found": "a mapping",
}


def _translated(error: ErrorDetails, location: tuple[str | int, ...]) -> InitErrorDetails:
    """Return one of pydantic's errors as what was expected and what came."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    hint = ""
    if kind == "value_error":
        message = str(context["error"])
    elif kind == "literal_error":
        names = re.findall(r"'([^']*)'", context["expected"])
        meant = nearest(value, names) if isinstance(value, str) else None
        message, hint = f"expected {context['expected']}, got {shown(value)}", f"did you mean {meant!r}?" if meant else ""
    elif kind in _EXPECTED:
        message = f"expected {_EXPECTED[kind]}, got {shown(value)}"
        if kind == "string_type" and isinstance(value, (int, float)):
            hint = f'quote it: "{shown(value)}"'
        elif kind in ("tuple_type", "list_type") and isinstance(value, (str, int, float)):
            hint = (
                f"write [{value if isinstance(value, str) else shown(value)}]" if len(str(value)) < 40 and "://" not in str(value) else ""
            )
    elif kind in ("greater_than_equal", "greater_than", "less_than_equal", "less_than"):
        word = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most", "less_than": "less than"}[kind]
        message = f"expected {word} {next(iter(context.values()))}, got {shown(value)}"
    elif kind == "too_short":
        message = f"expected at least {context['min_length']} entry, got {context['actual_length']}"
    else:
        message = error["msg"][:1].lower() + error["msg"][1:]
    return mistake(message, *location, hint=hint)


def untyped(value: Mapping[Any, Any], key: str, names: Sequence[str]) -> ValidationError:
    """Return the mistake of a mapping whose `type` (of prices: `model`) is missing or unknown."""
    hint = f"known: {', '.join(names)}"
    if key not in value:
        found = mistake(f"expected {key!r}, which is missing", key, hint=hint)
    else:
        found = mistake(f"expected a known {key}, got {shown(value[key])}", key, hint=hint)
    return ValidationError.from_exception_data("union", [found], hide_input=True)
