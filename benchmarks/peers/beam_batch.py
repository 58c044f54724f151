"""Plain Beam on dicts: the cleaning of orders of the batch case, row by row, to Parquet.

python beam_batch.py INPUT OUTPUT
"""

import csv
import sys
from datetime import datetime

import apache_beam as beam
import pyarrow as pa
from apache_beam.io import WriteToParquet
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

_STATUS = {"A": "active", "S": "shipped", "C": "cancelled", "R": "returned"}
_NAMES = ("order_id", "email", "amount", "quantity", "ordered_at", "status", "country")
_SCHEMA = pa.schema(
    [
        ("order_id", pa.int64()),
        ("email", pa.string()),
        ("amount", pa.float64()),
        ("quantity", pa.int32()),
        ("ordered_at", pa.timestamp("us")),
        ("status", pa.string()),
        ("country", pa.string()),
        ("total", pa.float64()),
    ]
)


def _parsed(line):
    return dict(zip(_NAMES, next(csv.reader([line])), strict=True))


def _cleansed(row):
    return {
        "order_id": int(row["order_id"]),
        "email": row["email"].strip().lower(),
        "amount": float(row["amount"].strip()),
        "quantity": int(row["quantity"]),
        "ordered_at": datetime.strptime(row["ordered_at"], "%Y-%m-%d %H:%M:%S"),
        "status": _STATUS[row["status"]],
        "country": row["country"].lower(),
    }


def _transformed(row):
    return {**row, "total": round(row["amount"] * row["quantity"], 2)}


def main() -> None:
    source, output = sys.argv[1:]
    pipeline = beam.Pipeline(runner=FnApiRunner())
    (
        pipeline
        | beam.io.ReadFromText(f"{source}/*.csv", skip_header_lines=1)
        | "parse" >> beam.Map(_parsed)
        | "cleanse" >> beam.Map(_cleansed)
        | "keep" >> beam.Filter(lambda row: row["status"] != "cancelled" and row["amount"] > 0)
        | "transform" >> beam.Map(_transformed)
        | WriteToParquet(f"{output}/part", _SCHEMA, codec="snappy", file_name_suffix=".parquet")
    )
    pipeline.run().wait_until_finish()


if __name__ == "__main__":
    main()
