"""Nested paths: `address.city`, `phones[0].number`; read from Arrow columns without looking at rows, and written as structs.

A field whose own name is the whole path is that field. Else each name is a field of a struct (or a text key of a map), and `[n]` an element
of a list, counted from 0. Where a struct is null, a list too short or a key absent, the value is null. Names are matched exactly, else
whatever their case when that is unambiguous, as expressions do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.columnar.expression import Node, column, literal, operation
from beam_pipelines.columnar.misfit import MisfitError
from beam_pipelines.errors import Code

__all__ = ["FieldPath", "PathProblem", "find_path", "nest", "target_parts"]

Part = str | int
_PART = re.compile(r"([^.\[\]]+)((?:\[\d+\])*)")


class PathProblem(MisfitError):  # noqa: N818 (it never leaves the step)
    """A path that leads nowhere.

    Args:
        message: What was expected and what came.
        hint: What to do.
        code: Error code.
    """

    def __init__(self, message: str, hint: str = "", code: Code = "column-missing") -> None:
        super().__init__(message, hint)
        self.code = code


@dataclass(frozen=True)
class FieldPath:
    """Where a value is in the rows of one schema.

    Args:
        name: The top-level field.
        parts: Struct fields, map keys (text) and list positions below it.
        type: Of the value.
        nullable: The value may be null.
    """

    name: str
    parts: tuple[Part, ...]
    type: pa.DataType
    nullable: bool

    def read(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the values, one a row; zero-copy for a top-level field."""
        array = batch.column(batch.schema.get_field_index(self.name))
        for part in self.parts:
            array = _element(array, part) if isinstance(part, int) else _member(array, part)
        return array

    def node(self) -> Node:
        """Return the value as a part of an expression."""
        node = column(self.name)
        for part in self.parts:
            # SQL counts from 1.
            node = (
                operation("ARRAY_EXTRACT", node, literal(part + 1))
                if isinstance(part, int)
                else operation("STRUCT_EXTRACT", node, literal(part))
            )
        return node


def find_path(text: str, schema: pa.Schema) -> FieldPath:
    """Find a path in a schema.

    Raises:
        PathProblem: There is no such field, or the path is not well formed.
    """
    # Of one that is written as it is called the schema knows where it stands: there may be thousands, and a path to each.
    whole = text if schema.get_field_index(text) >= 0 else _named(text, schema.names)
    if whole is not None:
        field = schema.field(schema.get_field_index(whole))
        return FieldPath(whole, (), field.type, field.nullable)
    first, *rest = _parts(text)
    name = _named(str(first), schema.names)
    if name is None:
        near = difflib.get_close_matches(str(first), schema.names, n=2, cutoff=0.6)
        known = ", ".join(schema.names[:20]) + (", ..." if len(schema.names) > 20 else "")
        raise PathProblem(f"no field {str(first)!r}", f"did you mean {' or '.join(near)}?" if near else f"fields: {known}")
    kind = schema.field(schema.get_field_index(name)).type
    parts: list[Part] = []
    for part in rest:
        part, kind = _below(kind, part, text)
        parts.append(part)
    return FieldPath(name, tuple(parts), kind, True)


def _named(name: str, names: list[str]) -> str | None:
    found = [known for known in names if known == name] or [known for known in names if known.lower() == name.lower()]
    if len(found) > 1:
        raise PathProblem(f"{name!r} names {len(found)} fields: {', '.join(map(repr, found))}", "write it in its exact case, or rename one")
    return found[0] if found else None


def _parts(text: str) -> list[Part]:
    parts: list[Part] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None:
            raise PathProblem(f"expected a path such as address.city or phones[0], got {text!r}", code="expression-invalid")
        parts.append(match[1])
        parts += [int(digits) for digits in re.findall(r"\d+", match[2])]
        position = match.end()
        if position == len(text):
            return parts
        if text[position] != ".":
            raise PathProblem(f"expected a path such as address.city or phones[0], got {text!r}", code="expression-invalid")
        position += 1


def _below(kind: pa.DataType, part: Part, text: str) -> tuple[Part, pa.DataType]:
    if isinstance(part, int):
        if _is_list(kind):
            return part, kind.value_type
        raise PathProblem(f"{text!r}: [{part}] was looked up in a {kind}, not in a list")
    if pa.types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        name = _named(part, names)
        if name is None:
            raise PathProblem(f"{text!r}: no field {part!r} in the struct", f"fields: {', '.join(names[:20])}")
        return name, kind.field(names.index(name)).type
    if pa.types.is_map(kind) and (pa.types.is_string(kind.key_type) or pa.types.is_large_string(kind.key_type)):
        return part, kind.item_type
    hint = "take the first one: [0]" if _is_list(kind) else ""
    if pa.types.is_string(kind) or isinstance(kind, pa.BaseExtensionType):
        hint = f"for JSON text use an expression: {text.partition('.')[0]}->>'$.{text.partition('.')[2]}'"
    raise PathProblem(f"{text!r}: {part!r} was looked up in a {kind}, not in a struct", hint)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _member(array: pa.Array, name: str) -> pa.Array:
    if pa.types.is_map(array.type):
        return pc.map_lookup(array, pa.scalar(name, array.type.key_type), occurrence="first")
    return pc.struct_field(array, [array.type.get_field_index(name)])


def _element(array: pa.Array, index: int) -> pa.Array:
    """Return one element of each list; null where the list is null or too short (Arrow's `list_element` raises)."""
    import numpy as np

    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        if index >= size:
            return pa.nulls(len(array), array.type.value_type)
        at = pa.array(np.arange(array.offset, array.offset + len(array), dtype=np.int64) * size + index)
        return array.values.take(pc.if_else(array.is_valid(), at, pa.scalar(None, pa.int64())))
    if len(array) == 0:
        return pa.array([], array.type.value_type)
    starts = array.offsets.slice(0, len(array)).cast(pa.int64())
    long_enough = pc.greater(pc.list_value_length(array), index)
    return array.values.take(pc.if_else(long_enough, pc.add(starts, index), pa.scalar(None, pa.int64())))


def target_parts(text: str) -> tuple[str, ...]:
    """Return the names of a target path.

    Raises:
        PathProblem: It is not well formed, or names a list position.
    """
    parts = _parts(text)
    if any(isinstance(part, int) for part in parts):
        raise PathProblem(
            f"expected a target such as address.city, got {text!r}: list positions cannot be written", code="expression-invalid"
        )
    return tuple(str(part) for part in parts)


Tree = Mapping[str, "pa.Array | Tree"]


def nest(tree: Tree, base: pa.StructArray | None = None) -> pa.Array:
    """Build a struct from named arrays and sub-trees.

    Args:
        tree: Values by name; all arrays have one length.
        base: Struct whose other fields are kept, whose fields of the same name are replaced in place, and which stays null where it is null
            and every new value is null as well. Without it no row's struct is null.
    """
    old = {} if base is None else {base.type.field(index).name: pc.struct_field(base, [index]) for index in range(base.type.num_fields)}
    arrays = dict(old)
    for name, part in tree.items():
        below = old.get(name)
        arrays[name] = part if isinstance(part, pa.Array) else nest(part, below if isinstance(below, pa.StructArray) else None)
    fields = [pa.field(name, array.type) for name, array in arrays.items()]
    mask = None
    if base is not None and base.null_count:
        mask = base.is_null()
        for name in tree:
            mask = pc.and_(mask, arrays[name].is_null())
    return pa.StructArray.from_arrays(list(arrays.values()), fields=fields, mask=mask)
