"""Polars: the five rules of the quality case over a table in memory: rows told apart and counts by rule. Seconds of each call.

python polars_check.py INPUT REFERENCE CALLS
"""

import json
import sys
import time

import polars as pl

_PATTERN = r"^[^@]+@[^@]+\.[^@]+$"


def _check(rows, customers):
    violated = rows.select(
        required=pl.any_horizontal(pl.col("id", "email", "created_at").is_null()),
        format=~pl.col("email").str.contains(_PATTERN),
        range=~pl.col("age").is_between(0, 150),
        unique=pl.col("email").is_not_null() & ~pl.col("email").is_first_distinct(),
        known=~pl.col("customer_id").is_in(customers),
    ).with_columns(pl.all().fill_null(False))
    counts = violated.select(pl.all().sum()).row(0, named=True)
    rejects = violated.select(pl.any_horizontal(pl.all())).to_series()
    return counts, rows.filter(~rejects), rows.filter(rejects)


def main() -> None:
    rows, customers = pl.read_parquet(sys.argv[1]), pl.read_parquet(sys.argv[2])["id"].implode()
    seconds = []
    for _ in range(int(sys.argv[3])):
        begun = time.perf_counter()
        counts, valid, rejected = _check(rows, customers)
        seconds.append(time.perf_counter() - begun)
    print(json.dumps({"seconds": seconds, "counts": counts, "valid": len(valid), "rejected": len(rejected)}))


if __name__ == "__main__":
    main()
