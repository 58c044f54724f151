"""A small YAML (or JSON) text as plain values that know their place, for error messages with line and column."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from beam_pipelines.errors import Code, Problem, SpecError
from beam_pipelines.spec import nesting

__all__ = ["Marked", "parse"]

_MOST_NODES = 10_000  # aliases can multiply: a connections file has tens of values


@dataclass(frozen=True)
class Marked:
    """A value and where it stands.

    Args:
        value: str, int, float, bool, None, list or dict.
        line: From 1.
        column: From 1.
        children: Values of a mapping by key, each with its place.
    """

    value: Any = field(repr=False)
    line: int = 1
    column: int = 1
    children: dict[str, Marked] = field(default_factory=dict, repr=False)


def parse(text: str, file: str, code: Code) -> Marked:
    """Parse the text, YAML 1.2, no custom tags, no key twice.

    Raises:
        SpecError: It is not YAML, or a key stands twice; with line and column, and nothing of the text, which may be a secret.
    """
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = nesting.parser()
    try:
        node = yaml.compose(text)
    except nesting.TooDeepError as deep:
        raise _error(str(deep), file, deep.line, deep.column, code) from None
    except MarkedYAMLError as bad:
        mark = bad.problem_mark or bad.context_mark
        raise _error(str(bad.problem or bad.context), file, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0, code) from None
    except YAMLError as bad:
        raise _error(f"not YAML: {type(bad).__name__}", file, 0, 0, code) from None
    if node is None:
        return Marked(None)
    try:
        return _Builder(yaml, file, code).build(node)
    except RecursionError:
        raise _error("values that hold themselves, or are nested too deeply", file, 0, 0, code) from None


def _error(message: str, file: str, line: int, column: int, code: Code) -> SpecError:
    return SpecError(f"{file} cannot be understood", problems=[Problem(message, "", file, line, column)], code=code)


class _Builder:
    def __init__(self, yaml: Any, file: str, code: Code) -> None:
        self._constructor = yaml.constructor
        self._file = file
        self._code = code
        self._nodes = 0

    def build(self, node: Any) -> Marked:
        from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

        self._nodes += 1
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if self._nodes > _MOST_NODES:
            raise _error(f"more than {_MOST_NODES:,} values: aliases multiply them", self._file, line, column, self._code)
        if isinstance(node, MappingNode):
            children: dict[str, Marked] = {}
            for key, value in node.value:
                name = str(key.value) if isinstance(key, ScalarNode) else ""
                place = (key.start_mark.line + 1, key.start_mark.column + 1)
                if not name:
                    raise _error("expected a name as key", self._file, *place, self._code)
                if name in children:
                    raise _error(f"the key {name!r} stands here twice", self._file, *place, self._code)
                children[name] = self.build(value)
            return Marked({name: child.value for name, child in children.items()}, line, column, children)
        if isinstance(node, SequenceNode):
            return Marked([self.build(item).value for item in node.value], line, column)
        return Marked(self._scalar(node), line, column)

    def _scalar(self, node: Any) -> Any:
        tag = str(node.tag)
        if tag.rpartition(":")[2] not in ("int", "float", "bool", "null"):
            return str(node.value)
        try:
            return self._constructor.construct_object(node)
        except ValueError:
            return str(node.value)
