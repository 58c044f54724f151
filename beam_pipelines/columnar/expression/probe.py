"""Why an expression failed on a row: which part of it, in words of the definition.

The engine's own messages quote the row's values, which messages must not hold, and come one a query. Instead each part of the tree is
asked in one statement for all rows that failed (`TRY(part IS NULL)` is null exactly where the part fails); the first part that fails, its
own parts before it, is the reason. So a row has one reason, however rows were batched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.expression.engine import Engine
from beam_pipelines.columnar.expression.tree import Node, children, span
from beam_pipelines.columnar.expression.vocabulary import OPERATORS, TOTAL

__all__ = ["Probe", "probes", "reasons", "suspects"]

_UNKNOWN = "the expression failed"
_WORDS = {
    **dict.fromkeys(("strptime",), "the text does not match the format"),
    **dict.fromkeys(("json_extract", "json_extract_string", "->", "->>", "json_value", "json_keys", "from_json"), "the text is not JSON"),
    **dict.fromkeys(("decode", "from_base64", "from_hex", "unhex", "url_decode"), "the text cannot be decoded"),
    **dict.fromkeys(("regexp_matches", "regexp_replace", "regexp_extract", "regexp_full_match"), "the text is not a regular expression"),
    **dict.fromkeys(("make_date", "make_timestamp", "make_time"), "there is no such time"),
}
_SNIPPET = 60


@dataclass(frozen=True)
class Probe:
    """A part of an expression that can fail.

    Args:
        sql: Over the engine's table.
        reason: What to say when it does.
    """

    sql: str
    reason: str


def suspects(node: Node) -> Iterator[Node]:
    """Yield the parts of a tree that can fail, parts of a part before it; what stands inside of TRY cannot."""
    if node.get("type") == "OPERATOR_TRY":
        return
    for container, key in children(node):
        yield from suspects(container[key])
    kind = node.get("class")
    never = kind in ("COLUMN_REF", "CONSTANT", "CONJUNCTION") or (kind == "CAST" and node["try_cast"])
    if not never and not (kind == "FUNCTION" and str(node["function_name"]).lower() in TOTAL):
        yield node


def probes(nodes: Sequence[Node], texts: Sequence[str], written: str) -> tuple[Probe, ...]:
    """Return the probes of a tree.

    Args:
        nodes: Its `suspects`.
        texts: Their SQL.
        written: The expression as the user wrote it, "" when a program made it.
    """
    return tuple(Probe(text, _named(node, text, written)) for node, text in zip(nodes, texts, strict=True))


def _named(node: Node, text: str, written: str) -> str:
    words = _words(node, text)
    begin, end = span(node)
    part = " ".join(written.encode()[begin:end].decode(errors="ignore").split())
    part = part if len(part) <= _SNIPPET else f"{part[: _SNIPPET - 3]}..."
    return f"{part}: {words}" if part else words


def _words(node: Node, text: str) -> str:
    kind = node.get("class")
    if kind == "CAST":
        return f"the value cannot be converted to {text.rpartition(' AS ')[2].removesuffix(')').upper()}"
    if kind in ("FUNCTION", "LAMBDA"):
        name = str(node.get("function_name", "->")).lower()
        if name in ("//", "%"):
            return "division by zero, or out of range"
        return _WORDS.get(name, "the result is out of range" if name in OPERATORS else f"{name} failed")
    return "the values cannot be compared" if kind in ("COMPARISON", "BETWEEN") else _UNKNOWN


def reasons(engine: Engine, asked: Sequence[Probe], failed: pa.Table) -> list[str]:
    """Return the reason of each of the rows that failed.

    Args:
        engine: Of the scope.
        asked: The expression's probes.
        failed: Those rows, as the engine's table.
    """
    found: list[str] = [_UNKNOWN] * failed.num_rows
    if not asked:
        return found
    answers = engine.query([f"TRY(({probe.sql}) IS NULL)" for probe in asked], failed)
    for probe, answer in reversed(list(zip(asked, answers, strict=True))):
        for row in pc.indices_nonzero(answer.is_null()).to_pylist():
            found[row] = probe.reason
    return found
