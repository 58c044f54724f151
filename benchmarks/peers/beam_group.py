"""Plain Beam on dicts, as its own guide writes it: filter, 4-field map and group by of the transform cases.

python beam_group.py INPUT OUTPUT
"""

import sys

import apache_beam as beam
import pyarrow as pa
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

_SCHEMA = pa.schema(
    [
        ("country", pa.string()),
        ("domain", pa.string()),
        ("month", pa.string()),
        ("count", pa.int64()),
        ("sum_amount", pa.float64()),
        ("avg_amount", pa.float64()),
    ]
)


def _fields(row):
    return {
        "country": row["country"],
        "amount": round(row["amount"] * 1.1, 2),
        "domain": row["email"].split("@")[1],
        "month": row["updated_at"][:7],
    }


class _Amounts(beam.CombineFn):
    def create_accumulator(self):
        return 0, 0.0

    def add_input(self, accumulator, amount):
        count, total = accumulator
        return count + 1, total + amount

    def merge_accumulators(self, accumulators):
        counts, totals = zip(*accumulators, strict=True)
        return sum(counts), sum(totals)

    def extract_output(self, accumulator):
        return accumulator


def _named(pair):
    (country, domain, month), (count, total) = pair
    return {"country": country, "domain": domain, "month": month, "count": count, "sum_amount": total, "avg_amount": total / count}


def main() -> None:
    source, target = sys.argv[1:]
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = (
        pipeline
        | beam.io.ReadFromParquet(source)
        | beam.Filter(lambda row: row["age"] >= 18 and row["amount"] > 10)
        | beam.Map(_fields)
        | beam.Map(lambda row: ((row["country"], row["domain"], row["month"]), row["amount"]))
        | beam.CombinePerKey(_Amounts())
        | beam.Map(_named)
        | beam.io.WriteToParquet(target, _SCHEMA)
    )
    pipeline.run().wait_until_finish()


if __name__ == "__main__":
    main()
