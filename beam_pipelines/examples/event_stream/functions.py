"""The steps of the stream example. A function step without `handler` is the function of its id in this file.

Each works on whole Arrow batches and says which columns it gives. Messages are JSON, so their fields are columns already.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.functions import batch

PARSED = {"userId": "text", "action": "text", "value": "double", "timestamp": "bigint"}
PLANS = pa.array(["free", "team", "enterprise"])


@batch(output=PARSED)
def parse(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Write actions in one case, and let what has no value count for nothing."""
    return pa.record_batch(
        {
            "userId": pc.utf8_trim_whitespace(rows["userId"]),
            "action": pc.utf8_lower(pc.utf8_trim_whitespace(rows["action"])),
            "value": pc.coalesce(rows["value"].cast(pa.float64()), 0.0),
            "timestamp": rows["timestamp"],
        }
    )


@batch(output={**PARSED, "plan": "text"})
def enrich(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Put the plan of the user beside each event: what a look into a table of users would give."""
    number = pc.replace_substring_regex(rows["userId"], r"\D", "").cast(pa.int64())
    plan = PLANS.take(pc.subtract(number, pc.multiply(pc.divide(number, len(PLANS)), len(PLANS))))
    return pa.record_batch({**{name: rows[name] for name in rows.schema.names}, "plan": plan})
