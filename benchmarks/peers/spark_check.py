"""PySpark in the style of DQX: the five rules of the quality case as columns of messages, Parquet in and out. Seconds of each call.

A check is a column that is null or says what is wrong; rows with any go to the one place, the others to the other. `unique` counts by a
window over the value, as DQX does, and so is false of every member of a repeated value; `known` is a broadcast left join.

python spark_check.py INPUT REFERENCE OUTPUT REJECTED CALLS
"""

import json
import sys
import time

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as sql

_PATTERN = r"^[^@]+@[^@]+\.[^@]+$"
_RULES = ("required", "format", "range", "unique", "known")


def _check(spark, source, reference, output, rejected):
    rows = spark.read.parquet(source)
    customers = sql.broadcast(spark.read.parquet(reference).select(sql.col("id").alias("_known")).distinct())
    joined = rows.join(customers, rows.customer_id == customers._known, "left")
    times = sql.count("email").over(Window.partitionBy("email"))
    wrong = {
        "required": sql.col("id").isNull() | sql.col("email").isNull() | sql.col("created_at").isNull(),
        "format": ~sql.col("email").rlike(_PATTERN),
        "range": ~sql.col("age").between(0, 150),
        "unique": times > 1,
        "known": sql.col("customer_id").isNotNull() & sql.col("_known").isNull(),
    }
    errors = sql.array_compact(sql.array(*(sql.when(test, sql.lit(name)) for name, test in wrong.items())))
    checked = joined.select(*rows.columns, errors.alias("_errors")).persist()
    counts = checked.select(*(sql.count_if(sql.array_contains("_errors", name)).alias(name) for name in _RULES)).first().asDict()
    good = sql.size("_errors") == 0
    checked.where(good).drop("_errors").write.mode("overwrite").option("compression", "snappy").parquet(output)
    checked.where(~good).write.mode("overwrite").option("compression", "snappy").parquet(rejected)
    checked.unpersist(blocking=True)
    return counts


def main() -> None:
    source, reference, output, rejected, calls = sys.argv[1:]
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "2g")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    seconds = []
    for _ in range(int(calls)):
        begun = time.perf_counter()
        counts = _check(spark, source, reference, output, rejected)
        seconds.append(time.perf_counter() - begun)
    found = {"seconds": seconds, "counts": counts, "rejected": spark.read.parquet(rejected).count()}
    spark.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
