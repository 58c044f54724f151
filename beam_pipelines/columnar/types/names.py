"""Types as a definition names them: `output: {id: bigint, name: text, amount: "decimal(10,2)"}`."""

from __future__ import annotations

import difflib

import pyarrow as pa

from beam_pipelines.columnar.types.common import UTC, assemble, decimal
from beam_pipelines.columnar.types.grammar import TypeText, TypeTextError, parse
from beam_pipelines.errors import PlanError

__all__ = ["parse_name"]

_NAMES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "string": pa.string(),
    "str": pa.string(),
    "varchar": pa.string(),
    "char": pa.string(),
    "bool": pa.bool_(),
    "boolean": pa.bool_(),
    # A Python int has no width: the widest that every database has.
    "int": pa.int64(),
    "integer": pa.int64(),
    "bigint": pa.int64(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "int16": pa.int16(),
    "int8": pa.int8(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "smallint": pa.int16(),
    "tinyint": pa.int8(),
    "float": pa.float64(),
    "double": pa.float64(),
    "double precision": pa.float64(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "real": pa.float32(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "datetime": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", UTC),
    "timestamp with time zone": pa.timestamp("us", UTC),
    "duration": pa.duration("us"),
    "interval": pa.month_day_nano_interval(),
    "binary": pa.binary(),
    "bytes": pa.binary(),
    "blob": pa.binary(),
    "json": pa.json_(),
    "uuid": pa.uuid(),
}
_SHOWN = "text, bigint, double, decimal(p,s), bool, date, time, timestamp, timestamptz, json, uuid, binary, list<text>, struct<a: bigint>"


def parse_name(text: str) -> pa.DataType:
    """The Arrow type that a name in a definition stands for.

    `decimal` without precision is decimal(38,9). Lists are `list<text>` or `text[]`, structs `struct<a: bigint, b: text>`, maps `map<text,
    bigint>`.

    Raises:
        PlanError: There is no such type; names the nearest.
    """

    def scalar(part: TypeText) -> pa.DataType:
        name = part.name.lower()
        if name in ("decimal", "numeric"):
            return _decimal(part, text)
        kind = _NAMES.get(name)
        if kind is None or (part.numbers and name not in ("varchar", "char")):
            raise _unknown(text, name)
        return kind

    try:
        return assemble(parse(text), scalar)
    except TypeTextError as bad:
        raise PlanError(f"{bad} (known are {_SHOWN})", code="type-unsupported") from bad


def _decimal(part: TypeText, text: str) -> pa.DataType:
    precision, scale = (*part.numbers, 0)[:2] if part.numbers else (38, 9)
    if not (1 <= precision <= 38 and 0 <= scale <= precision):
        raise PlanError(f"expected decimal(p,s) with 1 <= p <= 38 and 0 <= s <= p, got {text!r}", code="type-unsupported")
    return decimal((precision, scale))


def _unknown(text: str, name: str) -> PlanError:
    near = difflib.get_close_matches(name, [*_NAMES, "decimal", "list", "struct", "map"], 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {_SHOWN}"
    return PlanError(f"expected the name of a type, got {text!r}: {hint}", code="type-unsupported")
