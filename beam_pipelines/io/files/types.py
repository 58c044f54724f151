"""What Parquet keeps of an Arrow type, and text with it."""

from __future__ import annotations

import pyarrow as pa

from beam_pipelines.columnar.kinds import is_list, is_text, is_uuid
from beam_pipelines.errors import PlanError

__all__ = ["written"]


def written(kind: pa.DataType, column: str = "", system: str = "Parquet") -> pa.DataType:
    """The type that values are cast to before they are written; reading the file gives it back.

    Parquet has no seconds (they become milliseconds), no runs, and dictionaries of text only; lists of a fixed size become lists, for
    pyarrow cannot read their nulls back (25.0); a column of nothing is text. Durations are numbers to readers other than Arrow's.

    Args:
        kind: Any Arrow type.
        column: For the message.
        system: The format, for the message: what text keeps is no more.

    Raises:
        PlanError: The format has nothing that keeps it (`type-unsupported`): intervals, unions, structs without fields.
    """
    if pa.types.is_dictionary(kind):
        kept = kind.index_type == pa.int32() and is_text(kind.value_type)
        return kind if kept else written(kind.value_type, column, system)
    if pa.types.is_run_end_encoded(kind):
        return written(kind.value_type, column, system)
    if isinstance(kind, pa.BaseExtensionType):
        return _extension(kind, column, system)
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_date(kind):
        return pa.date32()
    if kind == pa.time32("s"):
        return pa.time32("ms")
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if pa.types.is_interval(kind) or pa.types.is_union(kind) or (pa.types.is_struct(kind) and not kind.num_fields):
        raise _refused(kind, column, system)
    return _nested(kind, column, system) if pa.types.is_nested(kind) else kind


def _nested(kind: pa.DataType, column: str, system: str) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(written(field.type, column, system)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(written(kind.key_type, column, system), written(kind.item_type, column, system))
    if not is_list(kind):
        raise _refused(kind, column, system)
    item = kind.value_field.with_type(written(kind.value_type, column, system))
    return pa.large_list(item) if pa.types.is_large_list(kind) else pa.list_(item)


def _extension(kind: pa.BaseExtensionType, column: str, system: str) -> pa.DataType:
    if is_uuid(kind) or kind.extension_name == "arrow.json":
        return kind
    if kind.extension_name == "arrow.opaque" and is_text(kind.storage_type):
        return pa.string()
    raise _refused(kind, column, system)


def _refused(kind: pa.DataType, column: str, system: str) -> PlanError:
    where = f"column {column!r}: " if column else ""
    return PlanError(
        f"{where}expected a type that {system} keeps, got {kind}: cast it in a map step or in the query, to text if nothing else fits",
        code="type-unsupported",
        details={"column": column, "type": str(kind), "system": system.lower()},
    )
