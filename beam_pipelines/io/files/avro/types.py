"""Types of Avro and of Arrow: which schema an Arrow one is written as, and what the schema of a file is read as.

A field may be null, so each type is a union with null. Times and instants are in microseconds (nanoseconds are cut), instants with a zone
in UTC; milliseconds and seconds are milliseconds. Avro has no unsigned numbers: the largest become decimals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.kinds import is_bytes, is_list, is_text, is_uuid, plain_type
from beam_pipelines.errors import PlanError

__all__ = ["Known", "avro_schema", "base_type", "columns_of", "kept", "without_uuid"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UTC = "UTC"
_LOGICAL: dict[tuple[str, str], pa.DataType] = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("ms", _UTC),
    ("long", "timestamp-micros"): pa.timestamp("us", _UTC),
    ("long", "timestamp-nanos"): pa.timestamp("ns", _UTC),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("long", "local-timestamp-nanos"): pa.timestamp("ns"),
    ("string", "uuid"): pa.uuid(),
}
_OF_LOGICAL = {str(kind): {"type": base, "logicalType": name} for (base, name), kind in _LOGICAL.items() if not name.endswith("nanos")}
_PLAIN = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
    "null": pa.string(),
}
_MOST_DIGITS = 76


# From Arrow.


def avro_schema(schema: pa.Schema) -> dict[str, Any]:
    """The record that rows are written as.

    Args:
        schema: Of types that `kept` gave.
    """
    return {"type": "record", "name": "row", "fields": [_field(column, "row") for column in schema]}


def kept(kind: pa.DataType, column: str = "") -> pa.DataType:
    """The type that values are cast to before they are written; reading the file gives it back.

    Args:
        kind: Any Arrow type.
        column: Its name.

    Raises:
        PlanError: Avro has nothing that keeps it, or no such name (`type-unsupported`).
    """
    if column:
        _check(column, column)
    return _kept(_arrow(_written(kind, column, "x"), Known(column or "values"), ""))


def base_type(kind: pa.DataType) -> pa.DataType:
    """As what the values of such a type stand in a file: instants, dates and times as numbers, UUIDs as text."""
    if is_uuid(kind):
        return pa.string()
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return pa.int32()
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return pa.int64()
    return _mapped(kind, base_type)


def without_uuid(kind: pa.DataType) -> pa.DataType:
    """The same with text in the place of UUIDs: Arrow casts no text to them."""
    return pa.string() if is_uuid(kind) else _mapped(kind, without_uuid)


def _kept(kind: pa.DataType) -> pa.DataType:
    return kind if is_uuid(kind) else without_uuid(kind)


def _mapped(kind: pa.DataType, made: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """A nested type with others in it."""
    if pa.types.is_struct(kind):
        return pa.struct([part.with_type(made(part.type)) for part in kind])
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, made(kind.item_type))
    return pa.list_(made(kind.value_type)) if is_list(kind) else kind


def _check(name: str, column: str) -> None:
    if not _NAME.fullmatch(name):
        raise PlanError(
            f"column {column!r}: names in Avro are letters from a to z, digits and underscores, {name!r} is none: rename it in a map step",
            code="type-unsupported",
            details={"column": column, "system": "avro"},
        )


def _field(column: pa.Field, path: str) -> dict[str, Any]:
    return {"name": column.name, "type": ["null", _written(column.type, column.name, f"{path}_{column.name}")], "default": None}


def _written(kind: pa.DataType, column: str, path: str) -> Any:
    """Avro's schema of an Arrow type; `path` names records, each of which needs a name of its own."""
    kind = plain_type(kind.value_type if pa.types.is_run_end_encoded(kind) else kind)
    if isinstance(kind, pa.BaseExtensionType):
        if is_uuid(kind):
            return {"type": "string", "logicalType": "uuid"}
        textual = kind.extension_name in ("arrow.json", "arrow.opaque") and is_text(kind.storage_type)
        if not textual:
            raise _refused(kind, column)
        return "string"
    if pa.types.is_decimal(kind):
        return _decimal(kind.precision, kind.scale, kind, column)
    if pa.types.is_integer(kind):
        if kind == pa.uint64():
            return _decimal(20, 0, kind, column)
        return "long" if kind in (pa.int64(), pa.uint32()) else "int"
    if pa.types.is_struct(kind) and kind.num_fields:
        for part in kind:
            _check(part.name, column)
        return {"type": "record", "name": path, "fields": [_field(part, path) for part in kind]}
    if pa.types.is_map(kind):
        if is_text(kind.key_type):
            return {"type": "map", "values": ["null", _written(kind.item_type, column, f"{path}_value")]}
        entry = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        return {"type": "array", "items": ["null", _written(entry, column, f"{path}_entry")]}
    if is_list(kind):
        return {"type": "array", "items": ["null", _written(kind.value_type, column, f"{path}_item")]}
    found = _simple(kind)
    if found is None:
        raise _refused(kind, column)
    return found


