"""Polars: the cleaning of orders of the batch case, each file streamed to one of its own.

python polars_batch.py INPUT OUTPUT
"""

import sys
from pathlib import Path

import polars as pl

_STATUS = {"A": "active", "S": "shipped", "C": "cancelled", "R": "returned"}


def _cleaned(path):
    text = dict.fromkeys(("email", "amount", "ordered_at", "status", "country"), pl.String)
    return (
        pl.scan_csv(path, schema_overrides={"order_id": pl.Int64, "quantity": pl.Int32, **text})
        .with_columns(
            pl.col("email").str.strip_chars().str.to_lowercase(),
            pl.col("amount").str.strip_chars().cast(pl.Float64),
            pl.col("ordered_at").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us"),
            pl.col("status").replace_strict(_STATUS, return_dtype=pl.String),
            pl.col("country").str.to_lowercase(),
        )
        .filter((pl.col("status") != "cancelled") & (pl.col("amount") > 0))
        .with_columns((pl.col("amount") * pl.col("quantity")).round(2).alias("total"))
    )


def main() -> None:
    source, output = map(Path, sys.argv[1:])
    for path in sorted(source.glob("*.csv")):
        _cleaned(path).sink_parquet(output / f"{path.stem}.parquet", compression="snappy")


if __name__ == "__main__":
    main()
