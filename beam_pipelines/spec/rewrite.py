"""Lists of rows in the text of a definition, rewritten where they stand: all other text stays as it is, to the character.

ruamel.yaml's own round trip keeps comments, but indents, wraps and aligns the whole file anew. Here its nodes say only where things stand,
and the text between is cut and joined.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from beam_pipelines.errors import Problem, SpecError
from beam_pipelines.spec import document
from beam_pipelines.spec.position import KeyPath, format_path

__all__ = ["Change", "Row", "rewritten"]

Node = Any  # of ruamel.yaml, whose annotations lack what the nodes of a text have

_PLAIN = re.compile(r"[^\W\d][\w./@+-]*(?: [\w./@+-]+)*")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan"}
_LONG = 100  # characters of a list on one line
_Edit = tuple[int, int, str]  # from, to, and the text in its place


@dataclass(frozen=True)
class Row:
    """One row of a list as it is to be.

    Args:
        at: Its position in the list as it is; None: it is new.
        values: What is written in the place of others, by keys; of a new row and of one that is written anew, all of it.
        anew: It is written anew.
    """

    at: int | None
    values: Mapping[tuple[str, ...], Any] = field(default_factory=dict)
    anew: bool = False


@dataclass(frozen=True)
class Change:
    """One thing that is rewritten.

    Args:
        path: Where it stands.
        rows: What a list is to hold.
        value: What stands there instead, where it is no list.
    """

    path: KeyPath
    rows: tuple[Row, ...] | None = None
    value: Any = None


def rewritten(text: str, name: str, changes: Sequence[Change], *, is_json: bool) -> str:
    """Return a definition's text with parts of it rewritten.

    Args:
        text: YAML or JSON that was read before.
        name: What problems call it.
        changes: What is rewritten; none within another.
        is_json: Whether only JSON will do.

    Raises:
        SpecError: A part is an alias, or has one: it means other places as well.
    """
    root = document.nodes(text, name, is_json=is_json)
    writer = _Writer(text, name, is_json, Counter(id(node) for node in _every(root)))
    edits = [edit for change in changes for edit in writer.change(root, change)]
    return _applied(text, edits, 0, len(text))


def _applied(text: str, edits: Sequence[_Edit], begin: int, end: int) -> str:
    parts, at = [], begin
    for first, last, new in sorted(edit for edit in edits if begin <= edit[0] and edit[1] <= end):
        parts += [text[at:first], new]
        at = last
    return "".join([*parts, text[at:end]])


def _every(node: Node) -> Iterator[Node]:
    """Every node, as often as something refers to it."""
    waiting, seen = [node], set()
    while waiting:
        one = waiting.pop()
        yield one
        if id(one) in seen or isinstance(one.value, str):
            continue
        seen.add(id(one))
        for child in one.value:
            waiting += child if isinstance(child, tuple) else [child]


@dataclass(frozen=True)
class _Writer:
    text: str
    name: str
    is_json: bool
    uses: Counter[int]

    def change(self, root: Node, change: Change) -> list[_Edit]:
        node = root
        for part in change.path:
            node = node.value[part] if isinstance(part, int) else _of(node, part)
            self.own(node, change.path)
        if change.rows is None:
            return [(node.start_mark.index, self.end(node), self.told(change.value, node))]
        return self.listed(node, change.rows, change.path)

    def own(self, node: Node | None, path: KeyPath) -> None:
        """Refuse what an alias shares."""
        if node is None or self.uses[id(node)] > 1:
            line = node.start_mark.line + 1 if node is not None else 0
            problem = Problem("expected rows that are written out, got an alias", format_path(path), self.name, line, hint="write them out")
            raise SpecError("what an alias shares cannot be rewritten", problems=[problem])

    def listed(self, node: Node, rows: Sequence[Row], path: KeyPath) -> list[_Edit]:
        """Return the edits that make a list hold some rows."""
        items = node.value
        edits: list[_Edit] = []
        for row in rows:
            if row.at is not None:
                self.own(items[row.at], path)
                edits += self.row(items[row.at], row, path)
        if [row.at for row in rows] == list(range(len(items))):
            return edits
        begin, end = node.start_mark.index, self.end(node)
        if node.flow_style or not rows or not items:
            return [(begin, end, self.flow(node, rows, edits))]
        begin = self.text.rfind("\n", 0, begin) + 1
        return [(begin, self.line_end(end), self.block(node, rows, edits))]

    def flow(self, node: Node, rows: Sequence[Row], edits: Sequence[_Edit]) -> str:
        """A list in brackets; what stands between its rows stays there, as far as they do."""
        items = node.value
        if not items or not rows or not node.flow_style:
            told = [self.written(_nested(row.values)) for row in rows]
            whole = f"[{', '.join(told)}]"
            if len(whole) <= _LONG or self.is_json:
                return whole
            inset = " " * (self.indent(node) + 2)
            return "[" + ",".join(f"\n{inset}{one}" for one in told) + "]"
        spans = [(item.start_mark.index, self.end(item)) for item in items]
        between = [self.text[end:begin] for (_, end), (begin, _) in itertools.pairwise(spans)]
        usual = next((gap for gap in between if "#" not in gap), self._gap(node, spans[0][0]))
        parts = []
        for position, row in enumerate(rows):
            parts.append(self.written(_nested(row.values)) if row.at is None else _applied(self.text, edits, *spans[row.at]))
            if position < len(rows) - 1:
                parts.append(between[row.at] if row.at is not None and row.at < len(between) else usual)
        return self.text[node.start_mark.index : spans[0][0]] + "".join(parts) + self.text[spans[-1][1] : self.end(node)]

    def _gap(self, node: Node, first: int) -> str:
        """What would stand between the first row and a second one: rows that have lines of their own keep them."""
        head = self.text[node.start_mark.index + 1 : first]
        return f",{head}" if "\n" in head and "#" not in head else ", "

    def block(self, node: Node, rows: Sequence[Row], edits: Sequence[_Edit]) -> str:
        """A list by dashes: each row with the lines of comment above it."""
        ends = [self.line_end(self.end(item)) for item in node.value]
        begins = [self.text.rfind("\n", 0, node.start_mark.index) + 1, *ends[:-1]]
        newline = "\r\n" if "\r\n" in self.text else "\n"
        parts = []
        for row in rows:
            if row.at is None:
                parts.append(f"{' ' * node.start_mark.column}- {self.written(_nested(row.values))}{newline}")
            else:
                whole = _applied(self.text, edits, begins[row.at], ends[row.at])
                parts.append(whole if whole.endswith("\n") else whole + newline)
        return "".join(parts)

    def row(self, node: Node, row: Row, path: KeyPath) -> list[_Edit]:
        """Return the edits of one row that is there."""
        if row.anew:
            return [(node.start_mark.index, self.end(node), self.written(_nested(row.values)))]
        edits: list[_Edit] = []
        for place, value in row.values.items():
            holder: Node = node
            for part in place[:-1]:
                holder = _of(holder, part)
                self.own(holder, path)
            there = _of(holder, place[-1])
            if there is None:
                edits.append(self.added(holder, place[-1], value))
            else:
                self.own(there, path)
                edits.append(self.exchanged(holder, place[-1], there, value))
        return _joined(edits)

    def exchanged(self, holder: Node, key: str, there: Node, value: Any) -> _Edit:
        begin, end = there.start_mark.index, self.end(there)
        if there.start_mark.index < there.end_mark.index:
            return (begin, end, self.told(value, there))
        # Nothing stands behind the key: the mark is that of the next token.
        colon = self.behind(next(name for name, _ in holder.value if name.value == key))
        end = begin if self.text[colon:begin].strip(" ") == "" else colon
        return (colon, end, " " + self.told(value, there))

    def behind(self, key: Node) -> int:
        """The place behind a key's colon."""
        return self.text.index(":", key.end_mark.index) + 1

    def added(self, node: Node, key: str, value: Any) -> _Edit:
        told = f"{self.written(key)}: {self.written(value)}"
        if not node.value:
            return (node.start_mark.index, self.end(node), f"{{{told}}}")
        at = self.end_of_pair(*node.value[-1])
        return (at, at, f", {told}" if node.flow_style else f"\n{' ' * node.start_mark.column}{told}")

    def end(self, node: Node) -> int:
        """Where the text of a node ends; the marks of what is written by indentation reach to the next token."""
        if isinstance(node.value, str):
            begin, end = node.start_mark.index, node.end_mark.index
            return begin + len(self.text[begin:end].rstrip()) if node.style in ("|", ">") else end
        if node.flow_style or not node.value:
            return int(node.end_mark.index)
        last = node.value[-1]
        return self.end_of_pair(*last) if isinstance(last, tuple) else self.end(last)

    def end_of_pair(self, key: Node, value: Node) -> int:
        empty = value.start_mark.index == value.end_mark.index
        return self.behind(key) if empty else self.end(value)

    def line_end(self, at: int) -> int:
        found = self.text.find("\n", at)
        return len(self.text) if found < 0 else found + 1

    def indent(self, node: Node) -> int:
        """Blanks at the beginning of the line that a node begins on."""
        line = self.text[self.text.rfind("\n", 0, node.start_mark.index) + 1 :]
        return len(line) - len(line.lstrip(" "))

    def told(self, value: Any, instead: Node) -> str:
        """A value as it is written in the place of another one: in its quotes, a decimal as a number where that was one."""
        if isinstance(value, Decimal) and str(instead.tag).endswith((":int", ":float")) and Decimal(repr(float(value))) == value:
            return format(value, "f")
        if not isinstance(value, str) or self.is_json:
            return self.written(value)
        if instead.style == "'" and value.isprintable():
            return "'" + value.replace("'", "''") + "'"
        return _quoted(value) if instead.style == '"' else self.written(value)

    def written(self, value: Any) -> str:
        """A value on one line."""
        if isinstance(value, Mapping):
            return "{" + ", ".join(f"{self.written(str(key))}: {self.written(one)}" for key, one in value.items()) + "}"
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(map(self.written, value)) + "]"
        if isinstance(value, str) and not self.is_json and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
        return _quoted(value)


def _quoted(value: Any) -> str:
    # YAML takes JSON's quotes and escapes, but not every letter that JSON takes as it is.
    return json.dumps(value, ensure_ascii=isinstance(value, str) and not value.isprintable(), default=str)


def _of(node: Node, key: str) -> Any:
    """The node behind a key; None where it has none of its own."""
    return next((value for name, value in node.value if name.value == key), None) if isinstance(node.value, list) else None


def _joined(edits: Sequence[_Edit]) -> list[_Edit]:
    """Edits with those that are made at one place, keys that are added one after the other, as one."""
    at: dict[tuple[int, int], str] = {}
    for begin, end, new in edits:
        at[begin, end] = at.get((begin, end), "") + new
    return [(begin, end, new) for (begin, end), new in at.items()]


def _nested(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for place, value in values.items():
        inner = result
        for part in place[:-1]:
            inner = inner.setdefault(part, {})
        inner[place[-1]] = value
    return result
