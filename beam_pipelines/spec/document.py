"""YAML 1.2 and JSON into plain values with the position of every key and value.

The node tree of ruamel.yaml is walked here instead of by its constructor, because that forgets positions, stops at the first
duplicate key and expands aliases without bound. Dates stay text (YAML 1.2's core schema has none); tags of the user are refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from beam_pipelines.errors import Problem, SpecError
from beam_pipelines.spec import nesting
from beam_pipelines.spec.position import KeyPath, Position, Positions, format_path
from beam_pipelines.spec.values import shown

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

__all__ = ["MAX_BYTES", "Document", "nodes", "read"]

MAX_BYTES = 1 << 20  # 1 MiB: a hundred times the largest definition we know of; the parser is pure Python
_MAX_VALUES = 50_000  # values after aliases are expanded: nine lines of aliases of aliases make a billion
# What JSON allows and YAML does not, or takes for the end of a line: replaced to find positions, where only lengths count.
_YAML_UNKNOWN = "[^\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff"
_TAG = "tag:yaml.org,2002:"


@dataclass
class Document:
    """What a text says, before anybody knows whether it is a definition."""

    value: Any = None
    positions: Positions = field(default_factory=Positions)
    problems: list[Problem] = field(default_factory=list)


def read(text: str, name: str, *, is_json: bool) -> Document:
    """Return the values and positions of a document, with the mistakes that do not stop the reading (such as duplicate keys).

    Args:
        text: YAML or JSON. JSON is YAML but for a few characters, so that one walk finds the positions of both.
        name: The file as the user named it, for problems.
        is_json: Whether only JSON will do.

    Raises:
        SpecError: The text is not well formed, holds more than one document, is too large, or expands without bound.
    """
    document = Document()
    value = _json(text, name) if is_json else None
    node = nodes(text, name, is_json=is_json)
    if node is not None:
        document.value = _Walk(document, name).value(node, (), ())
    if is_json:
        document.value = value  # the nodes give the positions only
    return document


def nodes(text: str, name: str, *, is_json: bool) -> Node | None:
    """Return the nodes of a document, which know where in the text they stand; None where there are none.

    Raises:
        SpecError: As `read`.
    """
    return _compose(re.sub(_YAML_UNKNOWN, " ", text) if is_json else text, name)


def _first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in the order it is written: the order of mappings is the order of columns."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        values.setdefault(key, value)
    return values


def _json(text: str, name: str) -> Any:
    """Return the values of a JSON text; of a duplicate key the first, as in YAML."""
    try:
        value = json.loads(text, object_pairs_hook=_first)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _unreadable(f"expected JSON: {_lower(error.msg)}", name, error.lineno, error.colno) from error
    except RecursionError as error:
        raise _unreadable(f"expected at most {nesting.MAX_DEPTH} levels", name) from error
    except UnicodeEncodeError as error:
        raise _unreadable("expected text, got one half of a surrogate pair", name) from error
    except ValueError as error:  # Python reads whole numbers of up to 4,300 digits
        raise _unreadable("expected numbers of at most 4,300 digits", name) from error
    return value


def _compose(text: str, name: str) -> Node | None:
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # here: importing a model must not pay for the parser

    try:
        node: Node | None = nesting.parser().compose(text)
    except nesting.TooDeepError as error:
        raise _unreadable(str(error), name, error.line, error.column) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        parts = [part for part in (error.context, error.problem) if part]
        raise _unreadable(f"expected YAML: {_lower(' '.join(parts))}", name, line, column) from error
    except YAMLError as error:
        raise _unreadable(f"expected YAML: {_lower(str(error).splitlines()[0])}", name) from error
    return node


def _unreadable(message: str, name: str, line: int = 0, column: int = 0) -> SpecError:
    problem = Problem(message, file=name, line=line, column=column)
    return SpecError(f"cannot read {name}", problems=[problem], code="spec-unreadable")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


class _Walk:
    """One pass over the nodes of a document."""

    def __init__(self, document: Document, name: str) -> None:
        self.document = document
        self.name = name
        self.count = 0

    def value(self, node: Node, path: KeyPath, above: tuple[int, ...]) -> Any:
        """Return the plain value of a node and note where it stands.

        Args:
            node: A node of the composed tree; an alias is the node that it stands for.
            path: Where it stands.
            above: Identities of the nodes it stands in, to see a node that contains itself.
        """
        self.count += 1
        if self.count > _MAX_VALUES:
            raise _unreadable(f"expected at most {_MAX_VALUES} values once aliases are expanded", self.name, *_place(node))
        if len(above) > nesting.MAX_DEPTH:
            raise _unreadable(f"expected at most {nesting.MAX_DEPTH} levels", self.name, *_place(node))
        if id(node) in above:
            raise _unreadable("expected an alias of something else, got one of what it stands in", self.name, *_place(node))
        self.document.positions.values[path] = _position(node)
        tag = str(node.tag)
        kind = tag.removeprefix(_TAG)
        if kind == "map":
            return self.mapping(node, path, (*above, id(node)))
        if kind == "seq":
            return [self.value(item, (*path, index), (*above, id(node))) for index, item in enumerate(node.value)]
        if isinstance(node.value, str) and kind in ("str", "timestamp", "value"):
            return _joined_surrogates(node.value)
        if isinstance(node.value, str) and kind in ("null", "bool", "int", "float"):
            return self.scalar(node, kind, path)
        self.note(f"expected plain YAML, got the tag {tag!r}", node, path)
        return None

    def scalar(self, node: Node, kind: str, path: KeyPath) -> Any:
        """Return a null, a boolean or a number."""
        text = node.value.replace("_", "").lower()
        if kind == "null":
            return None
        if kind == "bool":
            return text == "true"
        try:
            return _integer(text) if kind == "int" else float(re.sub(r"\.(inf|nan)$", r"\1", text))
        except ValueError:
            self.note(f"expected a number, got {shown(node.value)}", node, path)
            return None

    def mapping(self, node: Node, path: KeyPath, above: tuple[int, ...]) -> dict[str, Any]:
        """Return a mapping; keys of its own come before those that `<<` brings in."""
        result: dict[str, Any] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merged += value_node.value if value_node.tag == f"{_TAG}seq" else [value_node]
                continue
            key = key_node.value
            if not isinstance(key, str) or key_node.tag in (f"{_TAG}null",):
                self.note(f"expected text as key, got {shown(key if isinstance(key, str) else {})}", key_node, path)
                continue
            key = _joined_surrogates(key)
            place = (*path, key)
            if key in result:
                first = self.document.positions.keys[place]
                self.note(f"duplicate key {key!r}: it stands on line {first.line} already", key_node, place)
                continue
            self.document.positions.keys[place] = _position(key_node)
            result[key] = self.value(value_node, place, above)
        for source in merged:
            self.merge(source, result, path, above)
        return result

    def merge(self, node: Node, result: dict[str, Any], path: KeyPath, above: tuple[int, ...]) -> None:
        """Bring in the keys of an aliased mapping, as `<<: *name` asks."""
        if node.tag != f"{_TAG}map":
            self.note("expected an alias of a mapping behind '<<'", node, path)
            return
        own = {part: self.document.positions.keys.get((*path, part)) for part in result}
        if id(node) in above:
            raise _unreadable("expected an alias of something else, got one of what it stands in", self.name, *_place(node))
        inner = Document(positions=Positions())
        walk = _Walk(inner, self.name)
        walk.count = self.count
        for key, value in walk.mapping(node, path, (*above, id(node))).items():
            if key in own:
                continue
            result[key] = value
            for table, found in (
                (self.document.positions.keys, inner.positions.keys),
                (self.document.positions.values, inner.positions.values),
            ):
                table.update({place: mark for place, mark in found.items() if place[: len(path) + 1] == (*path, key)})
        self.count = walk.count
        self.document.problems += inner.problems

    def note(self, message: str, node: Node, path: KeyPath) -> None:
        """Keep a mistake that does not stop the reading."""
        line, column = _place(node)
        self.document.problems.append(Problem(message, path=format_path(path), file=self.name, line=line, column=column))


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _position(node: Node) -> Position:
    return Position(*_place(node))


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2])
    number = int(digits[2:], base) if base else int(digits)
    return -number if text.startswith("-") else number


def _joined_surrogates(text: str) -> str:
    r"""Return a text in which the halves of `\ud83d\ude00`, as JSON writes what is beyond 16 bits, are one character."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