def _simple(kind: pa.DataType) -> Any:
    if is_text(kind) or pa.types.is_null(kind):
        return "string"
    if is_bytes(kind):
        return "bytes"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_floating(kind):
        return "double" if kind == pa.float64() else "float"
    if pa.types.is_date(kind):
        return _OF_LOGICAL[str(pa.date32())]
    if pa.types.is_time(kind):
        return _OF_LOGICAL[str(pa.time32("ms") if pa.types.is_time32(kind) else pa.time64("us"))]
    if pa.types.is_timestamp(kind):
        unit = "ms" if kind.unit in ("s", "ms") else "us"
        return _OF_LOGICAL[str(pa.timestamp(unit, _UTC if kind.tz else None))]
    return None


def _decimal(precision: int, scale: int, kind: pa.DataType, column: str) -> dict[str, Any]:
    if scale < 0:
        precision, scale = precision - scale, 0
    if precision > _MOST_DIGITS or scale > precision:
        raise _refused(kind, column)
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


def _refused(kind: pa.DataType, column: str) -> PlanError:
    where = f"column {column!r}: " if column else ""
    return PlanError(
        f"{where}expected a type that Avro keeps, got {kind}: cast it in a map step or in the query, to text if nothing else fits",
        code="type-unsupported",
        details={"column": column, "type": str(kind), "system": "avro"},
    )


# To Arrow.


@dataclass
class Known:
    """Types with names that a schema has defined so far.

    Args:
        file: What messages call the file.
    """

    file: str
    types: dict[str, pa.DataType | None] = field(default_factory=dict)  # None: within its own definition

    def refused(self, what: str) -> PlanError:
        return PlanError(f"{self.file!r}: {what}", code="type-unsupported")


def columns_of(schema: Any, known: Known) -> pa.Schema:
    """The columns as which the rows of a file are read; of one whose rows are no records there is one, `value`.

    Args:
        schema: As it stands in the file's header, parsed.
        known: The file, without types yet.

    Raises:
        PlanError: A union of types that have nothing in common, a record within itself, or a type that is not known (`type-unsupported`).
    """
    kind = _arrow(schema, known, "")
    parts = list(kind) if pa.types.is_struct(kind) else [pa.field("value", kind)]
    return pa.schema([part.with_type(_kept(part.type)) for part in parts])


def _arrow(schema: Any, known: Known, space: str) -> pa.DataType:
    if isinstance(schema, list):
        return _union(schema, known, space)
    if isinstance(schema, str):
        return _PLAIN[schema] if schema in _PLAIN else _named(schema, known, space)
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if isinstance(kind, (list, Mapping)):
        return _arrow(kind, known, space)
    if kind in ("record", "error"):
        return _record(schema, known, space)
    if kind == "array":
        return pa.list_(_arrow(schema["items"], known, space))
    if kind == "map":
        return pa.map_(pa.string(), _arrow(schema["values"], known, space))
    if kind in ("enum", "fixed"):
        made = pa.string() if kind == "enum" else _logical(schema) or pa.binary()
        known.types[_full(schema, space)] = made
        return made
    if not isinstance(kind, str):
        raise known.refused("its schema is none of Avro's")
    return _logical(schema) or _arrow(kind, known, space)


def _logical(schema: Mapping[str, Any]) -> pa.DataType | None:
    """What a logical type is read as; one that is not known, or not whole, is left out, as the format's specification has it."""
    name = schema.get("logicalType")
    if name == "decimal" and schema["type"] in ("bytes", "fixed"):
        precision, scale = schema.get("precision"), schema.get("scale", 0)
        if isinstance(precision, int) and isinstance(scale, int) and 0 < precision <= _MOST_DIGITS and 0 <= scale <= precision:
            return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    return _LOGICAL.get((schema["type"], str(name)))


def _union(schema: list[Any], known: Known, space: str) -> pa.DataType:
    kinds = {_arrow(one, known, space) for one in schema if one != "null"}
    if len(kinds) <= 1:
        return kinds.pop() if kinds else pa.string()
    numbers = [one for one in (pa.int32(), pa.int64(), pa.float32(), pa.float64()) if one in kinds]
    if len(numbers) == len(kinds) and not (pa.int64() in kinds and kinds & {pa.float32(), pa.float64()}):
        return pa.float64() if pa.int32() in kinds and pa.float32() in kinds else numbers[-1]
    shown = ", ".join(sorted(map(str, kinds)))
    raise known.refused(f"expected unions of null and one type, or of numbers, got one of {shown}: write them as fields of their own")


def _full(schema: Mapping[str, Any], space: str) -> str:
    name = str(schema["name"])
    own = schema.get("namespace", space)
    return name if "." in name or not own else f"{own}.{name}"


def _record(schema: Mapping[str, Any], known: Known, space: str) -> pa.DataType:
    full = _full(schema, space)
    known.types[full] = None
    inner = full.rpartition(".")[0]
    made = pa.struct([(str(part["name"]), _arrow(part["type"], known, inner)) for part in schema["fields"]])
    known.types[full] = made
    return made


def _named(name: str, known: Known, space: str) -> pa.DataType:
    full = name if "." in name or not space else f"{space}.{name}"
    full = full if full in known.types else name
    if full not in known.types:
        raise known.refused(f"its schema speaks of a type {name!r} that it does not have")
    found = known.types[full]
    if found is None:
        raise known.refused(f"the record {name!r} is within itself, which no column holds")
    return found
