"""Polars: filter, 4-field map and group by of the transform cases, lazily, by its streaming engine.

python polars_group.py INPUT OUTPUT
"""

import sys

import polars as pl


def main() -> None:
    source, target = sys.argv[1:]
    (
        pl.scan_parquet(source)
        .filter((pl.col("age") >= 18) & (pl.col("amount") > 10))
        .select(
            pl.col("country"),
            (pl.col("amount") * 1.1).round(2).alias("amount"),
            pl.col("email").str.split_exact("@", 1).struct.field("field_1").alias("domain"),
            pl.col("updated_at").str.slice(0, 7).alias("month"),
        )
        .group_by("country", "domain", "month")
        .agg(pl.len().alias("count"), pl.col("amount").sum().alias("sum_amount"), pl.col("amount").mean().alias("avg_amount"))
        .sink_parquet(target, compression="snappy")
    )


if __name__ == "__main__":
    main()
