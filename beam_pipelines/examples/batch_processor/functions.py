"""The steps of the batch example. A function step without `handler` is the function of its id in this file.

Each works on whole Arrow batches and says which columns it gives. Where a function raises, it is called again with halves of the batch,
so a row that cannot be parsed becomes a dead letter with the reason, and the others go on.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.functions import batch

PRICE = pa.decimal128(12, 2)
# As shops write it: what it means.
STATUSES = {
    "shipped": "shipped",
    "shp": "shipped",
    "sent": "shipped",
    "pending": "pending",
    "pend.": "pending",
    "open": "pending",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "returned": "returned",
    "rtn": "returned",
    "test": "test",
}
SPELLING, STATUS = pa.array(list(STATUSES)), pa.array(list(STATUSES.values()))

TEXTS = {"order_id": "text", "email": "text", "country": "text", "product": "text", "status": "text"}
PARSED = {**TEXTS, "ordered_at": "timestamp", "quantity": "bigint", "unit_price": "decimal(12,2)"}


@batch(output=PARSED)
def parse(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Make values of texts: `3 pcs` a number, `EUR 1,299.00` a price, `24/12/2025 18:30` a time."""
    quantity = pc.replace_substring_regex(pc.utf8_trim_whitespace(rows["quantity"]), r"\s*pcs?\.?$", "")
    price = pc.replace_substring_regex(rows["unit_price"], r"EUR|[\s,]", "")
    given = {name: rows[name] for name in TEXTS}
    return pa.record_batch(
        {
            **given,
            "ordered_at": value("ordered_at", pc.strptime(pc.utf8_trim_whitespace(rows["ordered_at"]), "%d/%m/%Y %H:%M", "us", True), rows),
            "quantity": value("quantity", digits(quantity, r"^[0-9]{1,9}$").cast(pa.int64()), rows),
            "unit_price": value("unit_price", digits(price, r"^[0-9]{1,9}(\.[0-9]{1,2})?$").cast(PRICE), rows),
        }
    )


@batch(output=PARSED)
def cleanse(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Write the same thing in the same way: trimmed, one case, and one word for each status."""
    status = pc.utf8_lower(pc.utf8_trim_whitespace(rows["status"]))
    return replace(
        rows,
        order_id=pc.utf8_upper(pc.utf8_trim_whitespace(rows["order_id"])),
        email=pc.utf8_lower(pc.utf8_trim_whitespace(rows["email"])),
        country=pc.utf8_upper(pc.utf8_trim_whitespace(rows["country"])),
        product=pc.utf8_lower(pc.replace_substring_regex(pc.utf8_trim_whitespace(rows["product"]), r"\s+", " ")),
        status=pc.coalesce(STATUS.take(pc.index_in(status, SPELLING)), "unknown"),
    )


@batch(output={**PARSED, "total": "decimal(18,2)", "ordered_on": "date"})
def transform(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Leave test orders out, and add what each order comes to, and its day."""
    rows = rows.filter(pc.not_equal(rows["status"], "test"))
    total = pc.multiply(rows["unit_price"], rows["quantity"].cast(pa.decimal128(19, 0))).cast(pa.decimal128(18, 2))
    return replace(rows, total=total, ordered_on=rows["ordered_at"].cast(pa.date32(), safe=False))


def digits(text: pa.Array, pattern: str) -> pa.Array:
    """Texts of a form; null where one is not, for Arrow's own reason would show the value."""
    return pc.if_else(pc.match_substring_regex(text, pattern), text, None)


def value(column: str, parsed: pa.Array, rows: pa.RecordBatch) -> pa.Array:
    """What was parsed of a column, if it is all that the column has."""
    if parsed.null_count > rows[column].null_count:
        raise ValueError(f"{column} cannot be read")
    return parsed


def replace(rows: pa.RecordBatch, **columns: pa.Array) -> pa.RecordBatch:
    """The batch with these columns in place of those of the same name; new ones come last."""
    return pa.record_batch({**dict(zip(rows.schema.names, rows.columns, strict=True)), **columns})
