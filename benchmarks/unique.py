"""`CheckRows` with one rule, that e-mails are unique, over the sign-ups of a Parquet file, on Beam's in-process runner. Prints counts.

`together` compares all rows with each other, as a bounded input allows. `remembered` gives the rule a horizon: each batch is answered as
it arrives, by shards that keep the keys they have seen in Beam's state, as an input without an end needs.

python -m benchmarks.unique INPUT together|remembered
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.quality import CheckRows

_BATCH = 65_536


def _batches(path: str) -> Iterator[pa.RecordBatch]:
    yield from pq.ParquetFile(path).iter_batches(_BATCH)


def _show(counts: dict[str, Any]) -> None:
    (rule,) = counts["rules"]
    print(json.dumps({"rows": counts["total"], "violated": rule["violated"], "rejected": counts["rejected"]}))


def main() -> None:
    source, way = sys.argv[1:]
    rule: dict[str, Any] = {"id": "unique", "type": "unique", "field": "email"}
    if way == "remembered":
        rule["horizon"] = "1d"
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        rows = pipeline | beam.Create([source]) | beam.FlatMap(_batches).with_output_types(pa.RecordBatch)
        checked = rows | CheckRows([rule], schema=pq.read_schema(source))
        # Rows that go on are handed to somebody, who does nothing with them.
        checked.valid | beam.Map(len)
        checked.counts | "Show" >> beam.Map(_show)


if __name__ == "__main__":
    main()
