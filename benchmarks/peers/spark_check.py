"""PySpark in the style of DQX: the five rules of the quality case as columns of messages. Seconds of each call.

First from Parquet to Parquet, then from a table that it holds in memory to nowhere.

A check is a column that is null or a struct of its name and what is wrong; rows with any go to the one place, all others to the other.
`unique` counts by a window over the value, as DQX does, and so is false of every member of a repeated value; `known` is a broadcast left
join.

python spark_check.py INPUT FEW REFERENCE OUTPUT REJECTED CALLS

FEW is an input of a few rows: what a call takes whatever there is to check.
"""

import json
import sys
import time

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as sql

_PATTERN = r"^[^@]+@[^@]+\.[^@]+$"
_RULES = ("required", "format", "range", "unique", "known")


def _checked(spark, rows, reference):
    """Every row with what is wrong with it."""
    customers = sql.broadcast(spark.read.parquet(reference).select(sql.col("id").alias("_known")).distinct())
    joined = rows.join(customers, rows.customer_id == customers._known, "left")
    times = sql.count("email").over(Window.partitionBy("email"))
    unknown = sql.col("customer_id").isNotNull() & sql.col("_known").isNull()
    checks = [
        *(("required", name, "is_not_null", sql.col(name).isNull(), "is null") for name in ("id", "email", "created_at")),
        ("format", "email", "regex_match", ~sql.col("email").rlike(_PATTERN), f"is not matching regex '{_PATTERN}'"),
        ("range", "age", "is_in_range", ~sql.col("age").between(0, 150), "is not in range: [0, 150]"),
        ("unique", "email", "is_unique", times > 1, "is not unique"),
        ("known", "customer_id", "foreign_key", unknown, "is not in customers (id)"),
    ]
    return joined.select(*rows.columns, sql.array_compact(sql.array(*(_found(*one) for one in checks))).alias("_errors"))


def _found(name, column, function, test, wrong):
    """What DQX says of a row that fails a check, else null."""
    message = sql.concat_ws("", sql.lit("Value '"), sql.col(column).cast("string"), sql.lit(f"' in Column '{column}' {wrong}"))
    told = {
        "name": sql.lit(name),
        "message": message,
        "columns": sql.array(sql.lit(column)),
        "function": sql.lit(function),
        "run_time": sql.current_timestamp(),
    }
    return sql.when(test, sql.struct(*(value.alias(key) for key, value in told.items())))


def _of(name):
    return lambda error: error["name"] == name


def _told_apart(checked, write):
    """Counts by rule; good rows and rejected ones are written."""
    checked = checked.persist()
    counts = checked.select(*(sql.count_if(sql.exists("_errors", _of(name))).alias(name) for name in _RULES)).first().asDict()
    good = sql.size("_errors") == 0
    write(checked.where(good).drop("_errors"), True)
    write(checked.where(~good), False)
    checked.unpersist(blocking=True)
    return counts


def main() -> None:
    source, few, reference, output, rejected, calls = sys.argv[1:]
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "2g")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )

    def to_files(rows, good):
        rows.write.mode("overwrite").option("compression", "snappy").parquet(output if good else rejected)

    def to_nowhere(rows, good):  # noqa: ARG001 - both are only made
        rows.write.mode("overwrite").format("noop").save()

    def timed(rows, write):
        begun = time.perf_counter()
        counts = _told_apart(_checked(spark, rows, reference), write)
        return counts, time.perf_counter() - begun

    files = [timed(spark.read.parquet(source), to_files) for _ in range(int(calls))]
    rejected_rows = spark.read.parquet(rejected).count()
    held = spark.read.parquet(source).persist()
    held.count()
    memory = [timed(held, to_nowhere) for _ in range(int(calls))]
    least = [timed(spark.read.parquet(few), to_nowhere)[1] for _ in range(int(calls))]
    (counts,) = {tuple(counts.items()) for counts, _ in files + memory}
    told = {
        "seconds": [seconds for _, seconds in files],
        "in_memory": [seconds for _, seconds in memory],
        "counts": dict(counts),
        "few": least,
        "rejected": rejected_rows,
    }
    spark.stop()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
